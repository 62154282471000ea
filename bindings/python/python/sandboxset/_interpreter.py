"""Interpreters of the host, as sandboxes can have them: which directories of the host they consist of."""

from __future__ import annotations

import os
import shutil
import site
import subprocess
import sys
import sysconfig

from .errors import InvalidArgumentError

__all__ = ["brought", "executable", "node"]


def executable() -> str:
    """The path of this interpreter; that of a virtual environment, if this is one."""
    if not sys.executable:
        raise InvalidArgumentError(
            "interpreter: this program does not know its own interpreter", phase="configure", field="interpreter"
        )
    return sys.executable


def brought() -> tuple[str, ...]:
    """The directories and files of the host that this interpreter and its packages need, none within another.

    What lies below ``/usr`` is among them, although sandboxes with the host's own root have that anyway. The directory
    of the running script, and what the program itself added to ``sys.path``, are not.
    """
    paths = {sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix}
    paths.update(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib"))
    paths.update(site.getsitepackages())
    paths.update(_links(executable()))
    paths.update(_libraries())
    found = {os.path.abspath(path) for path in paths if os.path.exists(path)}
    for path in found:
        _check(path)
    return tuple(sorted(path for path in found if not any(path.startswith(f"{other}/") for other in found)))


def node() -> tuple[str, tuple[str, ...]]:
    """The Node that this program would find, and what of the host it needs."""
    found = shutil.which("node")
    if found is None:
        raise InvalidArgumentError("interpreter: no node in PATH", phase="configure", field="interpreter")
    # What is in PATH may be a script of a version manager.
    asked = subprocess.run([found, "-p", "process.execPath"], capture_output=True, text=True, timeout=30, check=False)
    path = asked.stdout.strip()
    if asked.returncode != 0 or not os.path.isabs(path):
        raise InvalidArgumentError(f"interpreter: {found} does not run", phase="configure", field="interpreter")
    prefix = os.path.dirname(os.path.dirname(path))
    brought = prefix if os.path.basename(os.path.dirname(path)) == "bin" else path
    _check(brought)
    return path, (brought,)


def _links(path: str) -> list[str]:
    """What the links lead through by which an interpreter is found: the prefix of each, or the file itself."""
    found = []
    for _ in range(40):
        directory, name = os.path.split(os.path.abspath(path))
        in_bin = os.path.basename(directory) in ("bin", "sbin")
        found.append(os.path.dirname(directory) if in_bin else os.path.join(directory, name))
        if not os.path.islink(path):
            # The directories above may be links themselves, behind which the interpreter finds its library.
            real = os.path.realpath(path)
            if real == path:
                return found
            path = real
            continue
        path = os.path.join(directory, os.readlink(path))
    return found


def _libraries() -> list[str]:
    """The directories of the shared libraries that the interpreter itself is made of."""
    found = []
    with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as maps:
        for line in maps:
            _, slash, path = line.rstrip("\n").partition("/")
            if slash and os.path.basename(path).startswith(("libpython", "ld-", "ld.so")):
                found.append(os.path.dirname(slash + path))
    return found


def _check(path: str) -> None:
    """Refuses to show sandboxes what holds more than an interpreter."""
    home = os.path.expanduser("~")
    if path == "/" or home == path or home.startswith(f"{path}/"):
        raise InvalidArgumentError(
            f"interpreter: it is installed in {path}, which holds more than sandboxes should see",
            phase="configure",
            field="interpreter",
        )
