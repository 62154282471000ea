"""Packs a text with a Huffman code of its own, unpacks it again, and says how small it got."""

import heapq
import sys
from collections import Counter


def code_of(data):
    """The code word of each byte value."""
    heap = [(count, value, {value: ""}) for value, count in Counter(data).items()]
    heapq.heapify(heap)
    while len(heap) > 1:
        (count0, tie, zero), (count1, _, one) = heapq.heappop(heap), heapq.heappop(heap)
        merged = {value: "0" + word for value, word in zero.items()}
        merged.update((value, "1" + word) for value, word in one.items())
        heapq.heappush(heap, (count0 + count1, tie, merged))
    return heap[0][2]


def pack(data, code):
    bits = "".join(code[value] for value in data)
    return int("1" + bits, 2).to_bytes((len(bits) + 8) // 8, "big"), len(bits)


def unpack(packed, code):
    words = {word: value for value, word in code.items()}
    bits = bin(int.from_bytes(packed, "big"))[3:]  # Past "0b" and the guard bit.
    out, word = bytearray(), ""
    for bit in bits:
        word += bit
        if word in words:
            out.append(words[word])
            word = ""
    return bytes(out)


data = open(sys.argv[1], "rb").read()
code = code_of(data)
packed, bits = pack(data, code)
print(f"symbols {len(code)}, bits {bits}, same {unpack(packed, code) == data}")
