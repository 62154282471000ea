"""A bank's ledger in exact decimals: double entry, interest, rounding, and an audit that finds a wrong posting."""

from decimal import ROUND_HALF_EVEN, Decimal, localcontext

CENT = Decimal("0.01")


class Ledger:
    def __init__(self):
        self.postings = []

    def transfer(self, text, source, target, amount):
        amount = Decimal(amount).quantize(CENT, ROUND_HALF_EVEN)
        if amount <= 0:
            raise ValueError(f"{text}: {amount} is not a positive amount")
        self.postings += [(text, source, -amount), (text, target, amount)]

    def balance(self, account):
        return sum((amount for _, name, amount in self.postings if name == account), Decimal(0))

    def audit(self):
        return sum((amount for _, _, amount in self.postings), Decimal(0))


bank = Ledger()
bank.transfer("opening", "equity", "ada", "1000")
for _month in range(120):
    bank.transfer("interest", "interest paid", "ada", bank.balance("ada") * Decimal("0.05") / 12)
bank.transfer("opening", "equity", "blaise", "0.30")
for _coin in range(3):
    bank.transfer("coin", "blaise", "charles", "0.10")
try:
    bank.transfer("nothing", "ada", "blaise", "0.004")
except ValueError as error:
    print("refused:", error)
with localcontext() as context:
    context.prec = 50
    exact = Decimal(1000) * (1 + Decimal("0.05") / 12) ** 120
print("ada", bank.balance("ada"), "without rounding", exact.quantize(CENT))
print("blaise", bank.balance("blaise"), "charles", bank.balance("charles"))
print("audit", bank.audit(), "postings", len(bank.postings))
bank.postings.append(("forged", "charles", Decimal("0.01")))
print("audit after forgery", bank.audit())
print(
    "half even", *(Decimal(text).quantize(CENT, ROUND_HALF_EVEN) for text in ("2.345", "2.355", "-2.345", "2.3450001"))
)
