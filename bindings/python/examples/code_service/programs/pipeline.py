"""Three processes joined by pipes, without a shell: words of a text | sort | uniq -c, read back and ranked."""

import re
import subprocess
import sys

SPLITTER = "import re, sys; print(*re.findall('[a-z]+', sys.stdin.read().lower()), sep='\\n')"

with open(sys.argv[1], "rb") as text:
    split = subprocess.Popen([sys.executable, "-I", "-c", SPLITTER], stdin=text, stdout=subprocess.PIPE)
sort = subprocess.Popen(["/usr/bin/sort"], stdin=split.stdout, stdout=subprocess.PIPE, env={"LC_ALL": "C"})
count = subprocess.Popen(["/usr/bin/uniq", "-c"], stdin=sort.stdout, stdout=subprocess.PIPE, text=True)
# Our copies must go, or no reader ever sees the end of its input.
split.stdout.close()
sort.stdout.close()

ranked = [(int(number), word) for number, word in re.findall(r"(\d+) (\w+)", count.communicate()[0])]
print("exit codes", split.wait(), sort.wait(), count.returncode)
for number, word in sorted(ranked, key=lambda pair: (-pair[0], pair[1]))[:5]:
    print(number, word)
