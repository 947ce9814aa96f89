"""Attacks by network, in every form: nobody outside the call can be reached, nor learned of."""

from __future__ import annotations

import os
import socket
from typing import Any

from tests.escape.attack import Family, G
from tests.escape.inside import any_of, connect, need, read

attack = Family("network")
BEYOND = "it would reach beyond this machine"
RAW = "it depends on the machine who may"


@attack(G.NO_NETWORK)
def connect_by_tcp(host: Any) -> None:
    """Reach a server on the host's loopback."""
    connect(socket.AF_INET, ("127.0.0.1", host.ports["tcp"]))


@attack(G.NO_NETWORK)
def connect_by_tcp_over_ipv6(host: Any) -> None:
    """The same over IPv6."""
    connect(socket.AF_INET6, ("::1", host.ports["tcp6"]))


@attack(G.NO_NETWORK)
def connect_by_other_names_of_the_loopback(host: Any) -> None:
    """Reach it by 0.0.0.0, 127.1.2.3, and an IPv4 address in IPv6."""
    port = host.ports["tcp"]
    any_of(
        lambda: connect(socket.AF_INET, ("0.0.0.0", port)),
        lambda: connect(socket.AF_INET6, ("::ffff:127.0.0.1", port)),
    )


@attack(G.NO_NETWORK)
def connect_without_connecting(host: Any) -> None:
    """Send the first data with the call that opens the connection (TCP fast open)."""
    with socket.socket() as client:
        client.settimeout(1)
        client.sendto(b"x", 0x20000000, ("127.0.0.1", host.ports["tcp"]))


@attack(G.NO_NETWORK)
def connect_by_multipath_tcp(host: Any) -> None:
    """Use the protocol that rules for TCP do not cover."""
    connect(socket.AF_INET, ("127.0.0.1", host.ports["tcp"]), socket.SOCK_STREAM, 262)


@attack(G.NO_NETWORK, by_host=True)
def send_by_udp(host: Any) -> None:
    """Send a packet to a server of the host."""
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", host.ports["udp"]))


@attack(G.NO_NETWORK)
def connect_to_a_socket_file(host: Any) -> None:
    """Reach a server by its socket file, as docker.sock or an agent for keys."""
    connect(socket.AF_UNIX, host.folder + "/sock")


@attack(G.NO_NETWORK)
def connect_to_a_socket_file_by_a_link(host: Any) -> None:
    """The same by a link in the workspace."""
    os.symlink(host.folder, "out")
    connect(socket.AF_UNIX, "out/sock")


@attack(G.NO_NETWORK)
def send_to_a_socket_file(host: Any) -> None:
    """Send a packet to a socket file, as to the log of the system."""
    connect(socket.AF_UNIX, host.folder + "/dgram", socket.SOCK_DGRAM)


@attack(G.NO_NETWORK)
def send_to_a_socket_file_by_a_pair(host: Any) -> None:
    """Use one end of a pair of sockets for it, which no socket() precedes."""
    socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)[0].sendto(b"x", host.folder + "/dgram")


@attack(G.NO_NETWORK)
def connect_to_an_abstract_socket(host: Any) -> None:
    """Reach a server whose name lies in no file system (CVE-2020-15257 of containerd)."""
    connect(socket.AF_UNIX, f"\0treadle-{host.mark}")


@attack(G.NO_NETWORK)
def connect_to_a_socket_in_the_workspace(host: Any) -> None:
    """Reach a server of the host that listens on a file in the workspace itself."""
    connect(socket.AF_UNIX, "host.sock")


@attack(G.NO_NETWORK, unwalled=BEYOND)
def connect_to_the_internet(host: Any) -> None:
    """Reach an address elsewhere; it is one that is reserved for documentation."""
    any_of(
        lambda: connect(socket.AF_INET, ("192.0.2.1", 443)),
        lambda: connect(socket.AF_INET, ("192.0.2.1", 53), socket.SOCK_DGRAM),
        lambda: connect(socket.AF_INET6, ("2001:db8::1", 443)),
    )


