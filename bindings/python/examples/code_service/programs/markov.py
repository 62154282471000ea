"""Writes a new text in the manner of an old one: each word follows the last two as it once did."""

import random
import sys
from collections import defaultdict

words = open(sys.argv[1], encoding="utf-8").read().split()
followers = defaultdict(list)
for first, second, third in zip(words, words[1:], words[2:], strict=False):
    followers[first, second].append(third)

choice = random.Random(int(sys.argv[2]))
state = choice.choice(sorted(followers))
written = list(state)
while len(written) < 120:
    options = followers.get(state)
    if not options:
        # The end of the text has no follower; begin anew somewhere else.
        state = choice.choice(sorted(followers))
        written += ["|", *state]
        continue
    written.append(choice.choice(options))
    state = (state[1], written[-1])
print(" ".join(written))
