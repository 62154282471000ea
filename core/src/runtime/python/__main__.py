"""What a Python runtime runs: preloads modules, is forked or not, and answers calls.

Its arguments are ``key=value``: ``path`` and ``preload``, as often as wanted, ``handler`` and ``json``. A fork is told
its own in the same form.
"""

import gc
import importlib
import os
import socket
import sys
import traceback

# In isolated mode the directory of a script is not searched. Nothing of ours stays in the path of the user's imports.
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from sandboxset_runtime import calls, randomness, threads  # noqa: E402

del sys.path[0]

#: Where the init hears that we are ready, or why we never will be.
READY_FD = 3
#: The most bytes that are said there: a message must arrive in one piece.
MOST_SAID = 400
#: How often the interpreter sees a piece of code before it has adapted it, and some more.
REHEARSALS = 32
#: What the standard library does in every fork.
HOOKS = [("threading", "_after_fork"), ("logging", "_after_at_fork_child_reinit_locks")]
#: Where the code of the user's set is, if it has any.
CODE_DIR = "/code"
#: What the importer knows of there, in a server.
_OF_CODE = []


class Failure(Exception):
    """Why there will be no runtime, in words for whoever asked for it."""


class Settings:
    """What a runtime, or a fork of one, was told."""

    def __init__(self, arguments):
        self.paths = []
        self.preload = []
        self.handler = None
        self.json = False
        for argument in arguments:
            key, _, value = argument.partition("=")
            if key == "path":
                self.paths.append(value)
            elif key == "preload":
                self.preload.append(value)
            elif key == "handler":
                self.handler = value
            elif key == "json":
                self.json = value == "1"
            else:
                raise Failure(f"{argument!r} is no argument of a Python runtime")

    @classmethod
    def of_fork(cls, arguments):
        """Those of a fork, which are a whole command like the one that started its parent, or nothing."""
        if not arguments:
            return cls([])
        for index, argument in enumerate(arguments):
            if argument.endswith("/sandboxset_runtime/__main__.py"):
                return cls(arguments[index + 1 :])
        raise Failure(f"a fork of a Python runtime cannot become {arguments[0]!r}")


def main():
    """Lives until the sandbox ends; answers the exit code if there is nothing to live for."""
    settings = Settings(sys.argv[1:])
    prepare(settings, forked=False)
    serves, descriptor = "SANDBOXSET_FORK_FD" in os.environ, -1
    kept = []
    while serves:
        # A fork that let go of what its parent was told would write to all of it.
        kept.append(settings)
        forked = be_forked()
        if forked is None:
            return 0
        # From here on we are a fork of who came here, in a sandbox of our own.
        arguments, serves, descriptor = forked
        settings = Settings.of_fork(arguments)
        prepare(settings, forked=True)
    answer = calls.answering(load_handler(settings.handler), settings.json)
    if descriptor >= 0:
        # It said that it is ready when nothing of this could fail any more, and this is its first call.
        listener = calls.stream_of(descriptor)
    else:
        listener = calls.listen(os.environ["SANDBOXSET_SOCKET"])
        say(b"READY\n")
    server = calls.Server(listener, answer)
    while True:
        server.turn()


def prepare(settings, forked):
    """Makes everything that was asked for importable, and imports what is to be there already."""
    if forked:
        # What the parent found, or missed, where the code of its own sandbox is.
        for path in _OF_CODE:
            sys.path_importer_cache.pop(path, None)
    for path in [*reversed(settings.paths), CODE_DIR]:
        if os.access(path, os.R_OK | os.X_OK):
            if path in sys.path:
                sys.path.remove(path)
            sys.path.insert(0, path)
        elif os.access(path, os.F_OK):
            # Python would only say that there is no such module.
            raise Failure(f"{path}: the user of the sandbox may not read it")
    for name in settings.preload:
        try:
            importlib.import_module(name)
        except BaseException as error:
            raise Failure(f"preload {name}: {describe(error)}") from error
        if "SANDBOXSET_FORK_FD" in os.environ and threads.are_left():
            raise Failure(f"preload {name}: it started a thread, and what has threads cannot be forked")


def be_forked():
    """Serves forks; answers in each what `zygote.serve` does, and None in the server when nobody asks any more."""
    from sandboxset_runtime import zygote

    # What is collected now is not collected in every child, and what is frozen is not written to by a collection,
    # so that its pages stay shared.
    for _ in range(REHEARSALS):
        rehearse()
    gc.collect()
    gc.freeze()
    sys.stdout.flush()
    sys.stderr.flush()
    renew = randomness.renewal()
    _OF_CODE[:] = [path for path in sys.path_importer_cache if path.startswith(CODE_DIR)]
    say(b"READY\n")
    forked = zygote.serve()
    if forked is not None:
        renew(serves=forked[1])
    return forked


def rehearse():
    """Goes through what every fork will do.

    The interpreter adapts code to what it is used for, by writing to it: now, and not in every fork, which would have
    to copy the pages.
    """
    for module, name in HOOKS:
        hook = getattr(sys.modules.get(module), name, None)
        if hook is not None:
            hook()
    randomness.renewal()(serves=False)
    place = f"/tmp/.sandboxset-rehearsal-{os.getpid()}"
    settings = Settings.of_fork([__file__, "handler=builtins:bytes"])
    prepare(settings, forked=True)
    server = calls.Server(calls.listen(place), calls.answering(load_handler(settings.handler), settings.json))
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.connect(place)
        client.send(bytes(4))
        server.turn()
    server.turn()
    server.events.close()
    server.listener.close()
    os.unlink(place)


def load_handler(name):
    """The function that is called ``module:function``."""
    if name is None:
        return None
    module_name, _, function_name = name.partition(":")
    try:
        handler = sys.modules.get(module_name) or importlib.import_module(module_name)
        for part in function_name.split("."):
            handler = getattr(handler, part)
    except BaseException as error:
        raise Failure(f"handler {name}: {describe(error)}") from error
    if not callable(handler):
        raise Failure(f"handler {name}: a {type(handler).__name__} cannot be called")
    return handler


def say(line):
    """Tells the init in one message."""
    os.write(READY_FD, line)
    if line == b"READY\n" and "SANDBOXSET_FORK_FD" not in os.environ:
        os.close(READY_FD)


def describe(error):
    """An exception in one line."""
    text = str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def run():
    """Runs `main`, and says why if it fails."""
    try:
        code = main()
    except Failure as failure:
        cause = failure.__cause__
        if cause is not None:
            traceback.print_exception(type(cause), cause, cause.__traceback__)
        text = str(failure)
        code = 1
    except BaseException as error:
        traceback.print_exc()
        text = describe(error)
        code = 1
    if code != 0:
        print(text, file=sys.stderr)
        said = b"FAILED " + text.encode("utf-8", "backslashreplace").replace(b"\n", b" ")
        try:
            os.write(READY_FD, said[:MOST_SAID])
        except OSError:
            pass  # It was ready once, so nobody listens any more; the text is in the log.
    sys.stdout.flush()
    sys.stderr.flush()
    # Not through the end of the interpreter, which joins threads that may never end.
    os._exit(code)


run()
