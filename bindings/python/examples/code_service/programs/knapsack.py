"""Packs a knapsack (``weight value`` a line on standard input) by dynamic programming, and says what is in it."""

import sys

capacity = int(sys.argv[1])
items = [tuple(map(int, line.split())) for line in sys.stdin]
best = [[0] * (capacity + 1)]
for weight, value in items:
    above = best[-1]
    best.append(
        [
            max(above[room], above[room - weight] + value) if room >= weight else above[room]
            for room in range(capacity + 1)
        ]
    )

room, chosen = capacity, []
for index in range(len(items), 0, -1):
    if best[index][room] != best[index - 1][room]:
        chosen.append(index - 1)
        room -= items[index - 1][0]
print(best[-1][-1])
print(*sorted(chosen))
