"""Stops itself and its child, so that no polite signal is ever delivered."""

import os
import signal

os.fork()
os.write(1, b"stopping\n")
os.kill(os.getpid(), signal.SIGSTOP)
os.write(1, b"woken up\n")
