"""Puzzles, graphs and simulations."""

from __future__ import annotations

import random

from ..checks import differs, first, output, prints
from ..jobs import python_job

SIDE = 24
PUZZLES = (
    "53..7....6..195....98....6.8...6...34..8.3..17...2...6.6....28....419..5....8..79",
    "4.....8.5.3..........7......2.....6.....8.4......1.......6.3.7.5..2.....1.4......",
    "8..........36......7..9.2...5...7.......457.....1...3...1....68..85...1..9....4..",
    "55" + "." * 79,
)
KNAPSACK = (
    (12, 24),
    (7, 13),
    (11, 23),
    (8, 15),
    (9, 16),
    (6, 11),
    (5, 9),
    (14, 28),
    (3, 5),
    (10, 19),
    (4, 7),
    (13, 25),
)
CAPACITY = 40


def make_roads() -> list[tuple[int, int, int]]:
    """A grid of streets; every fifth goes one way only."""
    chance, roads = random.Random(41), []
    for row in range(SIDE):
        for column in range(SIDE):
            here = row * SIDE + column
            neighbours = [here + 1] * (column + 1 < SIDE) + [here + SIDE] * (row + 1 < SIDE)
            for there in neighbours:
                metres = chance.randint(20, 400)
                roads.append((here, there, metres))
                if chance.randrange(5):
                    roads.append((there, here, metres))
    return roads


ROADS = make_roads()


def road_grid(printed: str) -> str | None:
    """The length by Bellman and Ford, who need no priority queue; and the path really is that long."""
    goal = SIDE * SIDE - 1
    best: dict[int, float] = {0: 0}
    changed = True
    while changed:
        changed = False
        for source, target, metres in ROADS:
            if source in best and best[source] + metres < best.get(target, float("inf")):
                best[target], changed = best[source] + metres, True
    reachable, length, path_line = printed.splitlines()
    path = [int(place) for place in path_line.split()[1:]]
    roads = {(source, target): metres for source, target, metres in ROADS}
    return first(
        differs("reachable", reachable, f"reachable {len(best)}"),
        differs("metres", length, f"metres {best[goal]}"),
        differs("ends of the path", (path[0], path[-1]), (0, goal)),
        differs("length of the path", sum(roads[step] for step in zip(path, path[1:], strict=False)), best[goal]),
    )


def sudoku(printed: str) -> str | None:
    """Each solution keeps the given digits and has all nine in every row, column and box; the last has none."""
    *solutions, last = printed.splitlines()
    if len(solutions) != len(PUZZLES) - 1 or last != "no solution":
        return f"{len(solutions)} solutions, then {last!r}"
    for puzzle, solved in zip(PUZZLES, solutions, strict=False):
        rows = [solved[start : start + 9] for start in range(0, 81, 9)]
        columns = ["".join(column) for column in zip(*rows, strict=False)]
        boxes = ["".join(rows[r + i][c : c + 3] for i in range(3)) for r in (0, 3, 6) for c in (0, 3, 6)]
        for unit in rows + columns + boxes:
            if "".join(sorted(unit)) != "123456789":
                return f"{unit} is not a full unit of {solved}"
        if any(given not in (".", digit) for given, digit in zip(puzzle, solved, strict=False)):
            return f"{solved} does not keep the digits of {puzzle}"
    return None


def knapsack(printed: str) -> str | None:
    """The best value of all 4096 choices, and a choice that has it."""
    value, chosen_line = printed.splitlines()
    best = 0
    for choice in range(1 << len(KNAPSACK)):
        chosen = [item for index, item in enumerate(KNAPSACK) if choice >> index & 1]
        if sum(weight for weight, _ in chosen) <= CAPACITY:
            best = max(best, sum(worth for _, worth in chosen))
    items = [KNAPSACK[int(index)] for index in chosen_line.split()]
    return first(
        differs("value", int(value), best),
        differs("value of the choice", sum(worth for _, worth in items), best),
        differs("fits", sum(weight for weight, _ in items) <= CAPACITY, True),
    )


def n_queens(printed: str) -> str | None:
    """The known counts, and a board on which no two queens attack each other."""
    counts, *board = printed.splitlines()
    queens = [(row, line.split().index("Q")) for row, line in enumerate(board)]
    attacks = [(a, b) for a in queens for b in queens if a < b and (a[1] == b[1] or abs(a[1] - b[1]) == b[0] - a[0])]
    return first(
        differs("counts", counts, "1 0 0 2 10 4 40 92 352"),
        differs("queens", len(queens), 8),
        differs("attacks", attacks, []),
    )


FLOW = """
flow 23 cut 23 source side 1 2 4 s
matched 3 of 4
"""
CACHE = """
fifo 15 lru 12 optimal 9
fifo with 3 frames 9 with 4 10
lru has no anomaly True
"""
LIFE = """
glider moved True
r-pentomino, young 5 6 7 9 8 9 12 11 18
r-pentomino, settled 116
blinker has period 2 True
"""

JOBS = [
    python_job(
        "road_grid",
        output(road_grid),
        ["0", str(SIDE * SIDE - 1)],
        stdin="".join(f"{a} {b} {metres}\n" for a, b, metres in ROADS).encode(),
    ),
    python_job("sudoku", output(sudoku), stdin="\n".join(PUZZLES).encode()),
    python_job(
        "knapsack",
        output(knapsack),
        [str(CAPACITY)],
        stdin="".join(f"{weight} {worth}\n" for weight, worth in KNAPSACK).encode(),
    ),
    python_job("n_queens", output(n_queens)),
    python_job("max_flow", prints(FLOW)),
    python_job("lru_cache", prints(CACHE)),
    python_job("game_of_life", prints(LIFE)),
]
