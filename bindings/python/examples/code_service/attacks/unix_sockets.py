"""Tries to reach Unix sockets of the host, the abstract kind that needs no file, and one by its path."""

import errno
import socket
import sys

abstract, path = sys.argv[1:]
for label, address in (("abstract", "\0" + abstract), ("path", path), ("around", "/proc/1/root" + path)):
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        try:
            with socket.socket(socket.AF_UNIX, kind) as s:
                s.settimeout(0.5)
                s.connect(address)
                print(f"{label}=REACHED", s.recv(100))
        except TimeoutError:
            print(f"{label}=SILENCE")
        except OSError as error:
            print(f"{label}={errno.errorcode.get(error.errno, error)}")
