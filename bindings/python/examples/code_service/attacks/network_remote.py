"""Tries to leave the machine: the cloud's metadata service, a name server, raw and exotic sockets."""

import errno
import socket

TARGETS = (
    ("metadata", socket.AF_INET, socket.SOCK_STREAM, 0, ("169.254.169.254", 80)),
    ("nameserver", socket.AF_INET, socket.SOCK_DGRAM, 0, ("192.0.2.53", 53)),
    ("web6", socket.AF_INET6, socket.SOCK_STREAM, 0, ("2001:db8::1", 80)),
    ("raw", socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP, ("192.0.2.1", 0)),
    ("packet", socket.AF_PACKET, socket.SOCK_RAW, 0, None),
    ("netlink", socket.AF_NETLINK, socket.SOCK_RAW, 0, None),
    ("vsock", getattr(socket, "AF_VSOCK", 40), socket.SOCK_STREAM, 0, (2, 1024)),
    ("alg", getattr(socket, "AF_ALG", 38), socket.SOCK_SEQPACKET, 0, None),
)
for label, family, kind, protocol, address in TARGETS:
    try:
        with socket.socket(family, kind, protocol) as s:
            if address is None:
                print(f"{label}=OPENED")
                continue
            s.settimeout(0.5)
            s.connect(address)
            s.send(b"GET / HTTP/1.0\r\n\r\n")
            print(f"{label}=SENT")
    except TimeoutError:
        # Nobody answered, but the packet left: that is not what "no network" means.
        print(f"{label}=SILENCE")
    except OSError as error:
        print(f"{label}={errno.errorcode.get(error.errno, error)}")
