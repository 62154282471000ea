"""Reads a web server's log with one regular expression: slowest pages, error rates, a burst of failed logins."""

import re
import sys
from collections import Counter, defaultdict

LINE = re.compile(
    r"""(?P<host>\S+)\ -\ (?P<user>\S+)\ \[(?P<time>[^\]]+)\]\s
        "(?P<method>[A-Z]+)\ (?P<path>[^ ?"]+)(?:\?\S*)?\ HTTP/[\d.]+"\s
        (?P<status>\d{3})\ (?P<bytes>\d+|-)\ (?P<ms>\d+)ms""",
    re.VERBOSE,
)

unread, statuses, times, failures = 0, Counter(), defaultdict(list), Counter()
for line in sys.stdin:
    match = LINE.fullmatch(line.rstrip("\n"))
    if not match:
        unread += 1
        continue
    statuses[match["status"][0] + "xx"] += 1
    times[match["path"]].append(int(match["ms"]))
    if match["path"] == "/login" and match["status"] == "401":
        failures[match["host"]] += 1

print("unread", unread)
for family, count in sorted(statuses.items()):
    print(family, count)
for path in sorted(times, key=lambda path: (-max(times[path]), path))[:3]:
    print("slow", path, max(times[path]))
print("burst", *failures.most_common(1)[0])
