"""A cable (a veth pair) between two network namespaces, laid without the program `ip`, which not all machines have.

python cable.py lay NUMBER PID      here `cableN` with 10.77.N.1/24; its other end goes to the namespace of PID
python cable.py end NUMBER          there `eth0` with 10.77.N.2/24
"""

from __future__ import annotations

import fcntl
import socket
import struct
import sys

NEW_LINK, ERROR = 16, 2
REQUEST, ACK, EXCLUSIVE, CREATE = 0x1, 0x4, 0x200, 0x400
NAME, NAMESPACE_OF_PID, LINK_INFO = 3, 19, 18
KIND, DATA, PEER = 1, 2, 1
SET_ADDRESS, SET_MASK, SET_FLAGS = 0x8916, 0x891C, 0x8914
UP = 0x41
NO_LINK = struct.pack("BxHiII", 0, 0, 0, 0, 0)


def attribute(kind: int, data: bytes) -> bytes:
    size = 4 + len(data)
    return struct.pack("HH", size, kind) + data + bytes(-size % 4)


def lay(name: str, peer: str, pid: int) -> None:
    """Raises OSError if the kernel refuses."""
    there = NO_LINK + attribute(NAME, peer.encode() + b"\0") + attribute(NAMESPACE_OF_PID, struct.pack("I", pid))
    info = attribute(KIND, b"veth\0") + attribute(DATA, attribute(PEER, there))
    body = NO_LINK + attribute(NAME, name.encode() + b"\0") + attribute(LINK_INFO, info)
    header = struct.pack("IHHII", 16 + len(body), NEW_LINK, REQUEST | ACK | CREATE | EXCLUSIVE, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as kernel:
        kernel.send(header + body)
        answer = kernel.recv(4096)
    kind, code = struct.unpack_from("H", answer, 4)[0], -struct.unpack_from("i", answer, 16)[0]
    if kind != ERROR or code:
        raise OSError(code, f"no cable can be laid: error {code}")


def bring_up(name: str, address: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        for request, what in ((SET_ADDRESS, address), (SET_MASK, "255.255.255.0")):
            place = struct.pack("HH4s8x", socket.AF_INET, 0, socket.inet_aton(what))
            fcntl.ioctl(any_socket, request, struct.pack("16s16s", name.encode(), place))
        fcntl.ioctl(any_socket, SET_FLAGS, struct.pack("16sH14x", name.encode(), UP))


if __name__ == "__main__":
    what, number, *more = sys.argv[1:]
    if what == "lay":
        lay(f"cable{number}", "eth0", int(more[0]))
        bring_up(f"cable{number}", f"10.77.{number}.1")
    else:
        bring_up("eth0", f"10.77.{number}.2")
        bring_up("lo", "127.0.0.1")
