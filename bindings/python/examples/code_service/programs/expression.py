"""A tokenizer and a recursive-descent evaluator for exact arithmetic."""

import re
from fractions import Fraction

TOKEN = re.compile(r"\s*(?:(\d+(?:\.\d+)?)|(\*\*|[-+*/()]))")


def tokens(text):
    position, text = 0, text.rstrip()
    while position < len(text):
        match = TOKEN.match(text, position)
        if not match:
            raise SyntaxError(f"cannot read {text[position:]!r}")
        yield match.group(1) or match.group(2)
        position = match.end()
    yield "end"


class Parser:
    """sum = product {(+|-) product}; product = sign {(*|/) sign}; sign = [-] sign | power; power = atom [** sign]."""

    def __init__(self, text):
        self._tokens = tokens(text)
        self._next = next(self._tokens)

    def take(self):
        taken, self._next = self._next, next(self._tokens, "end")
        return taken

    def whole(self):
        value = self.sum()
        if self._next != "end":
            raise SyntaxError(f"did not expect {self._next!r}")
        return value

    def sum(self):
        value = self.product()
        while self._next in ("+", "-"):
            value = value + self.product() if self.take() == "+" else value - self.product()
        return value

    def product(self):
        value = self.sign()
        while self._next in ("*", "/"):
            value = value * self.sign() if self.take() == "*" else value / self.sign()
        return value

    def sign(self):
        if self._next == "-":
            self.take()
            return -self.sign()
        return self.power()

    def power(self):
        value = self.atom()
        if self._next == "**":
            self.take()
            return value ** self.sign()
        return value

    def atom(self):
        token = self.take()
        if token == "(":
            value = self.sum()
            if self.take() != ")":
                raise SyntaxError("a parenthesis is missing")
            return value
        if not token[0].isdigit():
            raise SyntaxError(f"did not expect {token!r}")
        return Fraction(token)


for line in (
    "1 + 2 * 3",
    "(1 + 2) * 3",
    "2 ** 3 ** 2",
    "-2 ** 2",
    "8 / 4 / 2",
    "1/3 + 1/6",
    "0.1 + 0.2",
    "2 ** -3",
    "--4 - -4",
    "7 / (3 - 3)",
    "2 * (3",
    "4 $ 4",
    "5 6",
):
    try:
        print(line, "=", Parser(line).whole())
    except (SyntaxError, ZeroDivisionError) as error:
        print(line, "!", type(error).__name__)
