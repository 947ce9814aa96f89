"""Values to bytes and back, faithfully: a closed, versioned registry of types. Nothing here does I/O.

Plain JSON values are written as they are. Every other type is written as `{"$t": tag, "v": value}`. A type that is not
registered fails at the write, loudly; nothing is ever turned into something else on the way.

A list or dict that occurs several times in one value may be written once, as `{"$t": "shares", "v": [[...], value]}`:
in `value`, and in later ones of the list, `{"$t": "same", "v": n}` stands for number n of the list.
"""

from __future__ import annotations

import base64
import dataclasses
import enum
import hashlib
import math
import sys
import typing
import uuid
from collections.abc import Callable, Collection, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, TypeVar

import msgspec

from treadle.errors import CodecError


def _full_name(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


C = TypeVar("C", bound=type)
MARK = "$t"
_STRING = frozenset({str})
_ALWAYS_PLAIN = frozenset({str, bool, type(None)})
_SCALARS = _ALWAYS_PLAIN | {int, float}
_MAX_INT = 2**63 - 1
_WORTH_SHARING = 64
"""Bytes; what is shorter is written again."""
_encode_json = msgspec.json.Encoder().encode
_decode_json = msgspec.json.Decoder().decode


class _Entry(NamedTuple):
    tag: str
    pack: Callable[[Any], Any]
    unpack: Callable[[Any], Any]
    owner: str = ""
    """Full name of the class: one that is defined again, as in a notebook, takes the place of the old one."""


_by_type: dict[type, _Entry] = {}
_by_tag: dict[str, _Entry] = {}


def _add(cls: type, tag: str, pack: Callable[[Any], Any], unpack: Callable[[Any], Any]) -> None:
    known = _by_tag.get(tag)
    if known is not None and known.owner != _full_name(cls):
        raise CodecError(f"The type tag {tag!r} is taken by another type.", hint="Give register_type() another name.")
    entry = _Entry(tag, pack, unpack, _full_name(cls))
    _by_type[cls] = entry
    _by_tag[tag] = entry


def register_type(
    cls: C | None = None, *, name: str | None = None, version: int = 1, upgrade: Callable[[int, Any], Any] | None = None
) -> Any:
    """Let values of an enum, dataclass, NamedTuple, msgspec Struct or pydantic model into state and log.

    Usable as a decorator. `name` is what the log calls the type (default: its qualified name), so a class can move.
    Older versions are read through `upgrade(old_version, plain_fields) -> plain_fields`.

    Raises:
        CodecError: The class is none of these, or the name is taken.
    """
    if cls is None:
        return lambda c: register_type(c, name=name, version=version, upgrade=upgrade)
    tag = name or _full_name(cls)
    pack, unpack = _shape(cls)
    _add(cls, f"{tag}@{version}", pack, unpack)
    for old in range(1, version):
        _by_tag[f"{tag}@{old}"] = _Entry(tag, pack, _upgrading(unpack, upgrade, old, tag))
    return cls


def _upgrading(
    unpack: Callable[[Any], Any], upgrade: Callable[[int, Any], Any] | None, old: int, tag: str
) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        if upgrade is None:
            raise CodecError(
                f"A value of {tag!r} version {old} cannot be read.", hint="Pass upgrade= to register_type."
            )
        return unpack(upgrade(old, value))

    return read


def _shape(cls: type) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    if issubclass(cls, enum.Flag):
        return (lambda v: v.value), cls
    if issubclass(cls, enum.Enum):
        return (lambda v: v.name), (lambda v: cls[v])
    if dataclasses.is_dataclass(cls):
        names = [f.name for f in dataclasses.fields(cls)]
        return (lambda v: {n: to_plain(getattr(v, n)) for n in names}), (lambda v: _rebuild(cls, v))
    if issubclass(cls, tuple) and hasattr(cls, "_fields"):
        return (lambda v: [to_plain(x) for x in v]), (lambda v: cls(*map(from_plain, v)))
    if issubclass(cls, msgspec.Struct):
        return (
            lambda v: {n: to_plain(getattr(v, n)) for n in cls.__struct_fields__},
            lambda v: cls(**{k: from_plain(x) for k, x in v.items()}),
        )
    if hasattr(cls, "model_dump") and hasattr(cls, "model_validate"):  # pydantic, without importing it
        model: Any = cls
        return (
            lambda v: {n: to_plain(getattr(v, n)) for n in (*model.model_fields, *(v.model_extra or ()))},
            lambda v: model.model_construct(**{k: from_plain(x) for k, x in v.items()}),  # it was valid when written
        )
    raise CodecError(f"{cls.__qualname__} is not an enum, dataclass, NamedTuple, Struct or pydantic model.")


def _rebuild(cls: Any, fields: dict[str, Any]) -> Any:
    known = [f for f in dataclasses.fields(cls) if f.name in fields]
    made = cls(**{f.name: from_plain(fields[f.name]) for f in known if f.init})
    for f in known:
        if not f.init:
            object.__setattr__(made, f.name, from_plain(fields[f.name]))
    return made


def register_annotation(annotation: Any) -> None:
    """Register the types that a state annotation names, so that declaring them in the state is enough."""
    for part in (annotation, *typing.get_args(annotation)):
        if isinstance(part, type) and part not in _by_type and typing.get_origin(part) is None:
            try:
                _shape(part)
            except CodecError:
                continue
            register_type(part)
            hints = typing.get_type_hints(part) if not issubclass(part, enum.Enum) else {}
            for hint in hints.values():
                register_annotation(hint)
        elif part is not annotation:
            register_annotation(part)


class _Seen(dict[int, Any]):
    """What was met by identity, as it is written; what is met again is worth writing apart if it is long."""

    __slots__ = ("apart", "shared")

    def __init__(self, *, apart: bool) -> None:
        self.apart = apart
        self.shared: list[msgspec.Raw] = []


def to_plain(value: Any, seen: _Seen | None = None) -> Any:
    """Turn a value into JSON-ready form. Raises CodecError for a type that is not registered.

    Given `seen`, what occurs again is encoded once; the result is then fit for writing only.
    """
    cls = type(value)
    if cls is str or value is None or cls is bool:
        return value
    if cls is int:
        return value if -_MAX_INT <= value <= _MAX_INT else {MARK: "int", "v": str(value)}
    if cls is float:
        return value if math.isfinite(value) else {MARK: "float", "v": repr(value)}
    if cls is dict:
        return _plain_dict(value) if seen is None else _once(value, seen, _plain_dict)
    if cls is list:
        return _plain_list(value) if seen is None else _once(value, seen, _plain_list)
    if cls is tuple:
        return {MARK: "tuple", "v": [to_plain(item) for item in value]}
    entry = _by_type.get(cls) or _late(value)
    return {MARK: entry.tag, "v": entry.pack(value)}


def _once(value: Any, seen: _Seen, plain_of: Callable[[Any, _Seen], Any]) -> Any:
    found = seen.get(id(value))
    if found is None:
        found = seen[id(value)] = plain_of(value, seen)
    elif type(found) is not msgspec.Raw:
        written = _encode_json(found)
        if seen.apart and len(written) > _WORTH_SHARING:
            seen.shared.append(msgspec.Raw(written))
            written = b'{"$t":"same","v":%d}' % (len(seen.shared) - 1)
        found = seen[id(value)] = msgspec.Raw(written)
    return found


def _plain_list(value: list[Any], seen: _Seen | None = None) -> Any:
    if _is_plain(value):
        return list(value)
    if seen is None:
        return [to_plain(item) for item in value]
    return [met if type(met := seen.get(id(item))) is msgspec.Raw else to_plain(item, seen) for item in value]


def _is_plain(values: Collection[Any]) -> bool:
    """Whether these are all short scalars, which stay as they are. Far quicker than to ask of each by itself."""
    kinds = set(map(type, values))
    if kinds <= _ALWAYS_PLAIN:
        return True
    return kinds <= _SCALARS and all(
        -_MAX_INT <= value <= _MAX_INT for value in values if type(value) is int or type(value) is float
    )


def is_longer(value: Any, size: int) -> bool:
    """Whether `encode` surely makes more than `size` bytes of the value. Looks no further than it must."""
    return _least(value, size, {}) > size


def _least(value: Any, enough: int, known: dict[int, int]) -> int:
    cls = type(value)
    if cls is str or cls is bytes:
        return len(value)
    if cls is not dict and cls is not list and cls is not tuple:
        return 0
    least = known.get(id(value))
    if least is None:
        least = 2 * len(value) if cls is dict else len(value)
        for item in value.values() if cls is dict else value:
            if least > enough:
                break
            least += _least(item, enough, known)
        known[id(value)] = least
    return least


def _plain_dict(value: dict[Any, Any], seen: _Seen | None = None) -> Any:
    if not _STRING.issuperset(map(type, value)) or MARK in value:
        return {MARK: "map", "v": [[to_plain(key), to_plain(item)] for key, item in value.items()]}
    if _is_plain(value.values()):
        return value.copy()
    if seen is None:
        return {key: to_plain(item) for key, item in value.items()}
    return {
        key: met if type(met := seen.get(id(item))) is msgspec.Raw else to_plain(item, seen)
        for key, item in value.items()
    }


def _late(value: Any) -> _Entry:
    if "numpy" in sys.modules:
        numpy = sys.modules["numpy"]
        if isinstance(value, numpy.ndarray | numpy.generic):
            _register_numpy(numpy)
            return _by_tag["ndarray"] if isinstance(value, numpy.ndarray) else _by_tag["npscalar"]
    name = f"{type(value).__module__}.{type(value).__qualname__}"
    raise CodecError(f"A value of type {name} has no form in the log; nothing was written.")


def _register_numpy(numpy: Any) -> None:
    if "ndarray" in _by_tag:
        return

    def pack(v: Any) -> Any:
        if v.dtype.hasobject:
            raise CodecError("A numpy array of objects has no form in the log; nothing was written.")
        return [v.dtype.str, list(v.shape), base64.b64encode(numpy.ascontiguousarray(v).tobytes()).decode()]

    def unpack(v: Any) -> Any:
        return numpy.frombuffer(base64.b64decode(v[2]), dtype=v[0]).reshape(v[1]).copy()

    _add(numpy.ndarray, "ndarray", pack, unpack)
    _by_tag["npscalar"] = _Entry("npscalar", lambda v: pack(numpy.asarray(v)), lambda v: unpack(v)[()])


def from_plain(value: Any, shared: Sequence[Any] = ()) -> Any:
    """Undo `to_plain`; `shared` is what "same" stands for. Raises CodecError for a tag that is not registered."""
    cls = type(value)
    if cls is dict:
        tag = value.get(MARK)
        if tag is None:
            return {key: from_plain(item, shared) for key, item in value.items()}
        if tag == "same":
            return shared[value["v"]]
        entry = _by_tag.get(tag)
        if entry is None and tag in ("ndarray", "npscalar"):
            _register_numpy(__import__("numpy"))
            entry = _by_tag[tag]
        if entry is None:
            raise CodecError(
                f"The log holds a value of type {tag!r}, which is not registered here; it was not read.",
                hint="Import the module that defines the type, or register it with treadle.register_type.",
            )
        return entry.unpack(value["v"])
    if cls is list:
        return [from_plain(item, shared) for item in value]
    return value


def encode(value: Any) -> bytes:
    """Encode any registered value as JSON bytes, the same for what is equal and in the same order.

    Raises CodecError; nothing is written by halves.
    """
    return _encode_json(to_plain(value, _Seen(apart=False)))


def encode_shared(value: Any) -> bytes:
    """As `encode`, but what occurs several times in it is written once, and is one object again when it is read.

    Shorter and quicker; the bytes depend on what is the same object, not only on what is equal.
    """
    seen = _Seen(apart=True)
    plain = to_plain(value, seen)
    return _encode_json({MARK: "shares", "v": [seen.shared, plain]} if seen.shared else plain)


def decode(data: bytes | msgspec.Raw) -> Any:
    """Undo `encode` and `encode_shared`."""
    return _read(data, from_plain)


def bare(data: bytes | msgspec.Raw) -> Any:
    """Read a recorded value without the types it was made of: for showing, never for going on."""
    return _read(data, _bare)


def _read(data: bytes | msgspec.Raw, read: Callable[[Any, Sequence[Any]], Any]) -> Any:
    plain = _decode_json(data)
    if type(plain) is not dict or plain.get(MARK) != "shares":
        return read(plain, ())
    shared: list[Any] = []
    for item in plain["v"][0]:
        shared.append(read(item, shared))
    return read(plain["v"][1], shared)


def _bare(value: Any, shared: Sequence[Any]) -> Any:
    if type(value) is dict:
        if value.get(MARK) == "same":
            return shared[value["v"]]
        return _bare(value.get("v"), shared) if MARK in value else {k: _bare(x, shared) for k, x in value.items()}
    return [_bare(item, shared) for item in value] if type(value) is list else value


def digest(value: Any) -> str:
    """Name a value by its content: the same for equal values, whatever the order of their keys."""
    return hashlib.sha256(msgspec.json.encode(_in_order(to_plain(value)), order="sorted")).hexdigest()


def _in_order(plain: Any) -> Any:
    """A plain value whose maps, which are lists of pairs, are sorted; its objects are sorted when they are written."""
    if type(plain) is list:
        return [_in_order(item) for item in plain]
    if type(plain) is not dict:
        return plain
    ordered = {key: _in_order(item) for key, item in plain.items()}
    if plain.get(MARK) == "map":
        ordered["v"].sort(key=lambda pair: msgspec.json.encode(pair, order="sorted"))
    return ordered


_add(int, "int", str, int)
_add(float, "float", repr, float)
_add(tuple, "tuple", lambda v: [to_plain(x) for x in v], lambda v: tuple(map(from_plain, v)))
_add(dict, "map", lambda v: [[to_plain(k), to_plain(x)] for k, x in v.items()],
     lambda v: {from_plain(k): from_plain(x) for k, x in v})  # fmt: skip
_add(bytes, "bytes", lambda v: base64.b64encode(v).decode(), base64.b64decode)
_add(set, "set", lambda v: _sorted_items(v), lambda v: set(map(from_plain, v)))
_add(frozenset, "frozenset", lambda v: _sorted_items(v), lambda v: frozenset(map(from_plain, v)))
_add(datetime, "datetime", datetime.isoformat, datetime.fromisoformat)
_add(date, "date", date.isoformat, date.fromisoformat)
_add(time, "time", time.isoformat, time.fromisoformat)
_add(timedelta, "timedelta", lambda v: [v.days, v.seconds, v.microseconds], lambda v: timedelta(*v))
_add(Decimal, "decimal", str, Decimal)
_add(uuid.UUID, "uuid", str, uuid.UUID)
_add(PurePosixPath, "purepath", str, PurePosixPath)
_add(type(Path()), "path", str, Path)
_add(complex, "complex", lambda v: [v.real, v.imag], lambda v: complex(*v))


def _sorted_items(value: Any) -> list[Any]:
    return sorted((to_plain(item) for item in value), key=_encode_json)
