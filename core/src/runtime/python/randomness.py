"""Fresh randomness for a fork, whose memory is a copy of its parent's like that of every other fork.

``os.urandom`` and ``secrets`` ask the system each time and need nothing. The hash seed of the interpreter cannot be
changed while it runs: all forks of one parent order their sets alike. Generators that a preloaded module made for
itself are its own to renew, by ``os.register_at_fork(after_in_child=...)``.
"""

import os
import sys


def renewal():
    """A function for the forks of this process, which renews whatever of the standard library or numpy keeps random state.

    ``random`` does so itself when the interpreter is told of a fork. What there is to renew is looked for now, and not
    in every fork.
    """
    due = [(step, sys.modules[name]) for name, step in RENEWALS.items() if name in sys.modules]
    ssl = sys.modules.get("ssl")
    knows_forks = ssl is not None and _knows_forks(ssl)
    parents_pid = os.getpid()

    def renew(serves):
        for step, module in due:
            step(module)
        # OpenSSL knows a fork by its number, and looks at it before it gives anything out, which costs nothing until
        # then. But sandboxes count from 1 each: a fork of a fork may have the number of its parent, or of one further
        # above.
        if ssl is not None and (serves or not knows_forks or os.getpid() == parents_pid):
            ssl.RAND_add(os.urandom(32), 32.0)

    return renew


def _knows_forks(ssl):
    return ssl.OPENSSL_VERSION.startswith("OpenSSL") and ssl.OPENSSL_VERSION_INFO >= (1, 1, 1)


def _numpy(module):
    try:
        module.seed()
    except RuntimeError:
        # The program chose another kind of generator than the one that can be seeded again.
        module.set_bit_generator(type(module.get_bit_generator())())


def _uuid(uuid):
    # The C library keeps a node and a clock sequence of its own that nobody can renew; Python's way asks for both here.
    uuid._generate_time_safe = None
    uuid._UuidCreate = None
    uuid._last_timestamp = None
    # With the bit that says that it is random, so that nothing goes looking for a network card.
    uuid._node = int.from_bytes(os.urandom(6), "big") | 1 << 40


def _tempfile(tempfile):
    # Its generator is renewed in a process with another number; but every sandbox counts from 1.
    tempfile._name_sequence = None


def _process(process):
    # The key that processes know each other by.
    process.current_process().authkey = os.urandom(32)


def _synchronize(synchronize):
    import tempfile

    synchronize.SemLock._rand = tempfile._RandomNameSequence()


RENEWALS = {
    "numpy.random": _numpy,
    "uuid": _uuid,
    "tempfile": _tempfile,
    "multiprocessing.process": _process,
    "multiprocessing.synchronize": _synchronize,
}
