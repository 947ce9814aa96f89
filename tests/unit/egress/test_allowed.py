"""The one place that decides: what a listed name may stand for, and that nothing is asked twice."""

from __future__ import annotations

import socket

import pytest
from tests.unit.egress.loopback import Names, a_host

from treadle.egress import allowed
from treadle.egress.allowed import Egress
from treadle.errors import Refused, UsageError


def egress(*hosts: str, **answers: list[str]) -> Egress:
    return Egress.to(hosts, resolve=Names({name.replace("_", "."): [found] for name, found in answers.items()}))


async def test_name_with_public_addresses_is_reached_at_all_of_them() -> None:
    way = egress("docs.example", docs_example=["1.1.1.1", "2606:4700::1111"])
    assert await way.addresses("docs.example", 443) == ["1.1.1.1", "2606:4700::1111"]


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "::ffff:10.0.0.1", "fe80::1%lo"]
)
async def test_one_address_that_is_not_public_spoils_the_name(address: str) -> None:
    way = egress("docs.example", docs_example=["1.1.1.1", address])
    with pytest.raises(Refused, match="private network"):
        await way.addresses("docs.example", 443)


async def test_private_address_is_reached_by_name_if_it_is_listed_for_that_port() -> None:
    way = egress("mirror.example:8080", "10.1.2.3:8080", mirror_example=["10.1.2.3"])
    assert await way.addresses("mirror.example", 8080) == ["10.1.2.3"]
    assert await way.addresses("10.1.2.3", 8080) == ["10.1.2.3"]
    other = egress("mirror.example:8080", "10.1.2.3", mirror_example=["10.1.2.3"])
    with pytest.raises(Refused, match="private network"):
        await other.addresses("mirror.example", 8080)


async def test_localhost_is_this_machine_and_nothing_else() -> None:
    assert await egress("localhost", localhost=["::1", "127.0.0.1"]).addresses("localhost", 80)
    with pytest.raises(Refused, match="private network"):
        await egress("localhost", localhost=["10.0.0.1"]).addresses("localhost", 80)
    with pytest.raises(Refused, match="not among"):
        await egress("localhost").addresses("127.0.0.1", 80)


async def test_public_address_of_this_very_machine_counts_as_private(monkeypatch: pytest.MonkeyPatch) -> None:
    assert allowed._is_ours("127.0.0.1") and not allowed._is_ours("192.0.2.1")
    monkeypatch.setattr(allowed, "_is_ours", lambda address: address == "1.1.1.1")
    with pytest.raises(Refused, match="address of this machine"):
        await egress("docs.example", docs_example=["1.1.1.1"]).addresses("docs.example", 443)


async def test_name_without_an_address_and_a_name_server_that_fails_are_no_host() -> None:
    async def failing(host: str, port: int) -> list[str]:
        raise socket.gaierror(-3, "temporary failure")

    for way in (egress("docs.example"), Egress.to(["docs.example"], resolve=failing)):
        with pytest.raises(Refused, match="There is no host"):
            await way.addresses("docs.example", 443)


async def test_connection_goes_to_the_address_that_was_checked_and_the_name_is_asked_once() -> None:
    names = Names({"docs.example": [["127.0.0.1"], ["127.0.0.2"]]})
    async with a_host() as host:
        way = Egress.to([f"docs.example:{host.port}", f"127.0.0.1:{host.port}"], resolve=names)
        _, writer = await way.connect("docs.example", host.port)
        assert writer.get_extra_info("peername") == ("127.0.0.1", host.port)
        writer.close()
    assert names.asked == ["docs.example"]


async def test_next_address_is_tried_where_one_does_not_answer() -> None:
    async with a_host() as host:
        listed = [f"docs.example:{host.port}", f"127.0.0.1:{host.port}", f"127.0.0.9:{host.port}"]
        way = Egress.to(listed, resolve=Names({"docs.example": [["127.0.0.9", "127.0.0.1"]]}))
        _, writer = await way.connect("docs.example", host.port)
        writer.close()


def test_list_with_a_mistake_is_an_error_before_anything_is_reached() -> None:
    with pytest.raises(UsageError, match="no host that can be allowed"):
        Egress.to(["pypi.org", "https://pypi.org/"])
