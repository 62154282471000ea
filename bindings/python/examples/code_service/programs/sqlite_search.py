"""Full-text search over all shipped texts with SQLite's FTS5."""

import glob
import sqlite3

library = sqlite3.connect("library.db")
library.execute("CREATE VIRTUAL TABLE page USING fts5(book, body, tokenize = 'porter unicode61')")
for path in sorted(glob.glob("*.txt")):
    for paragraph in open(path, encoding="utf-8").read().split("\n\n"):
        library.execute("INSERT INTO page VALUES (?, ?)", (path, " ".join(paragraph.split())))
library.commit()

for query in ('"created equal"', "marriage AND minds", "jury", "NEAR(standing armies)", "darkness"):
    hits = library.execute("SELECT book FROM page WHERE page MATCH ? ORDER BY book, rowid", (query,)).fetchall()
    print(query, "->", *[book for (book,) in hits])
