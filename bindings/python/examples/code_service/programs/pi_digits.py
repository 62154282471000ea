"""Computes a thousand decimals of pi by Machin's formula in whole numbers."""


def arctan_inverse(x, unit):
    """arctan(1/x) times ``unit``."""
    term = unit // x
    total, n, sign = term, 3, -1
    while term:
        term //= x * x
        total += sign * (term // n)
        n, sign = n + 2, -sign
    return total


DIGITS, GUARD = 1000, 10
unit = 10 ** (DIGITS + GUARD)
pi = 4 * (4 * arctan_inverse(5, unit) - arctan_inverse(239, unit)) // 10**GUARD
decimals = str(pi)[1:]
print("3." + decimals[:50])
print("last", decimals[-10:])
print("six nines at", decimals.index("999999") + 1)
