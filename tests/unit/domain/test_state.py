"""Schemas: reducers, defaults and keys from whatever declares them; State as a mapping with checkpoints."""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Mapping
from typing import Annotated, Any, NotRequired, Required, TypedDict

import pydantic
import pytest

from treadle.domain.state import Schema, State
from treadle.errors import CodecError, UnknownName, UsageError


def longest(so_far: str, new: str) -> str:
    return max(so_far, new, key=len)


class Typed(TypedDict, total=False):
    notes: Annotated[list[str], operator.add]
    title: str
    best: Required[Annotated[str, longest]]
    seen: NotRequired[Annotated[set[int], operator.or_]]


@dataclasses.dataclass
class Data:
    notes: Annotated[list[str], operator.add] = dataclasses.field(default_factory=lambda: ["first"])
    title: str = "untitled"
    count: Annotated[int, operator.add] = 0


class Model(pydantic.BaseModel):
    notes: Annotated[list[str], operator.add] = []
    title: str = "untitled"


@pytest.mark.parametrize(
    ("source", "keys"),
    [
        (Typed, {"notes", "title", "best", "seen"}),
        (Data, {"notes", "title", "count"}),
        (Model, {"notes", "title"}),
    ],
)
def test_a_class_declares_keys_and_reducers(source: type, keys: set[str]) -> None:
    schema = Schema(source)
    assert schema.keys == keys
    assert schema.reducers["notes"] is operator.add
    assert "title" not in schema.reducers


def test_a_plain_mapping_declares_reducers_and_leaves_other_keys_free() -> None:
    schema = Schema({"notes": operator.add, "title": None})
    assert schema.keys is None
    assert schema.apply({"notes": [1]}, {"notes": [2], "any": 3}) == {"notes": [1, 2], "any": 3}


def test_without_a_declaration_the_last_write_wins() -> None:
    assert Schema().apply({"a": 1, "b": 1}, {"b": 2, "c": 3}) == {"a": 1, "b": 2, "c": 3}


def test_applying_changes_neither_argument() -> None:
    schema = Schema(Typed)
    state: dict[str, Any] = {"notes": ["a"], "title": "t"}
    update = {"notes": ["b"], "title": "u"}
    assert schema.apply(state, update) == {"notes": ["a", "b"], "title": "u"}
    assert state == {"notes": ["a"], "title": "t"}
    assert update == {"notes": ["b"], "title": "u"}


def test_a_key_with_a_reducer_starts_from_its_types_empty_value() -> None:
    schema = Schema(Typed)
    assert schema.apply({}, {"notes": ["a"], "seen": {1}, "best": "x"}) == {"notes": ["a"], "seen": {1}, "best": "x"}


def test_a_dataclass_gives_its_own_defaults() -> None:
    schema = Schema(Data)
    assert schema.initial({"notes": ["more"]}) == {"notes": ["first", "more"]}
    view = schema.view({"count": 2}, "r")
    assert view == Data(["first"], "untitled", 2)


def test_a_default_is_made_anew_each_time() -> None:
    schema = Schema(Data)
    schema.view({}, "r").notes.append("spoilt")
    assert schema.view({}, "r").notes == ["first"]


def test_a_node_sees_an_instance_of_what_was_declared() -> None:
    assert Schema(Model).view({"title": "t"}, "r") == Model(title="t")
    assert Schema(Data).view({"title": "t"}, "r").title == "t"
    view = Schema(Typed).view({"title": "t"}, "run-1")
    assert isinstance(view, State)
    assert view.workflow_id == "run-1"


@pytest.mark.parametrize(
    ("returned", "update"),
    [
        (None, {}),
        ({"a": 1}, {"a": 1}),
        (State({"a": 1}), {"a": 1}),
        (Data(["x"], "t", 3), {"notes": ["x"], "title": "t", "count": 3}),
        (Model(title="t"), {"title": "t"}),
    ],
)
def test_what_a_node_returns_becomes_an_update(returned: Any, update: Mapping[str, Any]) -> None:
    assert Schema().as_update(returned) == update


@pytest.mark.parametrize("returned", ["text", 3, ["a"], ("a", 1), Data])
def test_anything_else_that_a_node_returns_is_refused(returned: Any) -> None:
    with pytest.raises(UsageError, match="a mapping was expected"):
        Schema().as_update(returned)


def test_an_undeclared_key_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(UnknownName) as caught:
        Schema(Typed).check_keys({"titel": "x"})
    assert "Did you mean 'title'?" in caught.value.hint


def test_only_a_class_or_a_mapping_declares_a_state() -> None:
    with pytest.raises(UsageError):
        Schema("notes")


# -- State -------------------------------------------------------------------------------------------------------------


def test_a_state_is_a_mapping() -> None:
    state = State({"a": 1}, workflow_id="wf_123")
    state["b"] = [2]
    state.update({"c": 3})
    del state["a"]
    assert (state["b"], state.get("none"), state.get("none", 7), "c" in state, len(state)) == ([2], None, 7, True, 2)
    assert dict(state) == state.to_dict() == {"b": [2], "c": 3}
    assert state == State({"b": [2], "c": 3}) == {"b": [2], "c": 3}
    assert repr(state) == "State({'b': [2], 'c': 3}, workflow_id='wf_123')"
    with pytest.raises(TypeError):
        hash(state)


def test_a_checkpoint_brings_back_every_value_however_deep_it_was_changed() -> None:
    state = State({"a": {"deep": [1]}, "t": (1, 2)}, workflow_id="wf_1")
    checkpoint = state.checkpoint("node")
    state["a"]["deep"].append(2)
    state["new"] = 1
    state.restore_from_checkpoint(checkpoint)
    assert state == {"a": {"deep": [1]}, "t": (1, 2)}
    assert (checkpoint.node, checkpoint.workflow_id) == ("node", "wf_1")
    state["a"]["deep"].append(3)
    state.restore_from_checkpoint(checkpoint)  # and again
    assert state["a"] == {"deep": [1]}


def test_a_checkpoint_of_what_cannot_be_written_is_refused() -> None:
    with pytest.raises(CodecError):
        State({"a": object()}).checkpoint("node")


def test_a_state_survives_its_dictionary() -> None:
    state = State({"a": 1}, workflow_id="wf")
    assert State.from_dict(state.to_dict(), workflow_id="wf") == state
    copy = state.to_dict()
    copy["a"] = 2
    assert state["a"] == 1
