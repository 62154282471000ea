"""Tries to kill, stop and trace the first process of its sandbox, then everything it can name."""

import ctypes
import os
import signal

libc = ctypes.CDLL(None, use_errno=True)
PTRACE_SEIZE = 0x4206
for name in ("SIGTERM", "SIGKILL", "SIGSTOP", "SIGSEGV", "SIGHUP"):
    try:
        os.kill(1, getattr(signal, name))
        print(f"sent {name}")
    except OSError as error:
        print(f"{name} errno={error.errno}")
print("traced" if libc.ptrace(PTRACE_SEIZE, 1, 0, 0) == 0 else f"ptrace errno={ctypes.get_errno()}")
try:
    os.kill(-1, signal.SIGKILL)  # Everyone but init and ourselves.
    print("sent to all")
except OSError as error:
    print(f"all errno={error.errno}")
print("survived", flush=True)
