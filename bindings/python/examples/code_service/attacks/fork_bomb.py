"""Forks without end: every child forks as well, and nobody ever leaves."""

import os

refused = False
born = 0
me = os.getpid()
while True:
    try:
        if os.fork() == 0:
            born = 0
        else:
            born += 1
    except OSError as error:
        if os.getpid() == me and not refused:
            refused = True
            alive = sum(name.isdigit() for name in os.listdir("/proc"))
            os.write(1, f"refused errno={error.errno} alive={alive}\n".encode())
    if os.getpid() == me and born > 100_000:
        os.write(1, b"forked 100000 times\n")
        break
