"""Reads weather readings (CSV on standard input), drops broken lines, and writes means per station (CSV)."""

import csv
import statistics
import sys
from collections import defaultdict

readings = defaultdict(list)
broken = 0
for row in csv.DictReader(sys.stdin):
    try:
        readings[row["station"]].append(float(row["celsius"]))
    except (ValueError, TypeError):
        broken += 1

writer = csv.writer(sys.stdout, lineterminator="\n")
writer.writerow(["station", "readings", "min", "mean", "median", "max"])
for station, values in sorted(readings.items()):
    middle = (f"{statistics.fmean(values):.3f}", f"{statistics.median(values):.3f}")
    writer.writerow([station, len(values), f"{min(values):.1f}", *middle, f"{max(values):.1f}"])
print(f"broken lines: {broken}", file=sys.stderr)
