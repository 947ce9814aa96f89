"""What entries of an allow-list mean, and which addresses are public, in whatever disguise."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.domain.hosts import AllowList, authority, host_entry, host_name, is_public, split_authority
from treadle.errors import UsageError


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("pypi.org", "pypi.org", None),
        (" PyPI.org. ", "pypi.org", None),
        ("pypi.org:8443", "pypi.org", 8443),
        ("*.Example.org", "*.example.org", None),
        ("*.example.org:80", "*.example.org", 80),
        ("10.0.0.7:8080", "10.0.0.7", 8080),
        ("::1", "::1", None),
        ("[0:0:0:0:0:0:0:1]:80", "::1", 80),
        ("[fe80::1]", "fe80::1", None),
        ("xn--bcher-kva.example", "xn--bcher-kva.example", None),
        ("localhost", "localhost", None),
    ],
)
def test_entry_is_read_in_one_spelling(text: str, host: str, port: int | None) -> None:
    entry = host_entry(text)
    assert (entry.host, entry.port) == (host, port)


@pytest.mark.parametrize(
    "text",
    ["", "*", "*.", "*.127.0.0.1", "a.*.b", "https://pypi.org", "pypi.org/simple", "user@pypi.org", "pypi.org:", "a b",
     "pypi.org:0", "pypi.org:65536", "pypi.org:x", "10.0.0.0/8", "127.1", "0x7f.0.0.1", "2130706433", "0177.0.0.1",
     "127.0.0.01", "[::1", "::1]", "[127.0.0.1]", "fe80::1%eth0", "[fe80::1%eth0]", "b\u00fccher.example", "a..b",
     "-a.b", "a-.b", "x" * 64, "a." * 127 + "a", "a:1:2", "pypi.org:\u0664\u0664\u0663", "1.2.3.4.5", "evil.0x1"],
)  # fmt: skip
def test_entry_that_means_no_one_host_is_an_error_that_says_what_to_write(text: str) -> None:
    with pytest.raises(UsageError) as wrong:
        host_entry(text)
    assert repr(text) in str(wrong.value) and "Write a host such as" in wrong.value.hint


@pytest.mark.parametrize(
    ("entry", "host", "port", "is_meant"),
    [
        ("pypi.org", "pypi.org", 443, True),
        ("pypi.org", "pypi.org", 80, True),
        ("pypi.org", "pypi.org", 22, False),
        ("pypi.org", "evil-pypi.org", 443, False),
        ("pypi.org", "pypi.org.evil", 443, False),
        ("pypi.org:22", "pypi.org", 22, True),
        ("pypi.org:22", "pypi.org", 443, False),
        ("*.pypi.org", "a.b.pypi.org", 443, True),
        ("*.pypi.org", "pypi.org", 443, False),
        ("*.pypi.org", "evilpypi.org", 443, False),
        ("*.1", "10.0.0.1", 443, None),
        ("10.0.0.1", "10.0.0.1", 443, True),
        ("127.0.0.1", "::ffff:127.0.0.1", 80, False),
    ],
)
def test_entry_means_whole_names_and_its_ports(entry: str, host: str, port: int, is_meant: bool | None) -> None:
    if is_meant is None:
        with pytest.raises(UsageError):
            AllowList.of([entry])
    else:
        assert AllowList.of([entry]).has(host_name(host.join("[]") if ":" in host else host), port) is is_meant


@pytest.mark.parametrize("address", ["1.1.1.1", "8.8.8.8", "2606:4700::1111", "64:ff9b::808:808", "100.128.0.1"])
def test_address_of_the_internet_is_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "127.255.0.1", "10.0.0.1", "172.16.0.1", "192.168.0.1", "100.64.0.1", "169.254.169.254", "0.0.0.0",
     "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255", "192.0.0.8", "192.0.2.1", "198.18.0.1", "203.0.113.1",
     "192.88.99.1", "::", "::1", "fe80::1", "fe80::1%lo", "fec0::1", "fd00::1", "ff02::1", "2001:db8::1", "100::1"],
)  # fmt: skip
def test_address_of_no_host_of_the_internet_is_not_public(address: str) -> None:
    assert not is_public(address)


PRIVATE = ["127.0.0.1", "10.0.0.1", "169.254.169.254", "192.168.1.1", "224.0.0.1", "0.0.0.0"]
DISGUISES = {
    "mapped": lambda v4: (0xFFFF << 32) | v4,
    "compatible": lambda v4: v4,
    "translated": lambda v4: (0xFFFF << 48) | v4,
    "NAT64": lambda v4: (0x64FF9B << 96) | v4,
    "local NAT64": lambda v4: (0x64FF9B0001 << 80) | v4,
    "6to4": lambda v4: (0x2002 << 112) | (v4 << 80) | 1,
    "Teredo": lambda v4: (0x20010000 << 96) | (v4 << 64) | (~v4 & 0xFFFFFFFF),
}


@pytest.mark.parametrize("disguise", DISGUISES.values(), ids=DISGUISES.keys())
@pytest.mark.parametrize("address", PRIVATE)
def test_private_address_in_the_clothes_of_ipv6_is_not_public(address: str, disguise) -> None:  # type: ignore[no-untyped-def]
    assert not is_public(str(IPv6Address(disguise(int(IPv4Address(address))))))


@given(st.integers(0, 2**128 - 1).map(IPv6Address) | st.integers(0, 2**32 - 1).map(IPv4Address))
def test_address_is_read_back_as_it_is_written(address: IPv4Address | IPv6Address) -> None:
    written = authority(str(address), 443)
    assert split_authority(written) == (str(address), 443)
    assert not is_public(str(address)) or address.is_global


@given(st.text(max_size=40) | st.from_regex(r"[\[\]:.%*0-9a-fx-]{0,30}", fullmatch=True))
def test_any_text_is_a_host_in_one_spelling_or_an_error(text: str) -> None:
    try:
        host, port = split_authority(text)
    except ValueError:
        return
    assert split_authority(authority(host, port)) == (host, port) and host == host.lower() and host.isascii()
    assert port is None or 0 < port < 65536
    if host.replace(".", "").isdigit():
        assert str(ip_address(host)) == host
