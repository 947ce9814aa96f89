"""Runs inside a sandbox, before the command and as it: makes the listening socket of its proxy, and hands it out.

The socket belongs to the loopback of the sandbox; whoever takes it outside can attend to it from there. So no process
of ours stays inside that the command could end, and no file leads out. Imports next to nothing: it delays each call.
"""

import os
import sys
from _signal import SIG_DFL, SIGPIPE, SIGXFSZ, signal  # type: ignore[import-not-found]  # `signal` brings enum
from _socket import AF_INET, AF_UNIX, SCM_RIGHTS, SOCK_STREAM, SOL_SOCKET, socket

_WAITING = 128
_PROXY = ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
_DIRECT = ("no_proxy", "NO_PROXY")


def main(place: str, direct: str, argv: list[str]) -> None:
    """Hand the socket out by a Unix socket, wait until somebody attends to it, become the command.

    `place`: the descriptor of that Unix socket, or the path of one that listens.
    `direct`: the hosts that are not asked by way of the proxy.
    """
    if place.isdigit():
        way = socket(fileno=int(place))
    else:
        way = socket(AF_UNIX, SOCK_STREAM)
        way.connect(place)
    listener = socket(AF_INET, SOCK_STREAM)
    listener.bind(("127.0.0.1", 0))
    listener.listen(_WAITING)
    address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    way.sendmsg([b"listener"], [(SOL_SOCKET, SCM_RIGHTS, listener.fileno().to_bytes(4, sys.byteorder))])
    listener.close()
    if way.recv(1) != b"+":
        os._exit(1)
    way.close()
    for names, value in ((_PROXY, address), (_DIRECT, direct)):
        for name in names:
            os.environ.setdefault(name, value)
    signal(SIGPIPE, SIG_DFL)  # Python ignores these two, and the command would go on doing so
    signal(SIGXFSZ, SIG_DFL)
    try:
        os.execvp(argv[0], argv)
    except OSError as error:
        os.write(2, os.fsencode(f"{argv[0]}: {error.strerror}\n"))
        os._exit(127 if isinstance(error, (FileNotFoundError, NotADirectoryError)) else 126)


main(sys.argv[1], sys.argv[2], sys.argv[3:])