@attack(G.NO_NETWORK, unwalled=BEYOND)
def ask_the_cloud_for_credentials(host: Any) -> None:
    """Reach the metadata server that machines in clouds have."""
    connect(socket.AF_INET, ("169.254.169.254", 80))


@attack(G.NO_NETWORK, unwalled=BEYOND)
def resolve_a_name(host: Any) -> None:
    """Ask for a name: the question alone can carry a secret out."""
    socket.getaddrinfo("treadle.invalid", 443)


@attack(G.NO_NETWORK, unwalled=BEYOND)
def ask_a_resolver(host: Any) -> None:
    """Send a question to port 53 by hand: to the resolver of the host, and to Docker's."""
    question = bytes.fromhex("000101000001000000000000") + b"\x07treadle\x07invalid\0\0\x01\0\x01"

    def ask(place: str) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(0.3)
            client.connect((place, 53))
            client.send(question)
            if place.startswith("127."):  # a loopback of one's own takes everything
                client.recv(512)

    known = read("/etc/resolv.conf").split() if os.path.exists("/etc/resolv.conf") else []
    places = [*(word for word in known if word[0].isdigit()), "127.0.0.11", "127.0.0.53", "192.0.2.1"]
    any_of(*(lambda at=at: ask(at) for at in places))


@attack(G.NO_NETWORK, unwalled=RAW)
def ping(host: Any) -> None:
    """Send ICMP: a tunnel that firewalls forget."""
    any_of(
        lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM, 1).sendto(b"\x08\0\0\0\0\0\0\0", ("192.0.2.1", 0)),
        lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1).sendto(b"\x08\0\0\0\0\0\0\0", ("192.0.2.1", 0)),
    )


@attack(G.NO_NETWORK, unwalled=RAW)
def write_to_the_wire(host: Any) -> None:
    """Open packet sockets, which see all that passes."""
    any_of(lambda: socket.socket(17, 3, 0x300), lambda: socket.socket(17, 2, 0), lambda: socket.socket(2, 3, 255))


@attack(G.NO_NETWORK, unwalled=RAW)
def talk_to_the_hypervisor(host: Any) -> None:
    """Open a vsock, which no network namespace divides."""
    socket.socket(40, socket.SOCK_STREAM)


@attack(G.NO_NETWORK, unwalled=RAW)
def use_a_rare_family(host: Any) -> None:
    """Open sockets of families where holes have been found: alg, bluetooth, can, tipc, rds, xdp, kcm, llc, x25."""
    families = (38, 31, 29, 30, 21, 44, 41, 26, 9, 3, 4, 5, 15, 32, 33, 35, 37, 39, 42, 43, 45)
    any_of(
        *(lambda family=family, kind=kind: socket.socket(family, kind) for family in families for kind in (1, 2, 3, 5))
    )


@attack(G.NO_NETWORK)
def see_the_connections_of_the_host(host: Any) -> None:
    """Read from /proc or by netlink which servers listen on the host."""
    port = f":{host.ports['tcp']:04X} "
    any_of(
        *(
            lambda at=at: need(port in read(at, 1 << 20))
            for at in ("/proc/net/tcp", "/proc/self/net/tcp", "/proc/1/net/tcp")
        )
    )


@attack(G.NO_NETWORK)
def see_the_sockets_of_the_host(host: Any) -> None:
    """Read the names of the host's Unix sockets."""
    need(f"treadle-{host.mark}" in read("/proc/net/unix", 1 << 20))


@attack(G.NO_NETWORK, unwalled="the machine may have no other network")
def see_the_interfaces_of_the_host(host: Any) -> None:
    """Find an interface other than a loopback."""
    need([name for _, name in socket.if_nameindex() if name != "lo"])
