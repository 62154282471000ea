"""A small shop in an SQLite file in the scratch dir: keys, joins, a window function, a rollback, a backup."""

import sqlite3

shop = sqlite3.connect("shop.db")
shop.executescript(
    """
    PRAGMA foreign_keys = ON;
    PRAGMA journal_mode = WAL;
    CREATE TABLE customer (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
    CREATE TABLE sale (
        id INTEGER PRIMARY KEY, customer INTEGER NOT NULL REFERENCES customer, day TEXT NOT NULL,
        cents INTEGER NOT NULL CHECK (cents > 0));
    CREATE INDEX sale_by_customer ON sale (customer, day);
    """
)
with shop:
    shop.executemany("INSERT INTO customer VALUES (?, ?)", enumerate(["Ada", "Blaise", "Charles"], start=1))
    shop.executemany(
        "INSERT INTO sale (customer, day, cents) VALUES (?, date('2024-01-01', ? || ' days'), ?)",
        ((number % 3 + 1, number, 100 + number * 7 % 500) for number in range(600)),
    )

for statement in (
    "INSERT INTO sale (customer, day, cents) VALUES (9, '2024-01-01', 5)",
    "INSERT INTO sale (customer, day, cents) VALUES (1, '2024-01-01', 0)",
):
    try:
        with shop:
            shop.execute("DELETE FROM sale")
            shop.execute(statement)
    except sqlite3.IntegrityError as error:
        print("rolled back:", error)

query = """
    WITH running AS (
        SELECT customer, day, SUM(cents) OVER (PARTITION BY customer ORDER BY day) AS total FROM sale)
    SELECT name, COUNT(*), SUM(cents), (SELECT MIN(day) FROM running WHERE customer = c.id AND total >= 30000)
    FROM customer c JOIN sale s ON s.customer = c.id GROUP BY c.id ORDER BY name"""
for row in shop.execute(query):
    print(*row, sep="|")

with sqlite3.connect("backup.db") as backup:
    shop.backup(backup)
print(
    "backup",
    backup.execute("SELECT COUNT(*) FROM sale").fetchone()[0],
    backup.execute("PRAGMA integrity_check").fetchone()[0],
)
