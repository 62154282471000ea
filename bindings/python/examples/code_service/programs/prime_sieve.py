"""Sieves the primes below a million and counts some of their kinds."""

LIMIT = 1_000_000
sieve = bytearray([1]) * LIMIT
sieve[0:2] = b"\0\0"
for number in range(2, int(LIMIT**0.5) + 1):
    if sieve[number]:
        sieve[number * number :: number] = bytes(len(range(number * number, LIMIT, number)))

primes = [number for number in range(LIMIT) if sieve[number]]
twins = sum(sieve[prime + 2] for prime in primes[:-1] if prime + 2 < LIMIT)
gap, start = max((after - before, -before) for before, after in zip(primes, primes[1:], strict=False))
print(f"primes {len(primes)}, largest {primes[-1]}, twins {twins}, widest gap {gap} after {-start}")
