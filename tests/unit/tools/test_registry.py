"""Which tools there are, and which of them an agent gets."""

from __future__ import annotations

from importlib.metadata import Distribution, EntryPoint
from pathlib import Path
from typing import Any

import pytest

from treadle.domain.messages import ToolDefinition
from treadle.errors import UnknownName, UsageError
from treadle.ports.tool import ToolContext, ToolEffects, ToolResult
from treadle.tools import BUILT_IN, ToolRegistry, registry, tool


class Shout:
    """A tool that is a class."""

    name = "shout"
    definition = ToolDefinition("shout", "Say it loud.", {"type": "object", "properties": {"text": {"type": "string"}}})
    effects: ToolEffects = "none"

    def resources(self, args: Any) -> frozenset[str]:
        return frozenset()

    async def call(self, args: Any, context: ToolContext) -> ToolResult:
        return ToolResult(str(args["text"]).upper())


@tool
def whisper(text: str) -> str:
    """Say it quietly."""
    return text.lower()


def names(found: list[Any]) -> list[str]:
    return [tool.name for tool in found]


@pytest.fixture
def tools() -> ToolRegistry:
    made = ToolRegistry()
    made.add(*BUILT_IN)
    made.add(Shout())
    made.add(whisper, is_off=True)
    return made


def test_star_stands_for_all_but_those_that_are_asked_for_by_name(tools: ToolRegistry) -> None:
    assert names(tools.choose()) == [*(one.name for one in BUILT_IN), "shout"]
    assert not tools.is_enabled("whisper")
    tools.enabled = ("*", "whisper")
    assert names(tools.choose())[-1] == "whisper"
    assert names(tools.choose(["*", "whisper"]))[0] == "whisper"


def test_agent_gets_what_it_asks_for_as_far_as_that_is_enabled(tools: ToolRegistry) -> None:
    assert names(tools.choose(["done", "bash", "read_file"])) == ["done", "bash", "read_file"]
    tools.enabled = ("read_file", "done")
    assert names(tools.choose(["done", "bash", "read_file"])) == ["done", "read_file"]


def test_one_agent_can_be_limited_further_and_never_widened(tools: ToolRegistry) -> None:
    tools.enabled = ("read_file", "write_file", "done")
    tools.agents = {"documentation": ("read_file", "bash", "done")}
    assert names(tools.choose(agent="documentation")) == ["read_file", "done"]
    assert names(tools.choose(agent="code_general")) == ["read_file", "write_file", "done"]


def test_name_that_no_tool_has_is_an_error_wherever_it_stands(tools: ToolRegistry) -> None:
    with pytest.raises(UnknownName) as caught:
        tools.choose(["raed_file"])
    assert "read_file" in caught.value.hint
    tools.enabled = ("bahs",)
    with pytest.raises(UnknownName):
        tools.choose()


def test_second_tool_of_a_name_and_what_is_no_tool_are_refused(tools: ToolRegistry) -> None:
    with pytest.raises(UsageError, match="two tools"):
        tools.add(Shout())
    with pytest.raises(UsageError, match="is no tool"):
        tools.add(object())  # type: ignore[arg-type]


def test_tools_of_installed_packages_are_found_and_broken_ones_stop_no_other(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    info = tmp_path / "loud_tools-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: loud-tools\nVersion: 1.0\n")
    module = "tests.unit.tools.test_registry"
    (info / "entry_points.txt").write_text(
        f"[treadle.tools]\nshout = {module}:Shout\nquiet = {module}:whisper\n"
        f"bash = {module}:Path\ngone = {module}:gone\n"
    )
    distribution = Distribution.at(info)

    def installed(*, group: str) -> list[EntryPoint]:
        return [point for point in distribution.entry_points if point.group == group]

    monkeypatch.setattr(registry, "entry_points", installed)
    tools = ToolRegistry()
    tools.add(*BUILT_IN)
    tools.find_installed()
    assert {"shout", "whisper"} <= set(tools.found) and tools.found["shout"].package == "loud-tools"
    assert not tools.is_enabled("shout")  # installing a package gives agents nothing yet
    assert set(tools.broken) == {"bash", "gone"}
    assert "is no tool" in tools.broken["bash"] and "AttributeError" in tools.broken["gone"]
