"""Finds the longest phrase that a text says twice, through a suffix array built by doubling."""

import sys


def suffix_array(text):
    order = sorted(range(len(text)), key=text.__getitem__)
    rank = [ord(character) for character in text]
    step = 1
    while step < len(text):
        key = [(rank[i], rank[i + step] if i + step < len(text) else -1) for i in range(len(text))]
        order.sort(key=key.__getitem__)
        rank[order[0]] = 0
        for before, after in zip(order, order[1:], strict=False):
            rank[after] = rank[before] + (key[before] != key[after])
        if rank[order[-1]] == len(text) - 1:
            break
        step *= 2
    return order


def shared_prefix(a, b):
    length = 0
    for x, y in zip(a, b, strict=False):
        if x != y:
            break
        length += 1
    return length


text = " ".join(open(sys.argv[1], encoding="utf-8").read().split())
order = suffix_array(text)
best = max(zip(order, order[1:], strict=False), key=lambda pair: shared_prefix(text[pair[0] :], text[pair[1] :]))
print(repr(text[best[0] : best[0] + shared_prefix(text[best[0] :], text[best[1] :])]))
