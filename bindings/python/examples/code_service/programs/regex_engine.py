"""A regular-expression engine by Brzozowski derivatives, held against the one of the standard library."""

import itertools
import re
from functools import cache

NOTHING, EMPTY = ("nothing",), ("empty",)


def either(a, b):
    return b if a == NOTHING else a if b in (NOTHING, a) else ("either", a, b)


def then(a, b):
    if NOTHING in (a, b):
        return NOTHING
    return b if a == EMPTY else a if b == EMPTY else ("then", a, b)


def nullable(r):
    kind = r[0]
    if kind in ("empty", "star"):
        return True
    if kind == "either":
        return nullable(r[1]) or nullable(r[2])
    return kind == "then" and nullable(r[1]) and nullable(r[2])


@cache
def derive(r, letter):
    """What must follow after ``letter``."""
    kind = r[0]
    if kind == "letter":
        return EMPTY if r[1] in (letter, ".") else NOTHING
    if kind == "either":
        return either(derive(r[1], letter), derive(r[2], letter))
    if kind == "star":
        return then(derive(r[1], letter), r)
    if kind == "then":
        first = then(derive(r[1], letter), r[2])
        return either(first, derive(r[2], letter)) if nullable(r[1]) else first
    return NOTHING


def parse(pattern):
    rest = list(pattern)

    def alternatives():
        result = sequence()
        while rest and rest[0] == "|":
            rest.pop(0)
            result = either(result, sequence())
        return result

    def sequence():
        result = EMPTY
        while rest and rest[0] not in "|)":
            result = then(result, repeated())
        return result

    def repeated():
        letter = rest.pop(0)
        result = ("letter", letter)
        if letter == "(":
            result = alternatives()
            rest.pop(0)
        while rest and rest[0] in "*+?":
            mark = rest.pop(0)
            star = ("star", result)
            result = star if mark == "*" else then(result, star) if mark == "+" else either(result, EMPTY)
        return result

    return alternatives()


def matches(pattern, text):
    state = parse(pattern)
    for letter in text:
        state = derive(state, letter)
    return nullable(state)


texts = ["".join(letters) for n in range(7) for letters in itertools.product("ab", repeat=n)]
compared = wrong = 0
for pattern in ("a*b", "(a|b)*abb", "a?a?a?aaa", "(ab|ba)+", "a.b", "(a*b*)*", "((a|b)(a|b))*", "b*(abb*)*(a|)"):
    for text in texts:
        compared += 1
        wrong += matches(pattern, text) != bool(re.fullmatch(pattern, text))
print("compared", compared, "wrong", wrong)
print("no blow-up", matches("a?" * 25 + "a" * 25, "a" * 25))
