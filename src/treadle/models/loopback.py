"""Is an address on this machine, or on a network of one's own?"""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit


def is_loopback(url: str) -> bool:
    """Tell whether a URL points to this very machine. Looks at the text only, asks no name server."""
    host = _host(url)
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def is_on_own_network(url: str) -> bool:
    """Tell whether a URL points to this machine or to a private address. Looks at the text only, as `is_loopback`."""
    try:
        return is_loopback(url) or ip_address(_host(url)).is_private
    except ValueError:
        return False


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
