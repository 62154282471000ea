"""Numbers, tables and progress."""

from __future__ import annotations

import io

import pytest

from code_service.progress import Progress
from code_service.report import hit_rate, jobs_table, timings, timings_table
from code_service.runner import Record
from code_service.table import duration, percentile, printable, render


@pytest.mark.parametrize(
    ("values", "percent", "expected"),
    [
        ([5.0], 50, 5.0),
        ([5.0], 99, 5.0),
        ([3.0, 1.0, 2.0], 50, 2.0),
        ([4.0, 1.0, 3.0, 2.0], 50, 2.0),
        (list(map(float, range(1, 101))), 99, 99.0),
        (list(map(float, range(1, 101))), 100, 100.0),
        (list(map(float, range(1, 1001))), 99, 990.0),
    ],
)
def test_percentile(values: list[float], percent: float, expected: float) -> None:
    assert percentile(values, percent) == expected


@pytest.mark.parametrize(("values", "percent"), [([], 50), ([1.0], 0), ([1.0], 101), ([1.0], -1)])
def test_percentile_refuses_nonsense(values: list[float], percent: float) -> None:
    with pytest.raises(ValueError):
        percentile(values, percent)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0.0000012, "1.20 µs"),
        (0.0000999, "99.9 µs"),
        (0.000123, "123 µs"),
        (0.0456, "45.6 ms"),
        (2.5, "2.50 s"),
        (61, "61.0 s"),
    ],
)
def test_duration(seconds: float, expected: str) -> None:
    assert duration(seconds) == expected


def test_render_aligns_columns() -> None:
    text = render(["a", "bb"], [["xxx", "1"], ["y", "100"]], right=[1])
    assert text.splitlines() == ["a     bb", "---  ---", "xxx    1", "y    100"]


def test_render_refuses_a_ragged_table() -> None:
    with pytest.raises(ValueError, match="3 cells under 2"):
        render(["a", "b"], [["1", "2", "3"]])


def test_printable_disarms_terminal_sequences() -> None:
    assert printable("\x1b]0;evil\x07\n") == "\\x1b]0;evil\\x07\\n"
    assert printable("x" * 300, 10) == "x" * 9 + "…"


RECORDS = [
    Record("sieve", False, "exited 0", None, reused=False, get=0.002, exec=0.1, put=0.001, total=0.11),
    Record("sieve", False, "exited 0", None, reused=True, get=0.001, exec=0.1, put=0.001, total=0.10),
    Record("sieve", False, "exited 1", "wrong", reused=True, get=0.001, exec=0.1, total=0.10),
    Record("bomb", True, "timed out", None, reused=True, get=0.001, exec=2.0, total=2.1),
    Record("late", False, "no sandbox", "timeout", total=60.0),
]


def test_jobs_table_tells_failures_and_origins() -> None:
    lines = jobs_table(RECORDS).splitlines()
    assert [line.split()[0] for line in lines[2:]] == ["late", "sieve", "bomb"]
    sieve, bomb = lines[3], lines[4]
    assert "FAILED 1 of 3" in sieve and "reused ×2, created" in sieve and "exited 0 ×2, exited 1" in sieve
    assert "contained" in bomb and "timed out" in bomb


def test_hit_rate_leaves_out_runs_without_a_sandbox() -> None:
    assert hit_rate(RECORDS) == 0.75
    assert hit_rate([]) == 0.0


def test_timings() -> None:
    series = timings(RECORDS)
    assert len(series["get, under load"]) == 4
    assert series["exec, harmless"] == [0.1] * 3
    assert series["put, under load"] == [0.001] * 2
    assert "nothing measured" not in timings_table({**series, "nothing measured": []})


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_progress_redraws_one_line_on_a_terminal() -> None:
    stream = Terminal()
    progress = Progress(2, stream)
    progress.start("sieve")
    progress.finish("sieve", failed=True, reused=True)
    progress.close()
    assert "\n" not in stream.getvalue()
    assert "sieve" in stream.getvalue() and "1/2 done, 1 failed, 1 reused" in stream.getvalue()
    assert stream.getvalue().endswith("\r\x1b[K")


@pytest.mark.parametrize("total", [1, 7, 10, 200])
def test_progress_prints_a_few_plain_lines_elsewhere(total: int) -> None:
    stream = io.StringIO()
    progress = Progress(total, stream)
    for number in range(total):
        progress.start(f"job {number}")
        progress.finish(f"job {number}", failed=False, reused=False)
    progress.close()
    lines = stream.getvalue().splitlines()
    assert 1 <= len(lines) <= Progress.PLAIN_LINES
    assert f"{total}/{total} done" in lines[-1]
    assert "\x1b" not in stream.getvalue() and "\r" not in stream.getvalue()
