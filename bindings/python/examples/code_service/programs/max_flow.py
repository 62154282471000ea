"""Maximum flow by Edmonds and Karp on a textbook network, the cut that proves it, and a matching built on it."""

from collections import defaultdict, deque


def maximum(edges, source, sink):
    room = defaultdict(lambda: defaultdict(int))
    for a, b, capacity in edges:
        room[a][b] += capacity
        room[b][a] += 0
    total = 0
    while True:
        came, queue = {source: None}, deque([source])
        while queue and sink not in came:
            node = queue.popleft()
            for other, free in room[node].items():
                if free and other not in came:
                    came[other] = node
                    queue.append(other)
        if sink not in came:
            return total, set(came)
        path, node = [], sink
        while came[node] is not None:
            path.append((came[node], node))
            node = came[node]
        amount = min(room[a][b] for a, b in path)
        for a, b in path:
            room[a][b] -= amount
            room[b][a] += amount
        total += amount


NETWORK = [
    ("s", "1", 16),
    ("s", "2", 13),
    ("1", "3", 12),
    ("2", "1", 4),
    ("2", "4", 14),
    ("3", "2", 9),
    ("3", "t", 20),
    ("4", "3", 7),
    ("4", "t", 4),
]
flow, side = maximum(NETWORK, "s", "t")
cut = sum(capacity for a, b, capacity in NETWORK if a in side and b not in side)
print("flow", flow, "cut", cut, "source side", *sorted(side))

WISHES = {"Ann": "xy", "Ben": "x", "Cleo": "yz", "Dan": "z"}
edges = [("s", name, 1) for name in WISHES] + [(slot, "t", 1) for slot in "xyz"]
edges += [(name, slot, 1) for name, slots in WISHES.items() for slot in slots]
print("matched", maximum(edges, "s", "t")[0], "of", len(WISHES))
