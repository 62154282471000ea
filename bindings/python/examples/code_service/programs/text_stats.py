"""Counts lines, words, sentences and letters of a text, and prints the result as JSON."""

import json
import re
import sys
from collections import Counter

text = open(sys.argv[1], encoding="utf-8").read()
words = re.findall(r"[a-z]+(?:'[a-z]+)?", text.lower())
sentences = [part for part in re.split(r"[.!?]+(?:\s|$)", text) if part.strip()]
letters = Counter(character for character in text.lower() if character.isalpha())
counts = Counter(words)
once = sorted(word for word, count in counts.items() if count == 1)

json.dump(
    {
        "lines": text.count("\n"),
        "words": len(words),
        "distinct": len(counts),
        "once": len(once),
        "longest": max(words, key=lambda word: (len(word), word)),
        "commonest": sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:5],
        "letters": "".join(sorted(letters, key=lambda letter: (-letters[letter], letter)))[:6],
        "mean_sentence": round(len(words) / len(sentences), 2),
    },
    sys.stdout,
)
