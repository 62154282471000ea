"""Writes to both streams as fast as it can, for ever."""

import os

block = b"flood " * 10_000
while True:
    os.write(1, block)
    os.write(2, block)
