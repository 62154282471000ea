"""The floor of a forked Python: this interpreter with the same modules, forked where it is.

For each byte on standard input it forks, and the child answers with a byte as the first thing that it does.
"""

import importlib
import os
import sys

for name in sys.argv[1:]:
    importlib.import_module(name)
while os.read(0, 1):
    child = os.fork()
    if child == 0:
        os.write(1, b"x")
        os._exit(0)
    os.waitpid(child, 0)
