"""The floor of a forked Python: this interpreter with the same modules, forked where it is.

For each byte on standard input it forks, and the child answers with a byte as the first thing that it does. Then the
child ends; or, if the first argument is ``stay``, it waits until its parent does.
"""

import importlib
import os
import sys

kind, *modules = sys.argv[1:]
for name in modules:
    importlib.import_module(name)
end, held = os.pipe()
while os.read(0, 1):
    child = os.fork()
    if child == 0:
        os.write(1, b"x")
        if kind == "stay":
            os.close(held)
            os.read(end, 1)
        os._exit(0)
    if kind != "stay":
        os.waitpid(child, 0)
