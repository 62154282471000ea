"""Builds a chain of blocks, each sealed with the hash of the one before, then finds a forged one."""

import base64
import hashlib
import json
import sys

rounds = int(sys.argv[1])
seal = base64.b64encode(bytes(32)).decode()
chain = []
for number in range(rounds):
    block = {"number": number, "previous": seal, "note": base64.b85encode(b"note %d" % number).decode()}
    seal = base64.b64encode(hashlib.sha256(json.dumps(block, sort_keys=True).encode()).digest()).decode()
    chain.append((block, seal))
print(seal)


def first_forged(chain):
    """The number of the first block that does not fit its seal or its neighbour."""
    previous = base64.b64encode(bytes(32)).decode()
    for block, seal in chain:
        digest = hashlib.sha256(json.dumps(block, sort_keys=True).encode()).digest()
        if block["previous"] != previous or base64.b64encode(digest).decode() != seal:
            return block["number"]
        previous = seal
    return None


print("forged before:", first_forged(chain))
chain[rounds // 2][0]["note"] = "a million"
print("forged after:", first_forged(chain))
