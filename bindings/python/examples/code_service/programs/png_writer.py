"""Writes a picture as PNG with nothing but struct and zlib: a colour wheel with a transparent edge."""

import math
import struct
import zlib

SIZE = 128


def pixel(x, y):
    dx, dy = x - SIZE / 2 + 0.5, y - SIZE / 2 + 0.5
    angle, radius = math.atan2(dy, dx), math.hypot(dx, dy) / (SIZE / 2)
    if radius > 1:
        return 0, 0, 0, 0
    shares = [0.5 + 0.5 * math.cos(angle - third * 2 * math.pi / 3) for third in range(3)]
    return (*(int(255 * (1 - radius * (1 - share))) for share in shares), 255)


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


rows = bytearray()
previous = bytes(SIZE * 4)
for y in range(SIZE):
    row = bytes(value for x in range(SIZE) for value in pixel(x, y))
    # Filter 2: each byte minus the one above. Smooth pictures pack better that way.
    rows += b"\x02" + bytes((now - above) & 255 for now, above in zip(row, previous, strict=False))
    previous = row

with open("wheel.png", "wb") as file:
    file.write(b"\x89PNG\r\n\x1a\n")
    file.write(chunk(b"IHDR", struct.pack(">IIBBBBB", SIZE, SIZE, 8, 6, 0, 0, 0)))
    file.write(chunk(b"IDAT", zlib.compress(bytes(rows), 9)))
    file.write(chunk(b"IEND", b""))
print("wrote wheel.png")
