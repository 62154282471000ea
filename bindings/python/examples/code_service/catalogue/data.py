"""Jobs that transform data. The service makes the input, so the checks know what must come out."""

from __future__ import annotations

import csv
import io
import json
import random
import statistics
from typing import Any

from ..checks import differs, first, output, prints
from ..jobs import python_job


def make_orders() -> list[dict[str, Any]]:
    """A few hundred orders of a hardware shop."""
    chance = random.Random(21)
    names, items = ["Ada", "Blaise", "Charles", "Dorothy", "Émilie"], ["bolt", "gear", "lever", "spring"]
    return [
        {
            "customer": chance.choice(names),
            "date": f"2024-{chance.randint(1, 12):02}-{chance.randint(1, 28):02}",
            "status": chance.choice(["paid", "paid", "open", "cancelled"]),
            "lines": [
                {"item": chance.choice(items), "quantity": chance.randint(1, 9), "cents": chance.randint(5, 999)}
                for _ in range(chance.randint(1, 4))
            ],
        }
        for _ in range(400)
    ]


def make_readings() -> str:
    """A CSV of temperatures with quoted fields, and some lines that cannot be read."""
    chance, text = random.Random(22), io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["station", "note", "celsius"])
    for number in range(2000):
        celsius = "n/a" if number % 97 == 0 else f"{chance.gauss(9, 6):.1f}"
        writer.writerow([chance.choice(["Kew", "Oslo, harbour", 'the "Old" mill']), "a,b", celsius])
    return text.getvalue()


def make_log() -> str:
    """A web server's log with one burst of failed logins, one very slow page, and three lines of nonsense."""
    chance, lines = random.Random(23), []
    for number in range(3000):
        path = chance.choice(["/", "/about", "/shop?item=1", "/shop?item=22", "/login"])
        status = "200" if path != "/login" else chance.choice(["200", "401"])
        host = f"192.0.2.{chance.randint(1, 200)}"
        lines.append(
            f"{host} - - [10/Oct/2024:13:{number // 60 % 60:02}:{number % 60:02} +0000] "
            f'"GET {path} HTTP/1.1" {status} {chance.randint(100, 9999)} {chance.randint(1, 300)}ms'
        )
    burst = '203.0.113.9 - - [10/Oct/2024:14:00:00 +0000] "POST /login HTTP/1.1" 401 17 4ms'
    lines += [burst] * 50
    lines.append('192.0.2.1 - ada [10/Oct/2024:14:01:00 +0000] "GET /report HTTP/1.1" 503 - 9000ms')
    lines += ["", "GET / HTTP/1.1", "\x16\x03\x01 nonsense"]
    chance.shuffle(lines)
    return "\n".join(lines) + "\n"


ORDERS, READINGS, LOG = make_orders(), make_readings(), make_log()


def json_transform(printed: str) -> str | None:
    """Totals per customer, summed without any grouping; the ranking; the encoding of a name."""
    report = json.loads(printed)
    for entry in report:
        mine = [order for order in ORDERS if order["customer"] == entry["customer"] and order["status"] != "cancelled"]
        cents = sum(line["quantity"] * line["cents"] for order in mine for line in order["lines"])
        items = sum(line["quantity"] for order in mine for line in order["lines"])
        problem = first(
            differs("orders", entry["orders"], len(mine)),
            differs("cents", entry["cents"], cents),
            differs("items", entry["items"], items),
            differs("last", entry["last"], sorted(order["date"] for order in mine)[-1]),
        )
        if problem:
            return f"{entry['customer']}: {problem}"
    ranking = [entry["cents"] for entry in report]
    return first(
        differs("customers", {entry["customer"] for entry in report}, {order["customer"] for order in ORDERS}),
        differs("ranking", ranking, sorted(ranking, reverse=True)),
    )


def csv_report(printed: str) -> str | None:
    """Means and medians of every station."""
    rows = list(csv.DictReader(io.StringIO(printed)))
    source = list(csv.DictReader(io.StringIO(READINGS)))
    for row in rows:
        values = [float(r["celsius"]) for r in source if r["station"] == row["station"] and r["celsius"] != "n/a"]
        problem = first(
            differs("readings", int(row["readings"]), len(values)),
            differs("median", row["median"], f"{statistics.median(values):.3f}"),
            differs("mean is close", abs(float(row["mean"]) - sum(values) / len(values)) < 0.001, True),
            differs("range", (row["min"], row["max"]), (f"{min(values):.1f}", f"{max(values):.1f}")),
        )
        if problem:
            return f"{row['station']}: {problem}"
    return differs("stations", [row["station"] for row in rows], sorted({r["station"] for r in source}))


def log_analysis(printed: str) -> str | None:
    """The planted peculiarities are found, and every line is accounted for."""
    lines = printed.splitlines()
    counted = sum(int(line.split()[1]) for line in lines if line[1:3] == "xx")
    return first(
        differs("unread", lines[0], "unread 3"),
        differs("lines read", counted, LOG.count("\n") - 3),
        differs("errors of the server", "5xx 1" in lines, True),
        differs("failed logins", f"4xx {LOG.count(' 401 ')}" in lines, True),
        differs("slowest", next(line for line in lines if line.startswith("slow")), "slow /report 9000"),
        differs("burst", lines[-1], "burst 203.0.113.9 50"),
    )


SHOP = """
rolled back: FOREIGN KEY constraint failed
rolled back: CHECK constraint failed: cents > 0
Ada|200|68400|2024-09-24
Blaise|200|68800|2024-09-22
Charles|200|68200|2024-09-26
backup 600 ok
"""
BOOKS = """
1609 Sonnets
1687 Principia & System
1859 On the Origin of Species
note: read <slowly>
overdue: ['b3']
loans left: 0
broken document refused at line 7
"""
LINKS = """
Mills
  Water mills
  Windmills
http://example.net/europe/bridges.html#old
http://example.net/europe/mills/index.html?page=2
http://example.org/wind
place | built
Kinderdijk | 1738
Ely | 1804
"""
CONFIG = """
limits.cpu = 0.5 (json)
limits.memory = 512 (json)
limits.pids = 32 (env)
server.host = 0.0.0.0 (ini)
server.log = 0.0.0.0.log (ini)
server.name = café (env)
server.port = 8080 (json)
"""

JOBS = [
    python_job("json_transform", output(json_transform), stdin=json.dumps(ORDERS).encode()),
    python_job("csv_report", output(csv_report), stdin=READINGS.encode()),
    python_job("log_analysis", output(log_analysis), stdin=LOG.encode()),
    python_job("sqlite_orders", prints(SHOP)),
    python_job("xml_books", prints(BOOKS)),
    python_job("html_links", prints(LINKS)),
    python_job(
        "config_merge",
        prints(CONFIG),
        env={"APP_LIMITS_PIDS": "32", "APP_SERVER_NAME": "café", "PYTHONUTF8": "1"},
    ),
]
