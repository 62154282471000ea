"""Finds Mersenne primes with the Lucas-Lehmer test and cross-checks small numbers with Miller-Rabin."""


def is_prime(n):
    """Miller-Rabin with bases that are proven sufficient below 3.3e24."""
    if n < 2:
        return False
    for p in (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37):
        if n % p == 0:
            return n == p
    d, s = n - 1, 0
    while d % 2 == 0:
        d, s = d // 2, s + 1
    for base in (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37):
        x = pow(base, d, n)
        if x in (1, n - 1):
            continue
        for _ in range(s - 1):
            x = x * x % n
            if x == n - 1:
                break
        else:
            return False
    return True


def lucas_lehmer(p):
    if p == 2:
        return True
    s, m = 4, (1 << p) - 1
    for _ in range(p - 2):
        s = s * s - 2
        s = (s & m) + (s >> p)  # Reducing modulo 2^p - 1 needs no division.
        if s >= m:
            s -= m
    return s == 0


exponents = [p for p in range(2, 620) if is_prime(p) and lucas_lehmer(p)]
print(*exponents)
print("agree", all(is_prime((1 << p) - 1) == (p in exponents) for p in range(2, 80) if is_prime(p)))
print("carmichael 3215031751", is_prime(3215031751))
