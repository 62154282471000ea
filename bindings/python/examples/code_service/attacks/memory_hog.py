"""Allocates and touches memory until something stops it, and says how far it came."""

import os

hoard = []
for megabytes in range(8, 1025, 8):
    hoard.append(bytearray(os.urandom(4096) * 2048))
    os.write(1, f"holding={megabytes}\n".encode())
os.write(1, b"took a gigabyte\n")
