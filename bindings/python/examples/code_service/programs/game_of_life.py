"""Conway's game of life on an unbounded board: a glider's journey, and the fate of the R-pentomino."""

from collections import Counter

GLIDER = {(1, 0), (2, 1), (0, 2), (1, 2), (2, 2)}
R_PENTOMINO = {(1, 0), (2, 0), (0, 1), (1, 1), (1, 2)}


def step(alive):
    neighbours = Counter((x + dx, y + dy) for x, y in alive for dx in (-1, 0, 1) for dy in (-1, 0, 1) if dx or dy)
    return {cell for cell, count in neighbours.items() if count == 3 or (count == 2 and cell in alive)}


def run(alive, generations):
    for _ in range(generations):
        alive = step(alive)
    return alive


print("glider moved", run(GLIDER, 40) == {(x + 10, y + 10) for x, y in GLIDER})
print("r-pentomino, young", *(len(run(R_PENTOMINO, generations)) for generations in range(9)))
# It is famous for settling only now, after throwing off six gliders.
print("r-pentomino, settled", len(run(R_PENTOMINO, 1103)))
blinker = {(0, 0), (1, 0), (2, 0)}
print("blinker has period 2", run(blinker, 2) == blinker != run(blinker, 1))
