"""The nodes that change files for which no tests can be written: an edit, what can be checked of it, and again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from treadle.agents.amender import (
    Places,
    amend,
    check_form,
    is_about_text,
    likely_places,
    named_places,
    names_code,
)
from treadle.agents.ask import Asker
from treadle.agents.changer import takes_blocks
from treadle.agents.coder import Sampling
from treadle.agents.conventions import read_conventions
from treadle.agents.desk import Desk
from treadle.agents.suite import Suite
from treadle.agents.trial import essence
from treadle.ports.context import NodeContext
from treadle.workflows.crew import Crew, WorkState, spent
from treadle.workflows.escalation import authorship, climb, of_this_tier, rounds_in_tier
from treadle.workflows.reviewing import TreeWorkbench
from treadle.workflows.suites import run_suite
from treadle.workflows.tactics import SAME_AGAIN
from treadle.workflows.task import outcome, trailers

Update = dict[str, Any]
_MOST_ROUNDS = 3
"""What is not proved is soon as good as it gets."""
_NOT_SHOWN = "no test shows that the goal is met: look at the change"


def to_amend(state: WorkState, texts: Mapping[str, str], *, is_code: bool, failing: str = "") -> Update | None:
    """Decide whether a goal is about files that are no Python; the brief and the move then, else None.

    `is_code`: the goal could be met in Python, too; then it has to name the other file. `failing`: the check that
    fails, and what it says.
    """
    files = tuple(state["task"].get("files", ()))
    places = named_places(state["goal"], texts, files)
    is_elsewhere = not places.all or (names_code(state["goal"], texts) and not is_about_text(state["goal"], places))
    if is_code and is_elsewhere:
        return None
    places = places if places.all else likely_places(state["goal"], texts)
    if not places.all:
        return None
    amended = {"paths": list(places.paths), "new": list(places.new), "failing": failing}
    return {"brief": {**state["brief"], "amend": amended}, "move": {"action": "amend", "problem": ""}}


def _whole(state: WorkState) -> str:
    """What a task of several is a part of."""
    whole = "" if state.get("alone") else state["task"].get("brief", {}).get("part_of", "")
    return f"It is a part of this, of which the rest is done by others:\n\n{whole}" if whole else ""


class Amend:
    """Nodes over one crew. A version is the new texts of the files that it touches."""

    def __init__(self, crew: Crew) -> None:
        self.crew = crew

    async def amend(self, state: WorkState, ctx: NodeContext) -> Update:
        """Write a version of the change."""
        plain, asker, settings = state["brief"]["amend"], self.crew.asker(ctx, state), self.crew.settings
        texts = await self.crew.workspace.snapshots.texts(state["base"])
        tier = self.crew.tiers[state.get("tier", 0)]
        edit = await amend(
            Places(tuple(plain["paths"]), tuple(plain["new"])),
            texts,
            self._desk(state, ctx, asker),
            "\n".join(filter(None, [read_conventions(texts).notes(), _whole(state)])),
            sampling=Sampling(len(of_this_tier(state)), settings.seed, settings.temperature),
            blocks=takes_blocks(tier.model_name, tier.name),
            problem=state["move"]["problem"],
            failing=plain["failing"],
        )
        made = {"files": dict(edit.files), "flaw": edit.flaw} | authorship(state, asker.last_model)
        return {"candidates": [*state["candidates"], made], **spent(asker)}

    async def judge(self, state: WorkState, ctx: NodeContext) -> Update:
        """Check the newest version as far as it can be, and decide what follows. By rule."""
        *earlier, last = state["candidates"]
        problem, checked, tree = last["flaw"], list[str](), state["base"]
        if not problem and last["files"] in [candidate["files"] for candidate in earlier]:
            problem = f"{SAME_AGAIN} {state['move']['problem'].removeprefix(SAME_AGAIN)}".strip()
        if not problem:
            problem, checked = await self._form(state, ctx, last["files"])
        if not problem:
            problem, tree, ran = await self._run(state, ctx, last["files"])
            checked += ran
        update: Update = {"candidates": [*earlier, last | {"flaw": problem}]}
        if not problem:
            return update | {
                "tree": tree,
                "brief": {**state["brief"], "checked": checked},
                "move": {"action": "commit", "problem": ""},
            }
        ctx.log(f"Not usable: {problem}")
        climbed = {}
        if rounds_in_tier(state) >= min(self.crew.settings.max_rounds, _MOST_ROUNDS):
            climbed = climb(self.crew, state, ctx, problem)
            if not climbed:
                return update | {"move": {"action": "stop", "problem": problem}}
        return update | {"round": state["round"] + 1, "move": {"action": "amend", "problem": problem}, **climbed}

    async def _form(self, state: WorkState, ctx: NodeContext, files: Mapping[str, str]) -> tuple[str, list[str]]:
        texts = await self.crew.workspace.snapshots.texts(state["base"])
        found = await check_form(self._desk(state, ctx, self.crew.asker(ctx, state)), "form", texts, files)
        problem = next((checked.problem for checked in found if checked.problem), "")
        return problem, [checked.said for checked in found if checked.said]

    async def _run(self, state: WorkState, ctx: NodeContext, files: dict[str, Any]) -> tuple[str, str, list[str]]:
        """Run the check, else the tests that are there, on a version: what is wrong, its tree, and what was run."""
        brief, command = state["brief"], state.get("check")
        must_pass = bool(brief.get("given") or brief.get("is_tested") or brief["amend"]["failing"])
        if command and must_pass:

            async def run() -> Update:
                left = await self.crew.workspace.write(state["base"], files)
                return {"tree": left, **await self.crew.run_command(command)}

            request = {"tool": "run_command", "command": command, "tree": state["base"], "files": files}
            done = await ctx.step("check", run, kind="tool", request=request)
            problem = "" if done["ok"] else essence(done["output"]) or f"Exit code {done['exit_code']}."
            return problem, done["tree"], [f"the check passes: {command}"]
        if not command:
            written = await ctx.step("write", lambda: self._write(state["base"], files), kind="tool", request=files)
            return "", written["tree"], []
        before, path = Suite.of(brief["before"]), brief.get("path", "")
        suite = await run_suite(self.crew, ctx, "suite", state["base"], files, python_path=path, before=before)
        worse = suite.worse_than(before)
        said = ["the tests of the repository pass as before"]
        return next((f"{name} fails now: {text}" for name, text in worse.items()), ""), suite.tree, said

    async def _write(self, tree: str, files: Mapping[str, str | None]) -> Update:
        return {"tree": await self.crew.workspace.write(tree, files)}

    def _desk(self, state: WorkState, ctx: NodeContext, asker: Asker) -> Desk:
        return Desk(ctx, asker, self.crew.prompts, TreeWorkbench(self.crew, state["base"]), state["goal"])

    async def finish(self, state: WorkState, ctx: NodeContext) -> Update:
        """Say what came of it, and what was not checked."""
        changed = await self.crew.workspace.snapshots.changed(state["base"], state["tree"])
        checked, is_shown = state["brief"]["checked"], bool(state["brief"]["amend"]["failing"])
        note = {
            "subject": state["goal"],
            "body": "\n".join(f"{line[0].upper()}{line[1:]}." for line in checked),
            "trailers": trailers(state, self.crew),
        }
        told = [line for line in checked if "not checked" in line or "could not be read" in line]
        told += [] if is_shown or state["brief"].get("is_tested") else [_NOT_SHOWN]
        return {
            "outcomes": [outcome(state, self.crew, ok=True) | {"note": note, "files": changed, "assumptions": told}]
        }

    async def abandon(self, state: WorkState, ctx: NodeContext) -> Update:
        """Say why no version could be used."""
        files = sorted({path for candidate in state["candidates"] for path in candidate["files"]})
        return {"outcomes": [outcome(state, self.crew, ok=False) | {"files": files}]}
