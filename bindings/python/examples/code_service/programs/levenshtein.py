"""Edit distances with their alignments, and a spelling corrector built on them."""

import re
from collections import Counter


def distance(a, b):
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, start=1):
        previous, row[0] = row[0], i
        for j, y in enumerate(b, start=1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (x != y))
    return row[-1]


def alignment(a, b):
    """One shortest way from a to b: kept, changed, inserted and deleted letters."""
    table = [[distance(a[:i], b[:j]) for j in range(len(b) + 1)] for i in range(len(a) + 1)]
    i, j, steps = len(a), len(b), ""
    while i or j:
        if i and j and table[i][j] == table[i - 1][j - 1] + (a[i - 1] != b[j - 1]):
            steps, i, j = ("=" if a[i - 1] == b[j - 1] else "~") + steps, i - 1, j - 1
        elif i and table[i][j] == table[i - 1][j] + 1:
            steps, i = "-" + steps, i - 1
        else:
            steps, j = "+" + steps, j - 1
    return steps


for one, other in (("kitten", "sitting"), ("intention", "execution"), ("saturday", "sunday"), ("", "abc")):
    print(one or "(nothing)", other, distance(one, other), alignment(one, other))

words = Counter(re.findall(r"[a-z]+", open("declaration.txt", encoding="utf-8").read().lower()))
for misspelt in ("hapiness", "libberty", "goverment", "idependent", "foriegn"):
    print(misspelt, "->", min(words, key=lambda word: (distance(misspelt, word), -words[word], word)))
