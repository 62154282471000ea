"""Things on the host that an attack would like to reach, planted so that reaching them is noticed."""

from __future__ import annotations

import os
import secrets
import selectors
import shutil
import socket
import subprocess
import tempfile
import threading
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

#: The variable of the host's environment that must not be seen inside.
SECRET_VARIABLE = "CODE_SERVICE_SECRET"


class Baits:
    """A secret in a file, in the environment and in a process's arguments, and four sockets that count visits."""

    def __init__(self) -> None:
        #: What no sandbox may ever print.
        self.secret = "canary-" + secrets.token_hex(16)
        self._names: dict[str, str] = {}
        self._visits: list[str] = []
        self._lock = threading.Lock()
        self._stack = ExitStack()
        self._selector = selectors.DefaultSelector()

    def __enter__(self) -> Baits:
        with ExitStack() as stack:
            self._plant_secrets(stack)
            self._open_sockets(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def names(self) -> dict[str, str]:
        """Where the baits are. An attack is told, so that it need not guess; what it is not told is the secret."""
        return dict(self._names)

    @property
    def visits(self) -> tuple[str, ...]:
        """Who reached a socket of the host so far."""
        with self._lock:
            return tuple(self._visits)

    def prove(self) -> None:
        """Visits every bait from the host and raises when one stays unnoticed: a dead bait proves nothing."""
        host, port = "127.0.0.1", int(self._names["tcp_port"])
        address = "\0" + self._names["abstract"]
        for family, kind, target in (
            (socket.AF_INET, socket.SOCK_STREAM, (host, port)),
            (socket.AF_INET, socket.SOCK_DGRAM, (host, int(self._names["udp_port"]))),
            (socket.AF_UNIX, socket.SOCK_STREAM, address),
            (socket.AF_UNIX, socket.SOCK_STREAM, self._names["unix_path"]),
        ):
            with socket.socket(family, kind) as visitor:
                visitor.settimeout(10)
                visitor.connect(target)
                if kind == socket.SOCK_DGRAM:
                    visitor.send(b"control")
                if self.secret.encode() not in visitor.recv(100):
                    raise RuntimeError(f"the bait at {target!r} does not answer")
        if len(self.visits) != 4:
            raise RuntimeError(f"the baits noticed {len(self.visits)} of 4 control visits")
        if self.secret not in Path(self._names["canary"]).read_text():
            raise RuntimeError("the canary file does not hold the secret")
        with self._lock:
            self._visits.clear()

    def _plant_secrets(self, stack: ExitStack) -> None:
        directory = tempfile.mkdtemp(prefix="code-service-")
        stack.callback(shutil.rmtree, directory)
        os.chmod(directory, 0o755)
        canary = Path(directory, "canary.txt")
        canary.write_text(self.secret + "\n")
        canary.chmod(0o644)  # Readable by everyone: only the sandbox keeps it secret, not its mode.
        os.environ[SECRET_VARIABLE] = self.secret
        stack.callback(os.environ.pop, SECRET_VARIABLE, None)
        # A neighbour whose command line holds the secret. It ends by end-of-file, should we be killed.
        command = [f"neighbour-{self.secret}"]
        neighbour = stack.enter_context(
            subprocess.Popen(command, executable="/bin/cat", stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        )
        self._names.update(
            canary=str(canary),
            host_pid=str(os.getpid()),
            neighbour_pid=str(neighbour.pid),
            directory=directory,
            variable=SECRET_VARIABLE,
        )

    def _open_sockets(self, stack: ExitStack) -> None:
        stack.callback(self._selector.close)
        tcp = self._listen(stack, socket.AF_INET, ("127.0.0.1", 0), "tcp")
        abstract = f"code-service-{secrets.token_hex(8)}"
        self._listen(stack, socket.AF_UNIX, "\0" + abstract, "abstract unix")
        path = str(Path(self._names["directory"], "socket"))
        self._listen(stack, socket.AF_UNIX, path, "unix")
        os.chmod(path, 0o777)
        udp = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        udp.bind(("127.0.0.1", 0))
        self._selector.register(udp, selectors.EVENT_READ, "udp")
        wake, stop = socket.socketpair()
        stack.enter_context(wake)
        self._selector.register(wake, selectors.EVENT_READ, None)
        watcher = threading.Thread(target=self._watch, name="baits")
        watcher.start()
        stack.callback(watcher.join)
        stack.callback(stop.close)
        self._names.update(
            tcp_port=str(tcp.getsockname()[1]), udp_port=str(udp.getsockname()[1]), abstract=abstract, unix_path=path
        )

    def _listen(self, stack: ExitStack, family: int, address: object, label: str) -> socket.socket:
        listener = stack.enter_context(socket.socket(family, socket.SOCK_STREAM))
        listener.bind(address)  # type: ignore[arg-type]
        listener.listen()
        self._selector.register(listener, selectors.EVENT_READ, label)
        return listener

    def _watch(self) -> None:
        while True:
            for key, _events in self._selector.select():
                if key.data is None:
                    return
                self._note(key.data)
                self._answer(key.fileobj)  # type: ignore[arg-type]

    def _note(self, label: str) -> None:
        with self._lock:
            self._visits.append(label)

    def _answer(self, bait: socket.socket) -> None:
        try:
            if bait.type == socket.SOCK_DGRAM:
                _data, sender = bait.recvfrom(100)
                bait.sendto(self.secret.encode(), sender)
                return
            visitor, _address = bait.accept()
            with visitor:
                visitor.sendall(self.secret.encode())
        except OSError:
            return  # The visitor left; that it came is noted already.
