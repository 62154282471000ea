"""Jobs over the shipped texts. The checks compute the same things from the same files by other means."""

from __future__ import annotations

import itertools
import json
from collections import Counter

from ..checks import differs, first, output, prints
from ..jobs import HERE, python_job

DECLARATION, GETTYSBURG = "texts/declaration.txt", "texts/gettysburg.txt"
AMENDMENTS, SONNETS = "texts/amendments.txt", "texts/sonnets.txt"


def read(path: str) -> str:
    """One of the shipped texts."""
    return (HERE / path).read_text(encoding="utf-8")


def words_of(text: str) -> list[str]:
    """Lower-case words, found by splitting where the job uses a regular expression."""
    letters = "".join(c if c.isalpha() or c == "'" else " " for c in text.lower())
    return [word.strip("'") for word in letters.split() if word.strip("'")]


def text_stats(printed: str) -> str | None:
    """The statistics of the declaration."""
    found, text = json.loads(printed), read(DECLARATION)
    counts = Counter(words_of(text))
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return first(
        differs("lines", found["lines"], len(text.splitlines())),
        differs("words", found["words"], sum(counts.values())),
        differs("distinct", found["distinct"], len(counts)),
        differs("once", found["once"], list(counts.values()).count(1)),
        differs("longest", found["longest"], "undistinguished"),
        differs("commonest", found["commonest"], [list(item) for item in ranked[:5]]),
        differs("letters", found["letters"][0], "e"),
    )


def concordance(printed: str) -> str | None:
    """Every "right", aligned; the plural is another word."""
    text = " ".join(read(AMENDMENTS).split())
    places = [at for at in range(len(text)) if text.startswith("right", at) and not text[at + 5].isalpha()]
    lines = [f"{text[at - 24 : at]}[right]{text[at + 5 : at + 29]}" for at in places]
    return differs("lines", printed.splitlines(), sorted(lines, key=lambda line: line.partition("]")[2].lower()))


def markov(printed: str) -> str | None:
    """Every three words in a row follow each other in the source, too."""
    words = read(SONNETS).split()
    known = set(zip(words, words[1:], words[2:], strict=False))
    for sentence in printed.split(" | "):
        parts = sentence.split()
        strange = [triple for triple in zip(parts, parts[1:], parts[2:], strict=False) if triple not in known]
        if strange:
            return f"the source never says {' '.join(strange[0])!r}"
    return None if len(printed.split()) >= 120 else "too short"


def diff_texts(printed: str) -> str | None:
    """Lines lost and changed are counted without any diff."""
    lines = read(DECLARATION).splitlines()
    lost = sum(line.startswith("For ") for line in lines)
    changed = sum("He has" in line for line in lines)
    return differs("result", printed.strip(), f"added {changed + 1}, removed {changed + lost}, restored True")


def suffix_array(printed: str) -> str | None:
    """The longest repeated phrase is as long as the slow way says, and does occur twice."""
    text, phrase = " ".join(read(GETTYSBURG).split()), printed.strip()[1:-1]

    def repeats(length: int) -> bool:
        seen = [text[start : start + length] for start in range(len(text) - length + 1)]
        return len(set(seen)) < len(seen)

    longest = next(length for length in itertools.count(1) if not repeats(length + 1))
    twice = text.find(phrase, text.find(phrase) + 1) >= 0
    return first(differs("length", len(phrase), longest), differs("occurs twice", twice, True))


def huffman(printed: str) -> str | None:
    """The optimal size is the sum of all inner nodes, which needs no code words."""
    weights = sorted(Counter((HERE / GETTYSBURG).read_bytes()).values())
    symbols, bits = len(weights), 0
    while len(weights) > 1:
        merged = weights.pop(0) + weights.pop(0)
        bits += merged
        weights = sorted([*weights, merged])
    return differs("result", printed.strip(), f"symbols {symbols}, bits {bits}, same True")


def pipeline(printed: str) -> str | None:
    """The five commonest words; here an apostrophe ends a word."""
    counts = Counter(words_of(read(DECLARATION).replace("'", " ")))
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:5]
    return differs("result", printed.splitlines(), ["exit codes 0 0 0"] + [f"{n} {word}" for word, n in ranked])


SONNET_RHYMES = """
XVIII: 14 lines, 7 of 7 rhymes seen, couplet see/thee
XXIX: 14 lines, 6 of 7 rhymes seen, couplet brings/kings
XXX: 14 lines, 3 of 7 rhymes seen, couplet friend/end
LV: 14 lines, 6 of 7 rhymes seen, couplet arise/eyes
LX: 14 lines, 6 of 7 rhymes seen, couplet stand/hand
LXXIII: 14 lines, 6 of 7 rhymes seen, couplet strong/long
CXVI: 14 lines, 6 of 7 rhymes seen, couplet proved/loved
CXXX: 14 lines, 4 of 7 rhymes seen, couplet rare/compare
"""
SEARCH = """
"created equal" -> declaration.txt gettysburg.txt
marriage AND minds -> sonnets.txt
jury -> amendments.txt amendments.txt amendments.txt declaration.txt
NEAR(standing armies) -> declaration.txt
darkness ->
"""
LEVENSHTEIN = """
kitten sitting 3 ~===~=+
intention execution 5 ~~~~~====
saturday sunday 3 =--=~===
(nothing) abc 3 +++
hapiness -> happiness
libberty -> liberty
goverment -> government
idependent -> independent
foriegn -> foreign
"""
TWO_SENTENCES = b"""\
four score and seven years ago our fathers brought forth a new nation
four score and eight years ago our mothers brought a bold new nation forth
"""
MERGED = """10
four score and [-seven-] {+eight+} years ago our [-fathers-] {+mothers+} \
brought [-forth-] a {+bold+} new nation {+forth+}
"""


JOBS = [
    python_job("text_stats", output(text_stats), ["declaration.txt"], [DECLARATION]),
    python_job("concordance", output(concordance), ["amendments.txt", "right"], [AMENDMENTS]),
    python_job("sonnet_rhymes", prints(SONNET_RHYMES), ["sonnets.txt"], [SONNETS]),
    python_job("markov", output(markov), ["sonnets.txt", "4"], [SONNETS]),
    python_job("diff_texts", output(diff_texts), files=[DECLARATION]),
    python_job("lcs_diff", prints(MERGED), stdin=TWO_SENTENCES),
    python_job("suffix_array", output(suffix_array), ["gettysburg.txt"], [GETTYSBURG]),
    python_job("huffman", output(huffman), ["gettysburg.txt"], [GETTYSBURG]),
    python_job("pipeline", output(pipeline), ["declaration.txt"], [DECLARATION]),
    python_job("sqlite_search", prints(SEARCH), files=[DECLARATION, GETTYSBURG, AMENDMENTS, SONNETS]),
    python_job("levenshtein", prints(LEVENSHTEIN), files=[DECLARATION]),
]
