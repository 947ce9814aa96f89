"""The work on one task: how it begins, how a file is proved, and what it leaves. The loop between is elsewhere.

Every task ends with an `outcome`, also when it was not solved.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from treadle.agents.brief import Brief
from treadle.agents.source import interface, stub
from treadle.agents.testcases import Case
from treadle.agents.trial import Outcome, essence
from treadle.domain.plan import PlannedTask
from treadle.ports.context import NodeContext
from treadle.workflows.crew import Crew, WorkState
from treadle.workflows.escalation import versions
from treadle.workflows.new_project import candidates_of, cases_of, project_files
from treadle.workflows.readme import readme
from treadle.workflows.tactics import NOTHING_TOLD, choose, telling
from treadle.workspace import provenance_trailers

Update = dict[str, Any]
_MAX_BESIDE = 12
"""Files of which a prompt tells."""


class Task:
    """The first and the last nodes of a task, over a crew in the task's own room."""

    def __init__(self, crew: Crew) -> None:
        self.crew = crew

    async def begin(self, state: WorkState, ctx: NodeContext) -> Update:
        """See what is there already, and begin in the tier that the plan names.

        A goal alone is a task, too, and begins with nothing.
        """
        if not state.get("task"):
            empty = await self.crew.workspace.empty()
            task = msgspec.to_builtins(PlannedTask("t1", state["goal"]))
            state = {**state, "task": task, "alone": True, "base": empty}
        tier = next((n for n, tier in enumerate(self.crew.tiers) if tier.name == state["task"]["tier"]), 0)
        snapshots, base = self.crew.workspace.snapshots, state["base"]
        paths = [path for path in await snapshots.files(base) if path.endswith(".py") and not _is_test(path)]
        beside = {path: _offered(await snapshots.read(base, path) or "") for path in paths[:_MAX_BESIDE]}
        began = {"tokens": state.get("tokens", 0), "cost": state.get("cost", 0.0), "tier": self.crew.tiers[tier].name}
        elsewhere = {"work_queue": self.crew.tiers[tier].queue} if state.get("queue") else {}
        known = {key: state[key] for key in ("task", "alone", "base")}
        return {**known, "tier": tier, "tree": base, "beside": beside, "began": began, "round": 0, **elsewhere}

    async def prove(self, state: WorkState, ctx: NodeContext) -> Update:
        """Prove the files as they will be handed over: tests fail on the stub, pass on the code, and the check passes.

        A test that passed before and fails now is unstable: it is dropped, and what is left is proved again.
        """
        brief, cases = Brief.of(state["brief"]), cases_of(state)
        best = choose(candidates_of(state), cases)
        source = state["candidates"][best]["source"]
        dropped = list(state["dropped"])
        for attempt in range(2):
            proof = await self._prove(ctx, f"proof.{attempt}", state, brief, source, cases)
            unstable = {case.name for case in cases if case.name not in proof["passed"] or case.name in proof["hollow"]}
            if not unstable or len(unstable) == len(cases) or proof["check"]:
                break
            dropped += [{"name": name, "why": "passes and fails in turn"} for name in sorted(unstable)]
            cases = [case for case in cases if case.name not in unstable]
        reason = _shortcoming(cases, proof)
        if reason:
            ctx.log(f"Not proved: {reason}")
        return {
            "tree": proof["tree"],
            "proved": best,
            "cases": [case.as_dict() for case in cases],
            "dropped": dropped,
            "coverage": proof.get("coverage"),
            "move": {"action": "stop" if reason else "review", "problem": reason},
        }

    async def _prove(
        self, ctx: NodeContext, key: str, state: WorkState, brief: Brief, source: str, cases: list[Case]
    ) -> dict[str, Any]:
        files = project_files(brief, source, cases)
        if state.get("alone") and not await self.crew.workspace.read(state["base"], "README.md"):
            files["README.md"] = readme(brief)
        hollow = {**files, brief.file: stub(source)}
        command = state.get("check")
        workspace = self.crew.workspace

        async def prove() -> dict[str, Any]:
            await workspace.write(state["base"], hollow)
            on_stub = await self.crew.run_tests(brief.test_file)
            tree = await workspace.write(state["base"], files)
            outcome = await self.crew.run_tests(brief.test_file)
            await workspace.restore(tree)
            reached = None if brief.is_program or outcome.failed else await self.crew.coverage(brief)
            done = await self.crew.run_command(command) if command else None
            problem = "" if done is None or done["ok"] else essence(done["output"]) or f"Exit code {done['exit_code']}."
            return {"tree": tree, **outcome.as_dict(), "hollow": sorted(on_stub.passed), "check": problem} | {
                "coverage": reached
            }

        request = {"tool": "prove", "files": files, "command": command}
        proof: dict[str, Any] = await ctx.step(key, prove, kind="tool", request=request)
        return proof

    async def finish(self, state: WorkState, ctx: NodeContext) -> Update:
        """Say what came of it: a proved tree, and what its commit will tell."""
        brief = Brief.of(state["brief"])
        note = {
            "subject": f"Add {brief.file}: {brief.goal if state.get('alone') else state['task']['title']}",
            "body": _body(state, brief),
            "trailers": trailers(state, self.crew),
        }
        made = outcome(state, self.crew, ok=True) | {"note": note, "files": [brief.file, brief.test_file]}
        return {"outcomes": [made | {"brief": brief.as_dict(), "assumptions": list(brief.assumptions)}]}

    async def abandon(self, state: WorkState, ctx: NodeContext) -> Update:
        """Say why it was not solved; the best attempt stays among the snapshots."""
        brief, cases = Brief.of(state["brief"]), cases_of(state)
        source = state["candidates"][choose(candidates_of(state), cases)]["source"]
        files = project_files(brief, source, cases)

        async def keep() -> dict[str, Any]:
            return {"tree": await self.crew.workspace.write(state["base"], files)}

        kept = await ctx.step("keep", keep, kind="tool", request={"tool": "write", "files": files})
        made = outcome({**state, "tree": kept["tree"]}, self.crew, ok=False)
        made |= {"files": [brief.file, brief.test_file], "assumptions": list(brief.assumptions)}
        return {"outcomes": [made]}


