"""Finds the rhyme scheme of each sonnet by comparing how its lines end."""

import re
import sys


def last_word(line):
    return re.findall(r"[a-z'-]+", line.lower())[-1].strip("'")


def rhymes(one, other):
    """Two words rhyme for our purpose if they share their last two letters."""
    return one[-2:] == other[-2:]


def main():
    blocks = open(sys.argv[1], encoding="utf-8").read().strip().split("\n\n")
    for number, body in zip(blocks[::2], blocks[1::2], strict=False):
        lines = body.splitlines()
        ends = [last_word(line) for line in lines]
        # In a Shakespearean sonnet line 1 rhymes with 3, 2 with 4, and so on; the couplet rhymes with itself.
        pairs = [(q + i, q + i + 2) for q in (0, 4, 8) for i in (0, 1)] + [(12, 13)]
        spelled = sum(rhymes(ends[a], ends[b]) for a, b in pairs)
        print(f"{number}: {len(lines)} lines, {spelled} of {len(pairs)} rhymes seen, couplet {ends[12]}/{ends[13]}")


main()
