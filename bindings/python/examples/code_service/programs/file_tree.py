"""Works a directory tree: links, permissions, renames, a walk, an atomic replacement, a clean removal."""

import os
import shutil
import stat
import tempfile

os.makedirs("tree/a/b/c")
for number in range(50):
    folder = "tree/" + ("a", "a/b", "a/b/c")[number % 3]
    with open(f"{folder}/{number:02}.txt", "w") as file:
        file.write("x" * number)
os.symlink("b/c", "tree/a/shortcut")
os.link("tree/a/00.txt", "tree/hard")
os.chmod("tree/a/03.txt", 0o640)

files = sorted(os.path.join(root, name) for root, _, names in os.walk("tree") for name in names)
print("files", len(files), "bytes", sum(os.path.getsize(name) for name in files))
print("through the link", len(os.listdir("tree/a/shortcut")))
print("hard links", os.stat("tree/hard").st_nlink, "mode", stat.filemode(os.stat("tree/a/03.txt").st_mode))

with tempfile.NamedTemporaryFile("w", dir="tree", delete=False) as fresh:
    fresh.write("new")
os.replace(fresh.name, "tree/a/00.txt")
print("replaced", open("tree/a/00.txt").read(), "old kept", os.path.getsize("tree/hard") == 0)

os.rename("tree/a/b", "tree/moved")
print("dangling", os.path.islink("tree/a/shortcut") and not os.path.exists("tree/a/shortcut"))
shutil.rmtree("tree")
print("gone", not os.path.exists("tree"))
