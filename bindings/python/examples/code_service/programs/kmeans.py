"""Finds the centres of clouds of points (``x y`` a line on standard input) by k-means with careful seeding."""

import math
import random
import sys

points = [tuple(map(float, line.split())) for line in sys.stdin]
count, choice = int(sys.argv[1]), random.Random(5)

# k-means++: each further centre far from those that are there already.
centres = [choice.choice(points)]
while len(centres) < count:
    weights = [min(math.dist(point, centre) for centre in centres) ** 2 for point in points]
    centres.append(choice.choices(points, weights)[0])

for _rounds in range(1, 100):
    groups = [[] for _ in centres]
    for point in points:
        groups[min(range(count), key=lambda index: math.dist(point, centres[index]))].append(point)
    moved = [tuple(sum(axis) / len(group) for axis in zip(*group, strict=False)) for group in groups]
    if moved == centres:
        break
    centres = moved

for centre, group in sorted(zip(centres, groups, strict=False)):
    print(f"{centre[0]:.4f} {centre[1]:.4f} {len(group)}")
