"""Sends a text through every compressor of the standard library and back, also in pieces."""

import bz2
import gzip
import hashlib
import lzma
import sys
import zlib

data = open(sys.argv[1], "rb").read() * 8
print("input", len(data), hashlib.sha256(data).hexdigest())

for module in (zlib, gzip, bz2, lzma):
    packed = module.compress(data)
    same = module.decompress(packed) == data
    print(module.__name__, "same" if same else "DIFFERENT", "smaller" if len(packed) * 4 < len(data) else "LARGER")

# Streams must not care where the pieces end.
for name, decompressor, packed in (
    ("zlib", zlib.decompressobj(), zlib.compress(data)),
    ("bz2", bz2.BZ2Decompressor(), bz2.compress(data)),
    ("lzma", lzma.LZMADecompressor(), lzma.compress(data)),
):
    pieces = (packed[start : start + 97] for start in range(0, len(packed), 97))
    out = b"".join(decompressor.decompress(piece) for piece in pieces)
    print("pieces", name, hashlib.sha256(out).hexdigest() == hashlib.sha256(data).hexdigest())

try:
    zlib.decompress(zlib.compress(data)[:-9])
except zlib.error:
    print("cut-off stream refused")
