"""Simulates a counter with one clerk by events, and compares the mean wait with what theory says."""

import heapq
import random
from collections import deque

ARRIVALS, SERVICE, CUSTOMERS = 0.5, 1.0, 60_000  # Rates per minute: the clerk is busy half of the time.

chance = random.Random(11)
events = [(chance.expovariate(ARRIVALS), "arrives")]
queue, arrived, waited, busy, finished = deque(), 0, 0.0, False, 0
while events:
    now, kind = heapq.heappop(events)
    if kind == "arrives":
        arrived += 1
        queue.append(now)
        if arrived < CUSTOMERS:
            heapq.heappush(events, (now + chance.expovariate(ARRIVALS), "arrives"))
    else:
        busy = False
        finished += 1
    if queue and not busy:
        busy = True
        waited += now - queue.popleft()
        heapq.heappush(events, (now + chance.expovariate(SERVICE), "leaves"))

load = ARRIVALS / SERVICE
print(f"served {finished}")
print(f"mean wait {waited / finished:.4f}, in theory {load / (SERVICE - ARRIVALS):.4f}")
