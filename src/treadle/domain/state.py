"""State: what flows along the edges of a graph, and how updates are folded into it. Pure."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import Any

from treadle.domain import codec
from treadle.errors import UnknownName, UsageError

Reducer = Callable[[Any, Any], Any]
"""(value so far, update) -> new value. Must be pure, and must not change its arguments."""
Values = dict[str, Any]
_NO_DEFAULT = object()


class Schema:
    """The keys of a graph's state: reducers, defaults, and whether other keys are refused."""

    __slots__ = ("defaults", "keys", "reducers", "source", "wrap")

    def __init__(self, source: Any = None) -> None:
        """Read a TypedDict, dataclass or pydantic model (reducers by `Annotated[type, reducer]`), or a plain mapping
        of key -> reducer or None. None means: any keys, last write wins.
        """
        self.source = source
        self.keys: frozenset[str] | None = None
        self.reducers: dict[str, Reducer] = {}
        self.defaults: dict[str, Callable[[], Any]] = {}
        self.wrap: Callable[[Values], Any] | None = None
        if source is None:
            return
        if isinstance(source, Mapping):
            self.reducers = {key: red for key, red in source.items() if red is not None}
            return
        self._read_class(source)

    def _read_class(self, source: Any) -> None:
        if not isinstance(source, type):
            raise UsageError(f"A state schema must be a class or a mapping, not {source!r}.")
        hints = typing.get_type_hints(source, include_extras=True)
        model_fields = getattr(source, "model_fields", None)
        if model_fields is not None:
            hints = {name: hint for name, hint in hints.items() if name in model_fields}
            self.wrap = lambda values: source(**values)
        self.keys = frozenset(hints)
        for key, hint in hints.items():
            self._read_hint(key, hint)
        if dataclasses.is_dataclass(source):
            self.wrap = lambda values: source(**values)
            self._read_defaults(source)

    def _read_hint(self, key: str, hint: Any) -> None:
        bare = hint
        if typing.get_origin(hint) is typing.Annotated:
            bare, *extras = typing.get_args(hint)
            reducers = [extra for extra in extras if callable(extra)]
            if reducers:
                self.reducers[key] = reducers[-1]
        elif typing.get_origin(hint) in (typing.Required, typing.NotRequired):
            self._read_hint(key, typing.get_args(hint)[0])
            return
        base = typing.get_origin(bare) or bare
        if key in self.reducers and base in (list, dict, set, str, int, float, tuple):
            self.defaults[key] = base
        codec.register_annotation(bare)

    def _read_defaults(self, source: Any) -> None:
        for field in dataclasses.fields(source):
            if field.default_factory is not dataclasses.MISSING:
                self.defaults[field.name] = field.default_factory
            elif field.default is not dataclasses.MISSING:
                self.defaults[field.name] = _constant(field.default)

    def initial(self, values: Any) -> Values:
        """Turn what the caller gave into the first state. Raises UnknownName for a key that the schema lacks."""
        update = self.as_update(values, "The first state is")
        self.check_keys(update)
        return self.apply({}, update)

    def as_update(self, values: Any, what: str = "A node returned") -> Values:
        """Turn what a node returned (mapping, None, dataclass or model) into a plain update."""
        if values is None:
            return {}
        if type(values) is dict:
            return values
        if isinstance(values, State):
            return values.to_dict()
        if isinstance(values, Mapping):
            return dict(values)
        if dataclasses.is_dataclass(values) and not isinstance(values, type):
            return {f.name: getattr(values, f.name) for f in dataclasses.fields(values)}
        if hasattr(values, "model_fields_set"):
            return {name: getattr(values, name) for name in values.model_fields_set}
        raise UsageError(
            f"{what} {type(values).__name__}; a mapping was expected.",
            hint="Give a dict such as {'key': value}, or None; a node may also return a Command.",
        )

    def check_keys(self, update: Values) -> None:
        """Raise UnknownName for a key that the schema does not declare."""
        if self.keys is not None:
            for key in update:
                if key not in self.keys:
                    raise UnknownName("state key", key, self.keys)

    def apply(self, state: Values, update: Values) -> Values:
        """Fold one update into a state; returns a new mapping, changes neither argument."""
        if not update:
            return state
        new = state.copy()
        self.fold_into(new, update)
        return new

    def fold_into(self, state: Values, update: Values) -> None:
        """Fold one update into a state in place; the values that it holds are not changed."""
        reducers = self.reducers
        if not reducers:
            state.update(update)
            return
        for key, value in update.items():
            reducer = reducers.get(key)
            if reducer is None:
                state[key] = value
            elif key in state:
                state[key] = reducer(state[key], value)
            elif key in self.defaults:
                state[key] = reducer(self.defaults[key](), value)
            else:
                state[key] = value

    def view(self, values: Values, run_id: str) -> Any:
        """What a node is given: a State, or an instance of the declared dataclass or model."""
        if self.wrap is None:
            return State(values, workflow_id=run_id)
        filled = {key: make() for key, make in self.defaults.items()} | values if self.defaults else values
        return self.wrap(filled)


def _constant(value: Any) -> Callable[[], Any]:
    return lambda: value


@dataclasses.dataclass(frozen=True, slots=True)
class Checkpoint:
    """A copy of a state, taken at a node."""

    workflow_id: str
    node: str
    data: bytes


class State(MutableMapping[str, Any]):
    """The state of one run, as a node sees it: a mapping. Changes reach the run only through what a node returns."""

    __slots__ = ("_values", "workflow_id")

    def __init__(self, data: Mapping[str, Any] | None = None, *, workflow_id: str = "") -> None:
        self._values: Values = dict(data) if data else {}
        self.workflow_id = workflow_id

    def __getitem__(self, key: str) -> Any:
        return self._values[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self._values[key] = value

    def __delitem__(self, key: str) -> None:
        del self._values[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, key: object) -> bool:
        return key in self._values

    def get(self, key: str, default: Any = None) -> Any:
        return self._values.get(key, default)

    def __repr__(self) -> str:
        return f"State({self._values!r}, workflow_id={self.workflow_id!r})"

    def __eq__(self, other: object) -> bool:
        if isinstance(other, State):
            return self._values == other._values
        return isinstance(other, Mapping) and self._values == dict(other)

    __hash__ = None  # type: ignore[assignment]  # mutable

    def to_dict(self) -> Values:
        """A shallow copy of the values."""
        return dict(self._values)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], *, workflow_id: str = "") -> State:
        return cls(data, workflow_id=workflow_id)

    def checkpoint(self, node: str) -> Checkpoint:
        """Copy the state faithfully (deeply). Raises CodecError for values that have no form in the log."""
        return Checkpoint(self.workflow_id, node, codec.encode_shared(self._values))

    def restore_from_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Put every value back to what it was at the checkpoint."""
        self._values = codec.decode(checkpoint.data)
        self.workflow_id = checkpoint.workflow_id
