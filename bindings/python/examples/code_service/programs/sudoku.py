"""Solves sudokus (81 characters a line on standard input, dots are empty) by constraints and search."""

import sys

ROWS = [[r * 9 + c for c in range(9)] for r in range(9)]
COLUMNS = [[r * 9 + c for r in range(9)] for c in range(9)]
BOXES = [[(b // 3 * 3 + i // 3) * 9 + b % 3 * 3 + i % 3 for i in range(9)] for b in range(9)]
UNITS = ROWS + COLUMNS + BOXES
PEERS = [{i for unit in UNITS if cell in unit for i in unit} - {cell} for cell in range(81)]


def place(options, cell, digit):
    """Fixes a cell and all that follows from it; False on a contradiction."""
    options[cell] = digit
    for peer in PEERS[cell]:
        if digit not in options[peer]:
            continue
        options[peer] = options[peer].replace(digit, "")
        if not options[peer]:
            return False
        if len(options[peer]) == 1 and not place(options, peer, options[peer]):
            return False
    return True


def search(options):
    open_cells = [cell for cell in range(81) if len(options[cell]) > 1]
    if not open_cells:
        return "".join(options)
    cell = min(open_cells, key=lambda cell: len(options[cell]))
    for digit in options[cell]:
        trial = list(options)
        if place(trial, cell, digit):
            found = search(trial)
            if found:
                return found
    return None


def solve(puzzle):
    options = ["123456789"] * 81
    for cell, digit in enumerate(puzzle):
        if digit != "." and (digit not in options[cell] or not place(options, cell, digit)):
            return None
    return search(options)


for line in sys.stdin:
    print(solve(line.strip()) or "no solution")
