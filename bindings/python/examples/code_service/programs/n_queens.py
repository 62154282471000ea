"""Counts the ways to place n queens so that none attacks another, with bit masks."""


def count(n, columns=0, left=0, right=0, row=0):
    if row == n:
        return 1
    total = 0
    free = ~(columns | left | right) & ((1 << n) - 1)
    while free:
        place = free & -free
        free ^= place
        total += count(n, columns | place, (left | place) << 1, (right | place) >> 1, row + 1)
    return total


def first(n, placed=()):
    """The first solution in dictionary order, as the column of each row."""
    row = len(placed)
    if row == n:
        return placed
    for column in range(n):
        if all(column != c and abs(column - c) != row - r for r, c in enumerate(placed)):
            found = first(n, (*placed, column))
            if found:
                return found
    return None


print(*(count(n) for n in range(1, 10)))
for column in first(8):
    print(". " * column + "Q " + ". " * (7 - column))
