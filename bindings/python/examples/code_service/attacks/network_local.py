"""Tries to reach servers of the host itself over TCP and UDP, and to listen where the host could be reached."""

import errno
import socket
import sys

tcp, udp = map(int, sys.argv[1:])


def attempt(label, family, kind, address, act):
    try:
        with socket.socket(family, kind) as s:
            s.settimeout(0.5)
            act(s, address)
            print(f"{label}=REACHED", s.recv(100))
    except TimeoutError:
        print(f"{label}=SILENCE")
    except OSError as error:
        print(f"{label}={errno.errorcode.get(error.errno, error)}")


def talk(s, address):
    s.connect(address)
    s.send(b"hello")


attempt("tcp4", socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", tcp), talk)
attempt("tcp0", socket.AF_INET, socket.SOCK_STREAM, ("0.0.0.0", tcp), talk)
attempt("tcp6", socket.AF_INET6, socket.SOCK_STREAM, ("::ffff:127.0.0.1", tcp), talk)
attempt("udp4", socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", udp), talk)
