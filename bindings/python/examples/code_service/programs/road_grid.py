"""Dijkstra's shortest paths on a town of one-way and two-way streets (edges on standard input)."""

import heapq
import sys
from collections import defaultdict

roads = defaultdict(list)
for line in sys.stdin:
    source, target, metres = map(int, line.split())
    roads[source].append((target, metres))

start, goal = int(sys.argv[1]), int(sys.argv[2])
best, came_from, heap = {start: 0}, {}, [(0, start)]
while heap:
    metres, place = heapq.heappop(heap)
    if metres > best[place]:
        continue
    for target, length in roads[place]:
        if metres + length < best.get(target, float("inf")):
            best[target] = metres + length
            came_from[target] = place
            heapq.heappush(heap, (best[target], target))

path = [goal]
while path[-1] != start:
    path.append(came_from[path[-1]])
print("reachable", len(best))
print("metres", best[goal])
print("path", *reversed(path))
