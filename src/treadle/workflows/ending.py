"""The end of a build: the last proof, the hand-over, and an honest report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from treadle.agents.brief import Brief
from treadle.agents.frame import usage
from treadle.agents.source import stub
from treadle.agents.testcases import Case
from treadle.agents.trial import Outcome, essence
from treadle.ports.context import NodeContext
from treadle.workflows.crew import Crew, WorkState
from treadle.workflows.escalation import versions
from treadle.workflows.new_project import candidates_of, cases_of, project_files
from treadle.workflows.tactics import choose
from treadle.workspace import CommitNote, History, provenance_trailers

Update = dict[str, Any]


class Ending:
    """The last nodes of a new project."""

    def __init__(self, crew: Crew) -> None:
        self.crew = crew

    async def verify(self, state: WorkState, ctx: NodeContext) -> Update:
        """Prove the result as it will be handed over: tests fail on the stub, pass on the code, and the check passes.

        A test that passed before and fails now is unstable: it is dropped, and what is left is proved again.
        """
        brief, cases = Brief.of(state["brief"]), cases_of(state)
        source = state["candidates"][choose(candidates_of(state), cases)]["source"]
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
            "cases": [case.as_dict() for case in cases],
            "dropped": dropped,
            "move": {"action": "commit" if not reason else "stop", "problem": reason},
        }

    async def _prove(
        self, ctx: NodeContext, key: str, state: WorkState, brief: Brief, source: str, cases: list[Case]
    ) -> dict[str, Any]:
        files = project_files(brief, source, cases) | {"README.md": readme(brief)}
        hollow = {**files, brief.file: stub(source)}
        command = state.get("check")
        workspace = self.crew.workspace

        async def prove() -> dict[str, Any]:
            await workspace.write(state["base"], hollow)
            on_stub = await self.crew.run_tests(brief.test_file)
            tree = await workspace.write(state["base"], files)
            outcome = await self.crew.run_tests(brief.test_file)
            await workspace.restore(tree)
            done = await self.crew.run_command(command) if command else None
            problem = "" if done is None or done["ok"] else essence(done["output"]) or f"Exit code {done['exit_code']}."
            return {"tree": tree, **outcome.as_dict(), "hollow": sorted(on_stub.passed), "check": problem}

        request = {"tool": "prove", "files": files, "command": command}
        proof: dict[str, Any] = await ctx.step(key, prove, kind="tool", request=request)
        return proof

    async def commit(self, state: WorkState, ctx: NodeContext) -> Update:
        """Hand the proved tree over and report."""
        brief = Brief.of(state["brief"])
        note = CommitNote(ctx.run_id, f"Add {brief.file}: {brief.goal}", _body(state, brief), self._trailers(state))
        published = await ctx.step(
            "publish",
            lambda: publish(self.crew, state, note),
            kind="tool",
            request={"tool": "publish", "tree": state["tree"], "run": ctx.run_id},
        )
        return {"report": self._report(state, ctx, solved=True) | published}

    async def give_up(self, state: WorkState, ctx: NodeContext) -> Update:
        """Report why there is no result; the best attempt stays among the snapshots."""
        brief, cases = Brief.of(state["brief"]), cases_of(state)
        source = state["candidates"][choose(candidates_of(state), cases)]["source"]
        files = project_files(brief, source, cases)

        async def keep() -> dict[str, Any]:
            return {"tree": await self.crew.workspace.write(state["base"], files)}

        kept = await ctx.step("keep", keep, kind="tool", request={"tool": "write", "files": files})
        return {"tree": kept["tree"], "report": self._report({**state, "tree": kept["tree"]}, ctx, solved=False)}

    def _trailers(self, state: WorkState) -> dict[str, str]:
        return provenance(state, self.crew)

    def _report(self, state: WorkState, ctx: NodeContext, *, solved: bool) -> Update:
        brief = Brief.of(state["brief"])
        report = base_report(state, self.crew, solved=solved)
        return report | {
            "files": [brief.file, brief.test_file],
            "tests": len(state["cases"]),
            "dropped": state["dropped"],
            "assumptions": list(brief.assumptions),
        }


def base_report(state: WorkState, crew: Crew, *, solved: bool) -> Update:
    """What every report says, whatever was built."""
    store = crew.workspace.snapshots.git_dir
    return {
        "solved": solved,
        "reason": "" if solved else str(state.get("move", {}).get("problem", "")) or "The rounds are used up.",
        "rounds": state.get("round", 0),
        "tokens": state.get("tokens", 0),
        "cost": round(state.get("cost", 0.0), 6),
        "model": ", ".join(state.get("models", [])) or crew.tiers[0].model_name,
        "versions": versions(crew, state["candidates"]),
        "check": state.get("check") or "",
        "tree": state["tree"],
        "see": f"mkdir attempt && git --git-dir {store} archive {state['tree']} | tar -x -C attempt",
    }


async def publish(crew: Crew, state: WorkState, note: CommitNote) -> dict[str, str]:
    """Hand a build with one result over: one commit on top of what it began from."""
    tip = await History(crew.workspace.snapshots, note.run_id).one(state["base"], state["tree"], note)
    return asdict(await crew.publisher.publish(tip, note.run_id))


def provenance(state: WorkState, crew: Crew) -> dict[str, str]:
    """The trailers of a commit: which task, model and prompts made it, and for how many tokens."""
    return provenance_trailers(
        task=str(state["plan"][0]["id"]),
        models=state.get("models", []) or [crew.tiers[0].model_name],
        prompts=crew.prompts.digest()[:16],
        tokens=state.get("tokens", 0),
        cost=state.get("cost", 0.0),
    )


def readme(brief: Brief) -> str:
    """Write the README of a new project."""
    title = brief.file.removesuffix(".py").rpartition("/")[2].replace("_", " ").capitalize()
    goal = " ".join(brief.goal.split("```")[0].split()).rstrip(".:") or title
    used = usage(brief) if brief.is_program else f"`from {brief.module} import {', '.join(brief.names)}`"
    return f"# {title}\n\n{goal}.\n\n## Use\n\n{used}\n\n## Test\n\n`python -m pytest`\n"


def _body(state: WorkState, brief: Brief) -> str:
    tests, dropped = len(state["cases"]), len(state["dropped"])
    said = f"{tests} tests in {brief.test_file} failed on a stub of the code and pass on the code."
    if dropped:
        said += f" {dropped} generated test{'s were' if dropped > 1 else ' was'} dropped."
    if state.get("check"):
        said += f"\nThe check passes: {state['check']}"
    return said


def _shortcoming(cases: list[Case], proof: Mapping[str, Any]) -> str:
    outcome = Outcome.of(proof)
    if proof["check"]:
        return f"The acceptance check fails: {proof['check']}"
    if not cases:
        return "No test is left that fails on a stub and passes on the code."
    if outcome.broken:
        return outcome.broken
    failed = [case.name for case in cases if case.name not in outcome.passed]
    if failed:
        return f"{failed[0]}: {outcome.failed.get(failed[0], 'did not run')}"
    hollow = [case.name for case in cases if case.name in proof["hollow"]]
    return f"{hollow[0]} passes on a stub of the code." if hollow else ""
