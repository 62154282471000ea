"""Draws a line into a PNG file: with matplotlib where there is one, else by itself."""

import struct
import zlib

WIDTH, HEIGHT, MARGIN = 480, 320, 20


def line(values, path="plot.png"):
    """Draw the values from left to right."""
    values = [float(value) for value in values]
    if len(values) < 2:
        raise ValueError("a line needs two values")
    try:
        import matplotlib
    except ImportError:
        return _write(path, _draw(values))
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots()
    axes.plot(values)
    figure.savefig(path, format="png")
    pyplot.close(figure)


def _draw(values):
    low, high = min(values), max(values)
    rows = [bytearray(b"\xff" * (3 * WIDTH)) for _ in range(HEIGHT)]
    span, across, up = (high - low) or 1.0, WIDTH - 2 * MARGIN, HEIGHT - 2 * MARGIN
    before = None
    for x in range(across):
        at = x * (len(values) - 1) / (across - 1)
        index = min(int(at), len(values) - 2)
        value = values[index] + (values[index + 1] - values[index]) * (at - index)
        y = HEIGHT - MARGIN - 1 - round((value - low) / span * (up - 1))
        for between in range(min(y, before or y), max(y, before or y) + 1):
            rows[between][3 * (MARGIN + x) : 3 * (MARGIN + x) + 3] = b"\x1f\x77\xb4"
        before = y
    return rows


def _write(path, rows):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + bytes(row) for row in rows))
    with open(path, "wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b""))
