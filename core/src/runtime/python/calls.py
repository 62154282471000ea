"""Answering calls on a socket: each is four bytes of length, little-endian, then the request; and so the answers.

The highest bit of an answer's length says that the handler failed; the answer is then the exception in one line, a
zero byte, and the traceback.

Calls are answered one at a time and in the main thread, as a program without threads expects. Reading and writing
blocks nobody, because a holder may leave a request half-sent behind.
"""

# Sockets without the enumerations that the module around them makes of every number: a fork has a copy to make of each
# page that Python counts references in.
import _socket
import json
import select
import struct
import sys
import traceback

#: The largest request, and the largest answer: as much as a caller takes.
MOST_BYTES = 64 << 20
#: Says that the handler failed.
FAILED = 1 << 31
#: How much of a traceback is told.
MOST_TRACEBACK = 32 << 10
#: The most that is read at once.
CHUNK = 1 << 20


def listen(path):
    """A socket that calls come in on."""
    listener = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    listener.bind(path)
    listener.listen(64)
    listener.setblocking(False)
    return listener


def stream_of(descriptor):
    """A socket that is there already."""
    there = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, descriptor)
    there.setblocking(False)
    return there


def answering(handler, as_json):
    """A function from a request to the answer, with the header of both."""
    if handler is None:
        return lambda request: _failure("LookupError: this runtime has no handler", "")
    call = _with_json(handler) if as_json else handler

    def answer(request):
        try:
            result = call(request)
            if not isinstance(result, (bytes, bytearray, memoryview)):
                raise TypeError(f"the handler returned a {type(result).__name__}, not bytes")
            result = bytes(result)
            if len(result) > MOST_BYTES:
                raise ValueError(f"the answer has {len(result)} bytes, more than {MOST_BYTES}")
        # Whatever it was: an exit that the handler asks for is none of the runtime's either.
        except BaseException as error:
            return _told(error)
        return struct.pack("<I", len(result)) + result

    return answer


class Server:
    """Answers the calls that come in on one socket."""

    def __init__(self, listener, answer):
        self.listener = listener
        self.answer = answer
        self.events = select.epoll()
        self.events.register(listener, select.EPOLLIN)
        #: By their descriptors.
        self.connections = {}

    def turn(self):
        """Waits until something is to be done, and does it."""
        for descriptor, _ in self.events.poll():
            connection = self.connections.get(descriptor)
            if connection is None:
                connection = self.accept()
            if connection is not None:
                connection.go_on()

    def accept(self):
        """A new connection, or None if whoever it was is gone again."""
        try:
            descriptor, _ = self.listener._accept()
        except OSError:
            return None
        connection = _Connection(stream_of(descriptor), self)
        self.connections[descriptor] = connection
        return connection


def _with_json(handler):
    def call(request):
        return json.dumps(handler(json.loads(request)), separators=(",", ":")).encode()

    return call


def _told(error):
    # Without the frame of ours that the handler was called from.
    trace = error.__traceback__.tb_next if error.__traceback__ is not None else None
    try:
        text = "".join(traceback.format_exception(type(error), error, trace))
        line = "".join(traceback.format_exception_only(type(error), error)).strip()
    except BaseException:  # An exception that cannot even be shown, because its own methods fail.
        text, line = "", type(error).__name__
    print(text, end="", file=sys.stderr, flush=True)
    return _failure(line, text)


def _failure(line, text):
    told = line[:MOST_TRACEBACK].replace("\0", "\\0") + "\0" + text[-MOST_TRACEBACK:]
    told = told.encode("utf-8", "backslashreplace")
    return struct.pack("<I", FAILED | len(told)) + told


class _Connection:
    """One stream, on which requests come one after the other."""

    def __init__(self, stream, server):
        self.stream = stream
        self.server = server
        self.awaited = select.EPOLLIN
        # What is being read, of which `filled` bytes are there: a header, then a request.
        self.reading = memoryview(bytearray(4))
        self.filled = 0
        self.is_header = True
        self.writing = memoryview(b"")
        server.events.register(stream, self.awaited)

    def go_on(self):
        """Reads and writes as far as that goes without waiting."""
        try:
            while self.write() and self.read():
                self.take()
        except (BlockingIOError, InterruptedError):
            awaited = select.EPOLLOUT if self.writing else select.EPOLLIN
            if awaited != self.awaited:
                self.server.events.modify(self.stream, awaited)
                self.awaited = awaited
        except OSError:
            self.close()

    def write(self):
        while self.writing:
            self.writing = self.writing[self.stream.send(self.writing[:CHUNK]) :]
        return True

    def read(self):
        while self.filled < len(self.reading):
            count = self.stream.recv_into(self.reading[self.filled : self.filled + CHUNK])
            if count == 0:
                self.close()
                return False
            self.filled += count
        return True

    def take(self):
        """Goes on from what has been read whole."""
        if self.is_header:
            (length,) = struct.unpack("<I", self.reading)
            if length > MOST_BYTES:
                raise OSError("a request that is too large")
            self.reading = memoryview(bytearray(length))
        else:
            request = bytes(self.reading)
            self.reading = memoryview(bytearray(4))
            self.writing = memoryview(self.server.answer(request))
        self.is_header = not self.is_header
        self.filled = 0

    def close(self):
        del self.server.connections[self.stream.fileno()]
        self.server.events.unregister(self.stream)
        self.stream.close()