def outcome(state: WorkState, crew: Crew, *, ok: bool) -> Update:
    """What became of a task, whatever it made: the tree that it leaves, and what that took."""
    reason = "" if ok else str(state.get("move", {}).get("problem", "")) or "The rounds are used up."
    began = state["began"]
    return {
        "task": state["task"]["id"],
        "ok": ok,
        "reason": reason,
        "base": state["base"],
        "tree": state["tree"],
        "rounds": state.get("round", 0),
        "tests": len(state.get("cases", [])),
        "dropped": list(state.get("dropped", [])),
        "coverage": state.get("coverage"),
        "versions": versions(crew, state.get("candidates", [])),
        "tokens": state.get("tokens", 0) - began["tokens"],
        "cost": round(state.get("cost", 0.0) - began["cost"], 6),
        "tier": crew.tiers[state.get("tier", 0)].name,
        "began": began["tier"],
        "review": state.get("review", {}),
        "assumptions": [],
        "files": [],
    }


def trailers(state: WorkState, crew: Crew) -> dict[str, str]:
    """What a commit tells of its origin."""
    began = state["began"]
    return provenance_trailers(
        task=str(state["task"]["id"]),
        models=_authors(state) or [crew.tiers[0].model_name],
        prompts=", ".join(state.get("prompts", [])),
        tokens=state.get("tokens", 0) - began["tokens"],
        cost=state.get("cost", 0.0) - began["cost"],
        review=str((state.get("review") or {}).get("verdict", "")),
    )


def _authors(state: WorkState) -> list[str]:
    made = [str(candidate["model"]) for candidate in state["candidates"] if candidate["model"]]
    return sorted(set(made)) or state.get("models", [])


def _is_test(path: str) -> bool:
    return path.rpartition("/")[2].startswith("test_")


def _offered(source: str) -> str:
    try:
        return interface(source)
    except (SyntaxError, ValueError):
        return ""


def _body(state: WorkState, brief: Brief) -> str:
    tests, dropped = len(state["cases"]), len(state["dropped"])
    said = f"{tests} tests in {brief.test_file} failed on a stub of the code and pass on the code."
    if dropped:
        said += f" {dropped} generated test{'s were' if dropped > 1 else ' was'} dropped."
    if state.get("check"):
        said += f"\nThe check passes: {state['check']}"
    return said


def _shortcoming(cases: list[Case], proof: Mapping[str, Any]) -> str:
    found = Outcome.of(proof)
    if proof["check"]:
        return f"The acceptance check fails: {proof['check']}"
    if not telling(cases):
        return NOTHING_TOLD
    if found.broken:
        return found.broken
    failed = [case.name for case in cases if case.name not in found.passed]
    if failed:
        return f"{failed[0]}: {found.failed.get(failed[0], 'did not run')}"
    hollow = [case.name for case in cases if case.name in proof["hollow"]]
    return f"{hollow[0]} passes on a stub of the code." if hollow else ""
