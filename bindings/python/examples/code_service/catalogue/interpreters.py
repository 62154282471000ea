"""Jobs that run a language of their own, or test one."""

from __future__ import annotations

from ..checks import prints
from ..jobs import python_job

EXPRESSIONS = """
1 + 2 * 3 = 7
(1 + 2) * 3 = 9
2 ** 3 ** 2 = 512
-2 ** 2 = -4
8 / 4 / 2 = 1
1/3 + 1/6 = 1/2
0.1 + 0.2 = 3/10
2 ** -3 = 1/8
--4 - -4 = 8
7 / (3 - 3) ! ZeroDivisionError
2 * (3 ! SyntaxError
4 $ 4 ! SyntaxError
5 6 ! SyntaxError
"""
MACHINE = """
factorial of 20: 2432902008176640000
gcd of 1071 and 462: 21
collatz steps of 27: 111
stack underflow: underflow at 1
never ends: out of fuel
"""
LISP = """
5050
(1 4 9 16 25 36)
1
2
33
13
(a (b c) 1)
"""
REGEX = """
compared 1016 wrong 0
no blow-up True
"""
UNIT_TESTS = """
ran 6 skipped 1 errors 0
failed test_wrong_on_purpose AssertionError: 'IV' != 'IIII'
"""

JOBS = [
    python_job("expression", prints(EXPRESSIONS)),
    python_job("virtual_machine", prints(MACHINE)),
    python_job("lisp", prints(LISP)),
    python_job("regex_engine", prints(REGEX)),
    python_job("unit_tests", prints(UNIT_TESTS)),
]
