"""What a server says of its memory, as devices of the pool."""

from __future__ import annotations

from driver import GB, LoopbackServer

from treadle.pool.cards import adopt, cards_of
from treadle.ports.model_server import Memory, Resident

SERVER = LoopbackServer({}, 1)


def test_what_other_programs_hold_of_a_card_is_not_ours() -> None:
    held = [Resident("a", 2 * GB, 1.0)]
    (card,) = cards_of(SERVER, [Memory("gpu0", 10 * GB, 5 * GB, "nvml")], held, None, None)
    assert card.bytes == 7 * GB
    (card,) = cards_of(SERVER, [Memory("gpu0", 10 * GB, 5 * GB, "/api/ps")], held, None, None)
    assert card.bytes == 10 * GB


def test_a_configured_limit_counts_where_it_is_less_or_where_nobody_says() -> None:
    memory = [Memory("gpu0", 10 * GB, 0, "budget"), Memory("gpu1", 3 * GB, 0, "budget")]
    assert [card.bytes for card in cards_of(SERVER, memory, [], 4 * GB, None)] == [4 * GB, 3 * GB]
    assert [card.bytes for card in cards_of(SERVER, [], [], 4 * GB, None)] == [4 * GB]
    assert cards_of(SERVER, [], [], None, None) == []


def test_what_is_loaded_already_lies_where_room_is() -> None:
    memory = [Memory("gpu0", 10 * GB, 0, "budget"), Memory("gpu1", 8 * GB, 0, "budget")]
    cards = cards_of(SERVER, memory, [], None, None)
    adopt(cards, {"a": 6 * GB, "b": 5 * GB, "c": 2 * GB}, 0.0)
    assert [set(card.models) for card in cards] == [{"a", "c"}, {"b"}]
