"""Becomes a daemon in the classic manner, twice removed and in its own session, to outlive its time-out."""

import os
import signal
import sys


def daemon(kind):
    if os.fork():
        return
    os.setsid()
    if os.fork():
        os._exit(0)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    null = os.open("/dev/null", os.O_RDWR)
    for fd in range(3):
        os.dup2(null, fd)
    # A new program under another name, so that nothing is left of the one that is being looked for.
    os.execv(sys.executable, [f"outlive-{kind}", "-c", "import signal\nwhile True: signal.pause()"])


daemon("first")
daemon("second")
print("daemons started", flush=True)
while True:
    signal.pause()
