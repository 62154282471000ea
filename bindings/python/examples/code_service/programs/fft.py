"""A radix-2 fast Fourier transform: finds the tones in a signal, and multiplies two very large numbers."""

import cmath
import math
import sys


def transform(values, sign=-1):
    if len(values) == 1:
        return values
    even, odd = transform(values[::2], sign), transform(values[1::2], sign)
    turned = [cmath.exp(sign * 2j * cmath.pi * k / len(values)) * odd[k] for k in range(len(odd))]
    return [e + t for e, t in zip(even, turned, strict=False)] + [e - t for e, t in zip(even, turned, strict=False)]


def multiply(a, b):
    """The product of two non-negative numbers given as decimal text, digit by digit through the transform."""
    size = 1 << (len(a) + len(b)).bit_length()
    one, other = ([int(d) for d in reversed(text)] + [0] * (size - len(text)) for text in (a, b))
    pointwise = [x * y for x, y in zip(transform(one), transform(other), strict=False)]
    digits, carry = [], 0
    for value in transform(pointwise, sign=1):
        carry, digit = divmod(round(value.real / size) + carry, 10)
        digits.append(str(digit))
    return "".join(reversed(digits)).lstrip("0") or "0"


samples = 1024
signal = [
    3 * math.sin(2 * math.pi * 50 * t / samples)
    + math.sin(2 * math.pi * 120 * t / samples + 1)
    + 0.5 * math.cos(2 * math.pi * 333 * t / samples)
    for t in range(samples)
]
spectrum = [abs(value) * 2 / samples for value in transform(signal)[: samples // 2]]
for tone in sorted(range(len(spectrum)), key=lambda tone: -spectrum[tone])[:3]:
    print(f"tone {tone} amplitude {spectrum[tone]:.3f}")
print(multiply(*sys.stdin.read().split()))
