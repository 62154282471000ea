"""Producers and consumers on a bounded queue, a barrier, and a lock that is really needed."""

import queue
import sys
import threading

sys.setswitchinterval(1e-5)  # Switch often, so that a missing lock would show.
work, done = queue.Queue(maxsize=8), []
done_lock, barrier = threading.Lock(), threading.Barrier(4)
arrivals = []


def produce(first):
    for number in range(first, 2000, 4):
        work.put(number)
    arrivals.append(barrier.wait(timeout=20))


def consume():
    while (number := work.get()) is not None:
        with done_lock:
            done.append(number * number)


producers = [threading.Thread(target=produce, args=(first,)) for first in range(4)]
consumers = [threading.Thread(target=consume) for _ in range(3)]
for thread in producers + consumers:
    thread.start()
for thread in producers:
    thread.join()
for _ in consumers:
    work.put(None)
for thread in consumers:
    thread.join()
print("items", len(done), "sum", sum(done), "barrier", sorted(arrivals), "left", work.qsize())
