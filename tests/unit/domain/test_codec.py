"""Values survive the log exactly, or fail loudly at the write."""

from __future__ import annotations

import dataclasses
import enum
import math
import uuid
from collections import OrderedDict
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.domain import codec
from treadle.errors import CodecError


class Colour(enum.Enum):
    RED = "r"
    BLUE = "b"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Word(enum.StrEnum):
    YES = "yes"


class Access(enum.Flag):
    READ = 1
    WRITE = 2


@dataclasses.dataclass
class Point:
    x: int
    y: float = 0.0
    near: list[Point] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    name: str
    tags: frozenset[str] = frozenset()


@dataclasses.dataclass
class Counted:
    start: int
    total: int = dataclasses.field(init=False, default=0)


class Pair(NamedTuple):
    left: int
    right: tuple[int, ...]


class Packed(msgspec.Struct):
    a: int
    b: bytes = b""


class Model(pydantic.BaseModel):
    name: str = pydantic.Field(alias="theName")
    when: datetime | None = None
    inner: dict[str, Colour] = {}


class Open(pydantic.BaseModel, extra="allow"):
    x: int


for cls in (Colour, Level, Word, Access, Point, Frozen, Counted, Pair, Packed, Model, Open):
    codec.register_type(cls)


def there_and_back(value: Any) -> Any:
    written = codec.encode(value)
    assert codec.encode(codec.decode(codec.encode_shared(value))) == written
    return codec.decode(written)


SAMPLES: list[Any] = [
    None, True, False, 0, -1, 2**63 - 1, -(2**63) + 1, 2**63, -(2**63), 10**50, -(10**50),
    0.0, -0.0, 1.5, 1e308, 5e-324, math.inf, -math.inf,
    "", "ü", "\x00", "🦄", "$t",
    [], [1, [2, [3]]], {}, {"a": {"b": []}}, (), (1,), (1, (2, [3, (4,)])), [(), {}], {"k": (1, 2)},
    {1: "one"}, {(1, 2): "pair"}, {None: 1, True: 2, "x": 3}, {1: {2: {3: 4}}}, {b"k": 1}, {Colour.RED: 1},
    {"$t": "tuple", "v": [1]}, {"$t": None}, {"a": {"$t": "no-such-tag", "v": 1}}, {"v": 1},
    b"", b"\x00\xff", {1, 2, 3}, set(), frozenset({"a"}), {(1, 2), (3,)}, {frozenset({1})},
    datetime(2026, 11, 21, 4, 5, 6, 789), datetime(2026, 1, 1, tzinfo=UTC),  # noqa: DTZ001
    datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=-3, minutes=-30))),
    date(1, 1, 1), date(9999, 12, 31), time(1, 2, 3, 4), time(1, tzinfo=UTC), timedelta(days=-1, microseconds=1),
    timedelta.max, Decimal("1.10"), Decimal("-0"), Decimal("Infinity"), Decimal(10) ** 40,
    uuid.UUID(int=7), PurePosixPath("/a/b"), Path("/a/b"), Path("x"), 1 + 2j, complex(0.0, -1.5),
    Colour.RED, Level.HIGH, Word.YES, Access.READ, Access.READ | Access.WRITE, Access(0),
    Point(1, 2.0, [Point(3)]), Frozen("n", frozenset({"t"})), Pair(1, (2, 3)), Packed(1, b"x"),
    Model(theName="n", when=datetime(2026, 1, 1, tzinfo=UTC), inner={"k": Colour.BLUE}), Open(x=1, y=[1, (2,)]),
]  # fmt: skip


