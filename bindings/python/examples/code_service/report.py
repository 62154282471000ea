"""Turns the records of a run into the tables that the demo prints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from .runner import Record
from .table import duration, percentile, printable, render


def jobs_table(records: Sequence[Record]) -> str:
    """One line per job, all its rounds together: harmless ones first, then by name."""
    by_name: dict[str, list[Record]] = {}
    for record in records:
        by_name.setdefault(record.job, []).append(record)
    rows = []
    for name, runs in sorted(by_name.items(), key=lambda item: (item[1][0].hostile, item[0])):
        rows.append(
            [
                name,
                verdict(runs),
                ", ".join(_counted(record.outcome for record in runs)),
                _latency(runs),
                ", ".join(_counted("reused" if record.reused else "created" for record in runs)),
            ]
        )
    return render(["job", "verdict", "outcome", "latency", "sandbox"], rows, right=[3])


def verdict(runs: Sequence[Record]) -> str:
    """What the runs of one job amount to."""
    failed = sum(record.problem is not None for record in runs)
    if failed:
        return f"FAILED {failed} of {len(runs)}"
    return "contained" if runs[0].hostile else "passed"


def problems(records: Sequence[Record]) -> list[str]:
    """One line per failed run."""
    return [f"{record.job}: {printable(record.problem, 600)}" for record in records if record.problem is not None]


def hit_rate(records: Sequence[Record]) -> float:
    """The share of runs, of those that got a sandbox at all, that got one somebody had used before."""
    served = [record for record in records if record.get is not None]
    return sum(record.reused for record in served) / len(served) if served else 0.0


def timings_table(series: dict[str, list[float]]) -> str:
    """p50, p99 and the number of samples of each series of seconds."""
    rows = [
        [name, duration(percentile(values, 50)), duration(percentile(values, 99)), str(len(values))]
        for name, values in series.items()
        if values
    ]
    return render(["operation", "p50", "p99", "n"], rows, right=[1, 2, 3])


def timings(records: Sequence[Record]) -> dict[str, list[float]]:
    """The steps of all runs; attacks are left out of exec, since most end by their own time-out."""
    return {
        "get, under load": _present(record.get for record in records),
        "put, under load": _present(record.put for record in records),
        "exec, harmless": _present(record.exec for record in records if not record.hostile),
    }


def census_lines(left: dict[str, list[str]]) -> list[str]:
    """How many of each kind were left behind, and which."""
    lines = []
    for kind, found in left.items():
        lines.append(f"  {kind:<12} {len(found)}")
        lines += [f"    {printable(description)}" for description in found]
    return lines


def _latency(runs: Sequence[Record]) -> str:
    totals = [record.total for record in runs]
    return duration(totals[0]) if len(totals) == 1 else f"{duration(min(totals))} .. {duration(max(totals))}"


def _counted(values: Iterable[str]) -> list[str]:
    return [value if count == 1 else f"{value} ×{count}" for value, count in Counter(values).most_common()]


def _present(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]
