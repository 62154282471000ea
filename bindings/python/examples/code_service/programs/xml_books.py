"""Reads a library catalogue (XML with a namespace), changes it, writes it and reads it again."""

import io
import xml.etree.ElementTree as ET

SOURCE = """<?xml version="1.0" encoding="UTF-8"?>
<l:library xmlns:l="urn:library" xmlns:dc="urn:dc">
  <l:book id="b1" year="1609"><dc:title>Sonnets</dc:title><dc:creator>William Shakespeare</dc:creator></l:book>
  <l:book id="b2" year="1859"><dc:title>On the Origin of Species</dc:title>
    <dc:creator>Charles Darwin</dc:creator></l:book>
  <l:book id="b3" year="1687"><dc:title>Principia &amp; System</dc:title><dc:creator>Isaac Newton</dc:creator>
    <l:note><![CDATA[read <slowly>]]></l:note></l:book>
  <l:loan book="b2" days="12"/><l:loan book="b3" days="40"/>
</l:library>"""
NAMES = {"l": "urn:library", "dc": "urn:dc"}

root = ET.fromstring(SOURCE)
for book in sorted(root.findall("l:book", NAMES), key=lambda book: int(book.get("year"))):
    print(book.get("year"), book.findtext("dc:title", namespaces=NAMES))
print("note:", root.findtext(".//l:note", namespaces=NAMES))

for loan in root.findall("l:loan", NAMES):
    book = root.find(f"l:book[@id='{loan.get('book')}']", NAMES)
    if int(loan.get("days")) > 30:
        ET.SubElement(book, "{urn:library}overdue").text = loan.get("days")
    root.remove(loan)

again = ET.parse(io.BytesIO(ET.tostring(root, encoding="utf-8", xml_declaration=True))).getroot()
print("overdue:", [book.get("id") for book in again.findall("l:book[l:overdue]", NAMES)])
print("loans left:", len(again.findall("l:loan", NAMES)))
try:
    ET.fromstring(SOURCE.replace("</l:note>", ""))
except ET.ParseError as error:
    print("broken document refused at line", error.position[0])
