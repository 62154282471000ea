"""Packs the texts as tar.gz and as zip, refuses an archive that would write outside, and unpacks both again."""

import glob
import hashlib
import io
import os
import tarfile
import zipfile

names = sorted(glob.glob("*.txt"))
with tarfile.open("texts.tar.gz", "w:gz") as tar:
    for name in names:
        entry = tar.gettarinfo(name, arcname=f"texts/{name}")
        entry.mtime = entry.uid = entry.gid = 0
        with open(name, "rb") as file:
            tar.addfile(entry, file)
with zipfile.ZipFile("texts.zip", "w", zipfile.ZIP_DEFLATED) as archive:
    for name in names:
        archive.write(name, f"texts/{name}")

with tarfile.open("texts.tar.gz") as tar, zipfile.ZipFile("texts.zip") as archive:
    print("zip test", archive.testzip())
    for name in names:
        original = hashlib.sha256(open(name, "rb").read()).hexdigest()
        in_tar = hashlib.sha256(tar.extractfile(f"texts/{name}").read()).hexdigest()
        in_zip = hashlib.sha256(archive.read(f"texts/{name}")).hexdigest()
        print(name, "same" if original == in_tar == in_zip else "DIFFERENT")

hostile = io.BytesIO()
with tarfile.open(fileobj=hostile, mode="w") as tar:
    tar.addfile(tarfile.TarInfo("../../escape"), io.BytesIO())
hostile.seek(0)
with tarfile.open(fileobj=hostile) as tar:
    inside = os.path.realpath("unpacked")
    bad = [m.name for m in tar if not os.path.realpath(os.path.join(inside, m.name)).startswith(inside + os.sep)]
    print("refused", *bad)
