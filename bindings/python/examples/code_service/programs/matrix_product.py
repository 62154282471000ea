"""Multiplies matrices three ways, and raises one to a power to reach a Fibonacci number far out."""

import random


def product(a, b):
    columns = list(zip(*b, strict=False))
    return [[sum(x * y for x, y in zip(row, column, strict=False)) for column in columns] for row in a]


def blocked(a, b, size=16):
    """The same, tile by tile, as one does it for the sake of caches."""
    n = len(a)
    out = [[0] * n for _ in range(n)]
    for i0 in range(0, n, size):
        for k0 in range(0, n, size):
            for i in range(i0, i0 + size):
                row = out[i]
                for k in range(k0, k0 + size):
                    factor = a[i][k]
                    for j, value in enumerate(b[k]):
                        row[j] += factor * value
    return out


def power(matrix, exponent):
    result = [[int(i == j) for j in range(len(matrix))] for i in range(len(matrix))]
    while exponent:
        if exponent & 1:
            result = product(result, matrix)
        matrix, exponent = product(matrix, matrix), exponent >> 1
    return result


numbers = random.Random(3)
a, b, c = ([[numbers.randrange(-99, 100) for _ in range(64)] for _ in range(64)] for _ in range(3))
print("tiles agree", product(a, b) == blocked(a, b))
print("associative", product(product(a, b), c) == product(a, product(b, c)))
print("F(300)", power([[1, 1], [1, 0]], 300)[0][1])
