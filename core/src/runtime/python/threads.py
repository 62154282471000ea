"""Whether this process has threads."""

import os
import threading
import time

#: Seconds that the kernel may take to forget a thread that has been joined.
FORGETTING = 1.0


def are_left():
    """Whether there is any thread but this one, of Python or of a library."""
    end = time.monotonic() + FORGETTING
    while len(os.listdir("/proc/self/task")) > 1:
        # One that Python knows of is alive; any other may just be ending.
        if threading.active_count() > 1 or time.monotonic() > end:
            return True
        time.sleep(0.005)
    return False
