"""Jobs whose product is a file, or a digest: packing, sorting on disk, hashing, drawing."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import random
import struct
import tarfile
import zlib
from collections.abc import Iterator

from ..checks import differs, ended_well, first, output
from ..jobs import HERE, Evidence, Refused, Result, python_job
from .texts import AMENDMENTS, DECLARATION, GETTYSBURG, SONNETS

TEXTS = (AMENDMENTS, DECLARATION, GETTYSBURG, SONNETS)


def compression(printed: str) -> str | None:
    """The digest of the input is right, and everything came back as it was."""
    data = (HERE / DECLARATION).read_bytes() * 8
    expected = [f"input {len(data)} {hashlib.sha256(data).hexdigest()}"]
    expected += [f"{name} same smaller" for name in ("zlib", "gzip", "bz2", "lzma")]
    expected += [f"pieces {name} True" for name in ("zlib", "bz2", "lzma")]
    return differs("result", printed.splitlines(), [*expected, "cut-off stream refused"])


def hash_chain(printed: str) -> str | None:
    """The last seal, computed here once more."""
    seal = base64.b64encode(bytes(32)).decode()
    for number in range(2000):
        note = base64.b85encode(f"note {number}".encode()).decode()
        block = json.dumps({"note": note, "number": number, "previous": seal})
        seal = base64.b64encode(hashlib.sha256(block.encode()).digest()).decode()
    return differs("result", printed.splitlines(), [seal, "forged before: None", "forged after: 1000"])


def external_sort(printed: str) -> str | None:
    """The same lines, sorted in memory."""
    numbers = random.Random(7)
    lines = sorted(f"{numbers.getrandbits(48):012x} {numbers.getrandbits(32)}\n" for _ in range(120_000))
    digest = hashlib.sha256("".join(lines).encode()).hexdigest()
    return differs("result", printed.strip(), f"runs 12, lines 120000, ordered True, same size True, {digest}")


def archives(result: Result, _evidence: Evidence) -> str | None:
    """The job's own findings, and its tar as the host reads it."""
    names = [path.rpartition("/")[2] for path in TEXTS]
    expected = ["zip test None", *(f"{name} same" for name in names), "refused ../../escape"]
    problem = ended_well(result) or differs("result", result.stdout.splitlines(), expected)
    packed = result.collected["texts.tar.gz"]
    if problem:
        return problem
    if isinstance(packed, Refused):
        return f"could not read texts.tar.gz: {packed.reason}"
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        found = {member.name: tar.extractfile(member) for member in tar}
        contents = {name: file.read() if file else None for name, file in found.items()}
    return differs("archive", contents, {f"texts/{name}": (HERE / "texts" / name).read_bytes() for name in names})


def png_writer(result: Result, _evidence: Evidence) -> str | None:
    """Decodes the picture: every check sum, the header, and the colours at three places."""
    picture = result.collected["wheel.png"]
    if isinstance(picture, Refused):
        return ended_well(result) or f"could not read wheel.png: {picture.reason}"
    chunks = dict(png_chunks(picture))
    size = 128
    header = struct.pack(">IIBBBBB", size, size, 8, 6, 0, 0, 0)
    rows, above = [], bytes(size * 4)
    raw = zlib.decompress(chunks.get(b"IDAT", zlib.compress(b"")))
    for start in range(0, len(raw), 1 + size * 4):
        above = bytes(
            (delta + up) & 255 for delta, up in zip(raw[start + 1 : start + 1 + size * 4], above, strict=False)
        )
        rows.append([tuple(above[i : i + 4]) for i in range(0, len(above), 4)])
    if len(rows) != size:
        return f"{len(rows)} rows instead of {size}"
    red = rows[64][120]
    return first(
        ended_well(result),
        differs("header", chunks.get(b"IHDR"), header),
        differs("corner", rows[0][0], (0, 0, 0, 0)),
        differs("centre is white", min(rows[64][64]) > 245, True),
        differs("east is red", red[0] > 240 and max(red[1], red[2]) < 100 and red[3] == 255, True),
    )


def png_chunks(picture: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The chunks of a PNG whose check sums are right."""
    position = 8
    while position < len(picture):
        (length,) = struct.unpack_from(">I", picture, position)
        kind, body = picture[position + 4 : position + 8], picture[position + 8 : position + 8 + length]
        if struct.unpack_from(">I", picture, position + 8 + length)[0] == zlib.crc32(kind + body):
            yield kind, body
        position += 12 + length


JOBS = [
    python_job("compression", output(compression), ["declaration.txt"], [DECLARATION]),
    python_job("hash_chain", output(hash_chain), ["2000"]),
    python_job("external_sort", output(external_sort)),
    python_job("archives", archives, files=TEXTS, collect=["texts.tar.gz"]),
    python_job("png_writer", png_writer, collect=["wheel.png"]),
]
