"""Shows how far the run is, on a terminal as one line that is redrawn, elsewhere as a line now and then."""

from __future__ import annotations

import shutil
import threading
import time
from typing import TextIO


class Progress:
    """Counts jobs as they start and finish. Thread-safe; draws only when something happened, never on a timer."""

    #: Lines printed over a whole run when the output is not a terminal.
    PLAIN_LINES = 10

    def __init__(self, total: int, stream: TextIO) -> None:
        self._total = total
        self._stream = stream
        self._tty = stream.isatty()
        self._lock = threading.Lock()
        self._running: list[str] = []
        self._done = 0
        self._failed = 0
        self._reused = 0
        self._plain_lines = 0
        self._started = time.monotonic()

    def start(self, name: str) -> None:
        """A thread took up a job."""
        with self._lock:
            self._running.append(name)
            self._draw()

    def finish(self, name: str, *, failed: bool, reused: bool) -> None:
        """A thread is through with a job."""
        with self._lock:
            self._running.remove(name)
            self._done += 1
            self._failed += failed
            self._reused += reused
            self._draw()

    def close(self) -> None:
        """Ends the redrawn line, so that the next output starts on its own."""
        with self._lock:
            if self._tty:
                self._stream.write("\r\x1b[K")
                self._stream.flush()

    def _draw(self) -> None:
        elapsed = time.monotonic() - self._started
        summary = f"{self._done}/{self._total} done, {self._failed} failed, {self._reused} reused, {elapsed:.1f} s"
        if self._tty:
            filled = 20 * self._done // max(self._total, 1)
            bar = "#" * filled + "." * (20 - filled)
            line = f"[{bar}] {summary} | {' '.join(self._running)}"
            width = shutil.get_terminal_size().columns - 1
            self._stream.write(f"\r\x1b[K{line[:width]}")
            self._stream.flush()
            return
        if self._done * self.PLAIN_LINES >= self._total * (self._plain_lines + 1):
            self._plain_lines = self._done * self.PLAIN_LINES // max(self._total, 1)
            print(f"  {summary}", file=self._stream, flush=True)