def same(one: Any, other: Any) -> bool:
    """Equal, and of the same types all the way down."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return list(map(repr, one)) == list(map(repr, other)) and all(
            same(a, b) for a, b in zip(one.values(), other.values(), strict=True)
        )
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float):
        return repr(one) == repr(other)
    return bool(one == other)


@pytest.mark.parametrize("value", SAMPLES, ids=lambda value: repr(value)[:40])
def test_a_value_comes_back_as_it_went(value: Any) -> None:
    back = there_and_back(value)
    assert same(back, value), back


@pytest.mark.parametrize("value", SAMPLES, ids=lambda value: repr(value)[:40])
def test_what_is_written_is_json(value: Any) -> None:
    import json

    json.loads(codec.encode(value), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


def test_nan_comes_back() -> None:
    assert math.isnan(there_and_back({"x": [math.nan]})["x"][0])
    assert there_and_back(Decimal("NaN")).is_nan()


LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
    | st.datetimes(timezones=st.none() | st.just(UTC)) | st.timedeltas() | st.dates() | st.uuids()
    | st.decimals(allow_nan=False) | st.sampled_from(Colour) | st.frozensets(st.integers())
)  # fmt: skip
KEYS = st.text() | st.just("$t") | st.integers() | st.tuples(st.integers(), st.text())
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner) | st.lists(inner).map(tuple), max_leaves=20
)


@given(VALUES)
def test_any_value_comes_back_as_it_went(value: Any) -> None:
    assert same(there_and_back(value), value)


@given(VALUES, VALUES, st.lists(st.sampled_from(["list", "dict", "tuple", "twice"]), max_size=4))
def test_what_is_met_again_anywhere_comes_back_as_it_went(one: Any, other: Any, wraps: list[str]) -> None:
    value = [one, other]
    for wrap in wraps:
        long = [value, "x" * 80]
        value = {"list": [long, one, long], "dict": {"a": long, "b": long}, "tuple": [(long, long), long],
                 "twice": [long, [long, [long]]]}[wrap]  # fmt: skip
    assert same(there_and_back([value, one]), [value, one])


@given(
    st.dictionaries(
        st.text() | st.integers() | st.just("$t"), st.integers() | st.dictionaries(st.integers(), st.none())
    )
)
def test_a_digest_does_not_depend_on_the_order_of_keys(value: dict[Any, Any]) -> None:
    assert codec.digest(value) == codec.digest(dict(reversed(value.items())))


def test_a_digest_tells_types_apart() -> None:
    assert len({codec.digest(value) for value in (1, "1", [1], (1,), {"a": 1}, b"1", 1.5, None)}) == 8


def test_sets_are_written_in_one_order() -> None:
    assert codec.encode({"b", "a", "c"}) == codec.encode({"c", "b", "a"})


class Unknown:
    pass


class IntSubclass(int):
    pass


@pytest.mark.parametrize(
    "value",
    [Unknown(), Unknown, object(), len, bytearray(b"x"), OrderedDict(a=1), IntSubclass(1), range(3), (x for x in ())],
    ids=lambda value: type(value).__name__,
)
def test_an_unknown_type_fails_loudly_at_the_write_and_names_itself(value: Any) -> None:
    name = type(value).__qualname__
    for where in (value, [value], {"deep": [{"er": (value,)}]}, {1: value}):
        with pytest.raises(CodecError, match=name):
            codec.encode(where)


def test_an_unknown_tag_fails_loudly_at_the_read_and_says_what_to_do() -> None:
    with pytest.raises(CodecError, match=r"'lost\.Type@1'") as caught:
        codec.decode(b'{"$t":"lost.Type@1","v":{}}')
    assert "Import the module" in caught.value.hint


def test_what_has_no_shape_cannot_be_registered() -> None:
    with pytest.raises(CodecError, match="Unknown"):
        codec.register_type(Unknown)


def test_fields_that_init_does_not_take_come_back() -> None:
    counted = Counted(1)
    counted.total = 7
    assert there_and_back(counted).total == 7


def test_a_type_may_be_named_so_that_the_class_can_move() -> None:
    @codec.register_type(name="test.Moved")
    @dataclasses.dataclass
    class Here:
        x: int

    data = codec.encode(Here(1))
    assert b'"test.Moved@1"' in data
    assert codec.decode(data) == Here(1)


def test_a_name_is_not_given_twice() -> None:
    @codec.register_type(name="test.Taken")
    @dataclasses.dataclass
    class One:
        x: int

    @dataclasses.dataclass
    class Two:
        x: int

    with pytest.raises(CodecError, match="taken"):
        codec.register_type(Two, name="test.Taken")


def test_a_class_that_is_defined_again_replaces_the_old_one() -> None:
    def define() -> type:
        @dataclasses.dataclass
        class Again:
            x: int

        return Again

    first, second = define(), define()
    codec.register_type(first)
    data = codec.encode(first(1))
    codec.register_type(second)  # as when a notebook cell is run again
    assert isinstance(codec.decode(data), second)
    assert codec.encode(second(1)) == data


def test_an_older_version_is_upgraded() -> None:
    @dataclasses.dataclass
    class Old:
        name: str

    codec.register_type(Old, name="test.Person")
    data = codec.encode(Old("Ada Lovelace"))
    codec._by_tag.pop("test.Person@1")
    del codec._by_type[Old]

    @dataclasses.dataclass
    class New:
        first: str
        last: str

    def upgrade(version: int, fields: dict[str, Any]) -> dict[str, Any]:
        assert version == 1
        first, last = fields["name"].split()
        return {"first": first, "last": last}

    codec.register_type(New, name="test.Person", version=2, upgrade=upgrade)
    assert codec.decode(data) == New("Ada", "Lovelace")
    assert b"test.Person@2" in codec.encode(New("Ada", "Lovelace"))


def test_an_older_version_without_an_upgrade_fails_loudly() -> None:
    @dataclasses.dataclass
    class Other:
        x: int

    codec.register_type(Other, name="test.Other", version=3)
    with pytest.raises(CodecError, match="version 1"):
        codec.decode(b'{"$t":"test.Other@1","v":{"x":1}}')


def test_arrays_come_back_with_type_and_shape() -> None:
    numpy = pytest.importorskip("numpy")
    for array in (
        numpy.arange(6, dtype="int16").reshape(2, 3),
        numpy.zeros((0, 3)),
        numpy.asfortranarray(numpy.ones((2, 2), dtype="complex64")),
        numpy.array(["a", "bc"]),
        numpy.array(5.0),
    ):
        back = there_and_back({"a": array})["a"]
        assert back.dtype == array.dtype and back.shape == array.shape
        assert numpy.array_equal(back, array)
    scalar = there_and_back(numpy.float32(1.5))
    assert type(scalar) is numpy.float32
    with pytest.raises(CodecError, match="objects"):
        codec.encode(numpy.array([object()]))


def test_what_occurs_again_reads_back_the_same() -> None:
    cell = [1, "a", None, {"deep": [2.5, (3, b"x")]}]
    value = {"one": [cell, cell, [cell]], "two": cell, "three": {"cell": cell, "big": [2**70, math.inf, -1]}}
    assert codec.decode(codec.encode(value)) == value
    assert codec.encode([cell, cell, cell]).count(b"deep") == 3


def test_what_is_long_and_met_again_is_written_apart_and_is_one_object_again() -> None:
    cell = {"text": "x" * 100, "numbers": [1, 2]}
    many = {"cells": [cell] * 100, "rows": [[cell, cell], {"cell": cell}]}
    written = codec.encode_shared(many)
    assert written.count(b"numbers") == 2 and len(written) < 3_500
    back = codec.decode(written)
    assert back == many == codec.bare(written)
    assert len({id(item) for item in back["cells"]}) == 2
    assert codec.encode_shared([[1], [1]]) == codec.encode([[1], [1]])


def test_equal_values_are_encoded_alike_whichever_objects_they_are_made_of() -> None:
    cell = ["x" * 100]
    assert codec.encode([cell, cell]) == codec.encode([cell, ["x" * 100]])


@pytest.mark.parametrize("value", ["abc" * 10, [1] * 40, {"k": ["v" * 20, {"n": 1}]}, [], {}, {"t": (1, 2)}, b"xyz", 7])
def test_longer_is_never_said_of_what_is_short(value: Any) -> None:
    size = len(codec.encode(value))
    assert not codec.is_longer(value, size)
    assert codec.is_longer([value] * 1000, 999) and codec.is_longer("x" * 100, 99)
