"""The fork server: the C library beside this file speaks the fork protocol, and keeps its hands off Python's state."""

# The functions themselves, without the enumerations that the module around them makes of their results.
import _signal
import ctypes
import os
import sys

_LIBRARY = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "zygote.so")
#: What the server was told. A fork that let go of it would write to each of these, and so copy their pages.
_KEPT = []


def _prepared():
    # A PyDLL keeps the lock of the interpreter, which a fork must be the holder of.
    serve = ctypes.PyDLL(_LIBRARY).sandboxset_python_serve
    serve.restype = ctypes.py_object
    serve.argtypes = []
    return serve


# Now, and not in every child that is a server in its turn: there the file is not.
_SERVE = _prepared()


def serve():
    """Serves forks; answers None in the server at the end.

    In each fork it answers the arguments, whether the fork is to be forked in its turn, and the descriptor of the socket
    on which the first call waits. That is -1 in a fork which is not ready yet. The fork's environment is in place.
    """
    # As it will be in forks. The library has it ignored in the server, as who started that did.
    _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)
    _KEPT[:] = [os.environ._data, *sys.argv]
    del sys.argv[1:]
    try:
        forked = _SERVE()
    except OSError as error:
        raise OSError(error.errno, f"the fork server: {error.strerror}") from None
    if forked is None:
        return None
    sys.argv[:], variables, listener = forked
    # The C library has them already.
    os.environ._data = os.environb._data = variables
    return sys.argv, b"SANDBOXSET_FORK_FD" in variables, listener
