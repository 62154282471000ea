"""The fork server: the C library beside this file speaks the fork protocol, and keeps its hands off Python's state."""

# The functions themselves, without the enumerations that the module around them makes of their results.
import _signal
import ctypes
import os

_LIBRARY = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "zygote.so")


class _Child(ctypes.Structure):
    """What a fork was told, and where it listens already: a ``struct python_child``."""

    _fields_ = [
        ("argc", ctypes.c_int),
        ("argv", ctypes.POINTER(ctypes.c_char_p)),
        ("envp", ctypes.POINTER(ctypes.c_char_p)),
        ("listener", ctypes.c_int),
    ]


def _prepared():
    # A PyDLL keeps the lock of the interpreter, which a fork must be the holder of.
    serve = ctypes.PyDLL(_LIBRARY, use_errno=True).sandboxset_python_serve
    serve.restype = ctypes.c_int
    serve.argtypes = [ctypes.POINTER(_Child)]
    return serve


# Now, and not in every child that is a server in its turn: there the file is not.
_SERVE = _prepared()


def serve():
    """Serves forks; answers None in the server at the end.

    In each fork it answers the arguments, and the descriptor of the socket on which the first call waits. That is -1 in
    a fork which is not ready yet. The fork's environment is in place.
    """
    child = _Child()
    result = _SERVE(ctypes.byref(child))
    if result == 0:
        return None
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"the fork server: {os.strerror(number)}")
    # It was ignored by who started us, so that the kernel reaped for it; programs expect to reap their own.
    _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)
    _take_over(child.envp)
    return [os.fsdecode(child.argv[index]) for index in range(child.argc)], child.listener


def _take_over(strings):
    """Has Python know the variables that the C library has already, without setting each of them there again."""
    variables = os.environ._data
    variables.clear()
    index = 0
    while strings[index] is not None:
        key, _, value = strings[index].partition(b"=")
        variables[key] = value
        index += 1
