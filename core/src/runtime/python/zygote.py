"""The fork server: the C library beside this file speaks the fork protocol, and keeps its hands off Python's state."""

# The functions themselves, without the enumerations that the module around them makes of their results.
import _signal
import ctypes
import os

_LIBRARY = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "zygote.so")


class _Child(ctypes.Structure):
    """What a fork was told: a ``struct sandboxset_zygote_child``."""

    _fields_ = [
        ("argc", ctypes.c_int),
        ("argv", ctypes.POINTER(ctypes.c_char_p)),
        ("envp", ctypes.POINTER(ctypes.c_char_p)),
    ]


class _Steps(ctypes.Structure):
    """What is done around forks: a ``struct steps``."""

    _fields_ = [(name, ctypes.c_void_p) for name in ("before", "in_server", "in_child", "ahead")]


def _prepared():
    # A PyDLL keeps the lock of the interpreter, which a fork must be the holder of.
    serve = ctypes.PyDLL(_LIBRARY, use_errno=True).sandboxset_python_serve
    serve.restype = ctypes.c_int
    serve.argtypes = [ctypes.POINTER(_Steps), ctypes.POINTER(_Child)]
    return serve


# Now, and not in every child that is a server in its turn: there the file is not.
_SERVE = _prepared()
_AHEAD = ctypes.PYFUNCTYPE(None)


def serve(rehearse):
    """Serves forks. Answers in each its arguments, with its environment in place; None in the server at the end.

    ``rehearse`` is called in forks that nobody waits for yet.
    """

    def ahead():
        rehearse()
        _take_over((ctypes.c_char_p * 1)(None))

    python, child = ctypes.pythonapi, _Child()
    functions = python.PyOS_BeforeFork, python.PyOS_AfterFork_Parent, python.PyOS_AfterFork_Child, _AHEAD(ahead)
    steps = _Steps(*(ctypes.cast(function, ctypes.c_void_p) for function in functions))
    result = _SERVE(ctypes.byref(steps), ctypes.byref(child))
    if result == 0:
        return None
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"the fork server: {os.strerror(number)}")
    # It was ignored by who started us, so that the kernel reaped for it; programs expect to reap their own.
    _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)
    _take_over(child.envp)
    return [os.fsdecode(child.argv[index]) for index in range(child.argc)]


def _take_over(strings):
    """Has Python know the variables that the C library has already, without setting each of them there again."""
    variables = os.environ._data
    variables.clear()
    index = 0
    while strings[index] is not None:
        key, _, value = strings[index].partition(b"=")
        variables[key] = value
        index += 1
