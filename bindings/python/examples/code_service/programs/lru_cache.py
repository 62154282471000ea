"""Compares page replacement policies on a textbook trace, and shows Belady's anomaly."""

from collections import OrderedDict, deque

TRACE = [7, 0, 1, 2, 0, 3, 0, 4, 2, 3, 0, 3, 2, 1, 2, 0, 1, 7, 0, 1]
ANOMALY = [1, 2, 3, 4, 1, 2, 5, 1, 2, 3, 4, 5]


def fifo(trace, frames):
    loaded, faults = deque(), 0
    for page in trace:
        if page not in loaded:
            faults += 1
            loaded.append(page)
            if len(loaded) > frames:
                loaded.popleft()
    return faults


def lru(trace, frames):
    loaded, faults = OrderedDict(), 0
    for page in trace:
        faults += page not in loaded
        loaded[page] = True
        loaded.move_to_end(page)
        if len(loaded) > frames:
            loaded.popitem(last=False)
    return faults


def optimal(trace, frames):
    loaded, faults = set(), 0
    for now, page in enumerate(trace):
        if page in loaded:
            continue
        faults += 1
        if len(loaded) == frames:
            later = trace[now:]
            loaded.remove(max(sorted(loaded), key=lambda old: later.index(old) if old in later else len(later)))
        loaded.add(page)
    return faults


print("fifo", fifo(TRACE, 3), "lru", lru(TRACE, 3), "optimal", optimal(TRACE, 3))
print("fifo with 3 frames", fifo(ANOMALY, 3), "with 4", fifo(ANOMALY, 4))
print("lru has no anomaly", all(lru(ANOMALY, n) >= lru(ANOMALY, n + 1) for n in range(1, 6)))
