"""Reads a sloppy HTML page: its outline, its links resolved against the base, its table as rows."""

from html.parser import HTMLParser
from urllib.parse import urljoin

PAGE = """<!doctype html><title>Mills &amp; Bridges</title>
<h1>Mills</h1><p>See <a href="../bridges.html#old">the <b>old</b> bridge</a>
<h2>Water mills</h2><a href='?page=2'>next</a> <a name=here>not a link</a>
<script>document.write("<a href='trap'>no</a>")</script>
<h2>Wind&shy;mills</h2><A HREF=//example.org/wind>wind</A><!-- <a href="hidden">hidden</a> -->
<table><tr><th>place<th>built<tr><td>Kinderdijk<td>1738<tr><td>Ely<td>1&#56;04</table>"""


class Outline(HTMLParser):
    def __init__(self):
        super().__init__()
        self.headings, self.links, self.rows, self._text = [], [], [], []

    def handle_starttag(self, tag, attrs):
        href = dict(attrs).get("href")
        if tag == "a" and href:
            self.links.append(urljoin("http://example.net/europe/mills/index.html", href))
        if tag == "tr":
            self.rows.append([])
        if tag in ("h1", "h2"):
            self._text = []
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_data(self, data):
        self._text.append(data)
        if self.rows and self.rows[-1] and self.lasttag in ("td", "th"):
            self.rows[-1][-1] += data

    def handle_endtag(self, tag):
        if tag in ("h1", "h2"):
            self.headings.append((tag, "".join(self._text).replace("\u00ad", "")))


page = Outline()
page.feed(PAGE)
page.close()
for level, heading in page.headings:
    print("  " * (int(level[1]) - 1) + heading)
print(*page.links, sep="\n")
for row in page.rows:
    print(" | ".join(row))
