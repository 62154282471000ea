"""Jobs that use what an operating system offers: processes, threads, sockets, signals, shared memory, files."""

from __future__ import annotations

from ..checks import prints
from ..jobs import python_job

SERVER = "\n".join(f"{number}tneilc level desserts eyb then closed" for number in range(5))
SIGNALS = """
ready
usr1
stopped True
continued True
alarm
ended by SIGTERM
pipe closed True
"""
TREE = """
files 51 bytes 1225
through the link 16
hard links 2 mode -rw-r-----
replaced new old kept True
dangling True
gone True
"""

JOBS = [
    python_job("unix_server", prints(SERVER)),
    python_job("process_pool", prints("26623 takes 307 steps\ndone elsewhere True")),
    python_job("threads", prints("items 2000 sum 2664667000 barrier [0, 1, 2, 3] left 0")),
    python_job("signals", prints(SIGNALS)),
    python_job("memory_map", prints("exit codes 0 0 0 0\ncounted 2000 signed by all True")),
    python_job("file_tree", prints(TREE)),
]
