"""Draws the Mandelbrot set with characters."""

SHADES = " .:-=+*#%@"
WIDTH, HEIGHT, LIMIT = 78, 31, 100


def escape(c):
    """After how many steps the point is surely outside; LIMIT if it seems to be inside."""
    z = 0j
    for step in range(LIMIT):
        z = z * z + c
        if abs(z) > 2:
            return step
    return LIMIT


for row in range(HEIGHT):
    line = ""
    for column in range(WIDTH):
        steps = escape(complex(-2.2 + 3.2 * column / (WIDTH - 1), 1.2 - 2.4 * row / (HEIGHT - 1)))
        line += SHADES[-1] if steps == LIMIT else SHADES[min(steps // 2, len(SHADES) - 2)]
    print("|" + line + "|")
