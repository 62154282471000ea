"""Ignores every signal that can be ignored, with its children, and sleeps."""

import os
import signal

for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD}:
    try:
        signal.signal(number, signal.SIG_IGN)
    except OSError:
        pass
for _ in range(3):
    if os.fork() == 0:
        break
os.write(1, b"deaf\n")
while True:
    signal.pause()
