"""Turns a flat list of orders (JSON on standard input) into a report per customer (JSON)."""

import json
import sys
from collections import defaultdict

orders = json.load(sys.stdin)
customers = defaultdict(lambda: {"orders": 0, "cents": 0, "items": defaultdict(int), "last": ""})
for order in orders:
    if order["status"] == "cancelled":
        continue
    entry = customers[order["customer"]]
    entry["orders"] += 1
    entry["last"] = max(entry["last"], order["date"])
    for line in order["lines"]:
        entry["cents"] += line["quantity"] * line["cents"]
        entry["items"][line["item"]] += line["quantity"]

report = []
for name, entry in sorted(customers.items(), key=lambda pair: (-pair[1]["cents"], pair[0])):
    favourite = min(entry["items"], key=lambda item: (-entry["items"][item], item))
    report.append({**entry, "customer": name, "items": sum(entry["items"].values()), "favourite": favourite})
json.dump(report, sys.stdout, indent=1, sort_keys=True)
