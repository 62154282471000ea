"""Runs a test suite: Roman numerals, with a deliberate failure that must be found."""

import io
import unittest

PAIRS = (
    (1000, "M"),
    (900, "CM"),
    (500, "D"),
    (400, "CD"),
    (100, "C"),
    (90, "XC"),
    (50, "L"),
    (40, "XL"),
    (10, "X"),
    (9, "IX"),
    (5, "V"),
    (4, "IV"),
    (1, "I"),
)


def to_roman(number):
    if not 0 < number < 4000:
        raise ValueError(number)
    text = ""
    for value, letters in PAIRS:
        count, number = divmod(number, value)
        text += letters * count
    return text


def from_roman(text):
    total, rest = 0, text
    for value, letters in PAIRS:
        while rest.startswith(letters):
            total, rest = total + value, rest[len(letters) :]
    if rest or to_roman(total) != text:
        raise ValueError(text)
    return total


class RomanTest(unittest.TestCase):
    def test_there_and_back(self):
        for number in range(1, 4000):
            self.assertEqual(from_roman(to_roman(number)), number)

    def test_known(self):
        for number, text in ((1776, "MDCCLXXVI"), (1999, "MCMXCIX"), (2026, "MMXXVI")):
            with self.subTest(number):
                self.assertEqual(to_roman(number), text)

    def test_refuses_what_is_not_a_numeral(self):
        for text in ("IIII", "VX", "IM", "ABC"):
            self.assertRaises(ValueError, from_roman, text)

    def test_refuses_numbers_out_of_range(self):
        for number in (0, 4000, -1):
            self.assertRaises(ValueError, to_roman, number)

    @unittest.skip("vinculum is not supported")
    def test_large(self):
        self.assertEqual(to_roman(5000), "V\u0305")

    def test_wrong_on_purpose(self):
        self.assertEqual(to_roman(4), "IIII")


outcome = unittest.TextTestRunner(stream=io.StringIO()).run(unittest.TestLoader().loadTestsFromTestCase(RomanTest))
print("ran", outcome.testsRun, "skipped", len(outcome.skipped), "errors", len(outcome.errors))
for test, trace in outcome.failures:
    print("failed", test.id().rpartition(".")[2], trace.strip().splitlines()[-3].strip())
