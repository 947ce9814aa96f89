"""Agents of the user's own: classes with execute(), files with front matter, and where they are found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from treadle import Orchestrator, RunOptions
from treadle.agents import Agent, AgentRegistry, AgentSpec
from treadle.agents.ask import Asker
from treadle.agents.custom import custom_graph
from treadle.agents.spec import parse_agent
from treadle.errors import ConfigError, ModelUnavailable, RunFailed, UnknownName, UsageError
from treadle.models.adapters.scripted import ScriptedModel
from treadle.ports.context import NodeContext


class SummarizerAgent(Agent):
    def __init__(self) -> None:
        super().__init__(agent_type="summarizer", tools=[])

    def execute(self, input_data: dict[str, Any], user_id_hash: str | None = None) -> dict[str, Any]:
        return {"summary": self._call_llm(f"Summarize: {input_data['text']}"), "user": user_id_hash}


class TwoStepAgent(Agent):
    """Asks twice, and then once more."""

    async def execute(self, input_data: dict[str, Any], ctx: NodeContext) -> str:  # type: ignore[override]
        first = await self._call_llm("one", system="You count.")
        return f"{first}, {await self._call_llm('two')} in {ctx.activation}"


async def run(agent: Agent, model: ScriptedModel, state: dict[str, Any], *, fails: bool = False) -> dict[str, Any]:
    async def asker(ctx: NodeContext) -> Asker:
        return Asker(ctx, model, "m")

    async with Orchestrator() as orchestrator:
        graph = custom_graph(agent, asker)
        if fails:
            with pytest.raises(RunFailed):
                await orchestrator.execute(graph, state, options=RunOptions(run_id="r"))
            await orchestrator.retry("r")
            return (await orchestrator.wait("r")).to_dict()
        return (await orchestrator.execute(graph, state)).to_dict()


async def test_a_sync_agent_asks_its_model() -> None:
    model = ScriptedModel(["Short."])
    result = await run(SummarizerAgent(), model, {"text": "Long."})
    assert result == {"text": "Long.", "summary": "Short.", "user": None}
    assert [message.content for message in model.requests[0].messages] == ["Summarize: Long."]


async def test_an_async_agent_is_asked_nothing_twice_after_a_failure() -> None:
    model = ScriptedModel(["1", ModelUnavailable("gone"), "2"])
    result = await run(TwoStepAgent(), model, {}, fails=True)
    assert result == {"output": "1, 2 in execute"}
    assert [request.messages[-1].content for request in model.requests] == ["one", "two", "two"]
    assert model.requests[0].messages[0].content == "You count."


def test_names_and_descriptions_come_from_the_class() -> None:
    agent = TwoStepAgent()
    assert (agent.name, agent.description) == ("two_step", "Asks twice, and then once more.")


def test_asking_outside_of_an_execution_is_refused() -> None:
    with pytest.raises(UsageError, match=r"outside execute"):
        SummarizerAgent()._call_llm("hello")


def test_an_execute_that_wants_more_than_it_is_given_is_refused() -> None:
    class Greedy(Agent):
        def execute(self, input_data: dict[str, Any], database: Any) -> None:  # type: ignore[override]
            """Never called."""

    async def asker(ctx: NodeContext) -> Asker:
        raise AssertionError

    with pytest.raises(UsageError, match=r"execute\(input_data, database\)"):
        custom_graph(Greedy(), asker)


SPEC = """---
name: librarian
description: Knows the files.
tier: small
tools: [read_file, bash, done]
approvals: {bash: ask}
limits: {steps: 7, tokens: 9000, seconds: 60, money: 0.5}
max_tokens: 300
temperature: 0.2
---

You are a librarian.
"""


def test_a_file_with_front_matter_is_an_agent(tmp_path: Path) -> None:
    (tmp_path / "x.md").write_text(SPEC)
    spec = parse_agent(tmp_path / "x.md")
    assert spec is not None and len(spec.digest) == 64
    assert (spec.name, spec.tier, spec.tools) == ("librarian", "small", ("read_file", "bash", "done"))
    assert (spec.approvals, spec.preamble, spec.temperature) == ({"bash": "ask"}, "You are a librarian.", 0.2)
    assert (spec.max_steps, spec.max_tokens, spec.max_seconds, spec.max_cost) == (7, 9000, 60.0, 0.5)
    assert spec.policy(context=99).max_steps == 7


@pytest.mark.parametrize(
    ("front", "said"),
    [
        ("tools: [read_file]\napprovals: {read_file: perhaps}", "perhaps"),
        ("tools: [read_file]\napprovals: {bash: deny}", "bash"),
        ("tier: huge", "huge"),
        ("limits: {step: 3}", "step"),
        ("name: a b", "cannot be an agent's name"),
        ("nonsense: 1", "nonsense"),
        ("tools: [", "YAML"),
    ],
)
def test_front_matter_that_is_wrong_is_refused_with_what_is_wrong(tmp_path: Path, front: str, said: str) -> None:
    (tmp_path / "x.md").write_text(f"---\n{front}\n---\nYou are.")
    with pytest.raises(ConfigError, match=said):
        parse_agent(tmp_path / "x.md")


def test_a_folder_is_searched_and_what_is_no_agent_is_let_be(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("# Agents of this project\n")
    (tmp_path / "librarian.md").write_text(SPEC)
    (tmp_path / "app.py").write_text("raise SystemExit('of the project, and none of ours')\n")
    (tmp_path / "broken.py").write_text("import treadle\nraise ValueError('oh')\n")
    (tmp_path / "wrong.md").write_text("---\ntier: huge\n---\n")
    (tmp_path / "mine.py").write_text(
        "from treadle.agents import Agent\n\n\n"
        "class Shouter(Agent):\n    def execute(self, input_data):\n        return {}\n"
    )
    registry = AgentRegistry()
    registry.find_in(tmp_path)
    assert [(found.agent.name, found.kind) for found in registry] == [("librarian", "prompt"), ("shouter", "class")]
    assert sorted(Path(place).name for place in registry.broken) == ["broken.py", "wrong.md"]
    with pytest.raises(UsageError, match="ValueError: oh"):
        registry.get("broken")
    with pytest.raises(UnknownName, match="libraria"):
        registry.get("libraria")


def test_agents_of_a_program_are_added_by_hand_and_names_are_unique() -> None:
    registry = AgentRegistry()
    registry.add(SummarizerAgent, TwoStepAgent(), AgentSpec("third"))
    assert [found.agent.name for found in registry] == ["summarizer", "third", "two_step"]
    with pytest.raises(UsageError, match="two agents called 'summarizer'"):
        registry.add(SummarizerAgent())
    with pytest.raises(UsageError, match="no agent"):
        registry.add("summarizer")  # type: ignore[arg-type]


def test_agents_of_installed_packages_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shouting.py").write_text(
        "from treadle.agents import Agent\n\n\n"
        "class Shouter(Agent):\n    def execute(self, input_data):\n        return {}\n"
    )
    about = tmp_path / "shouting-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: shouting\nVersion: 1.0\n")
    points = "[treadle.agents]\nloud = shouting:Shouter\ngone = shouting:Gone\n"
    (about / "entry_points.txt").write_text(points)
    monkeypatch.syspath_prepend(tmp_path)
    registry = AgentRegistry()
    registry.find_installed()
    assert registry.get("shouter").source == "shouting"
    assert "Gone" in registry.broken["shouting:gone"]
    with pytest.raises(UsageError, match="Gone"):
        registry.get("gone")
