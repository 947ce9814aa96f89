"""Tasks of specialists: services, pages, documents, and whatever else is neither a module nor a program."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from treadle.agents import specialists
from treadle.agents.ask import Asker
from treadle.agents.desk import Desk, Made
from treadle.agents.trial import essence
from treadle.domain.messages import Image
from treadle.domain.plan import PlannedTask
from treadle.ports.context import NodeContext
from treadle.workflows.crew import Crew, WorkState, spent
from treadle.workflows.escalation import authorship, climb, rounds_in_tier
from treadle.workflows.readme import readme_of_files
from treadle.workflows.reviewing import TreeWorkbench
from treadle.workflows.task import outcome, trailers

Update = dict[str, Any]
_PICTURES = {"png": "image/png", "jpg": "image/jpeg", "jpeg": "image/jpeg", "gif": "image/gif", "webp": "image/webp"}
_MAX_BYTES = 200_000
_MAX_PICTURES = 8
_DEAR = 3
"""How many times what was estimated for it a task may take before it is begun anew."""


class Special:
    """Nodes over a crew in the task's room."""

    def __init__(self, crew: Crew) -> None:
        self.crew = crew

    async def make(self, state: WorkState, ctx: NodeContext) -> Update:
        """Have the specialist of the task do it, with all its own rounds."""
        task, asker = msgspec.convert(state["task"], PlannedTask), self.crew.asker(ctx, state)
        made = await specialists.work(task, await self._desk(state, ctx, asker))
        made, left = (made, []) if state.get("alone") else made.within(task.files)
        if left:
            ctx.log(f"Left out, because the task may only write {', '.join(task.files)}: {', '.join(left)}.")
        files: dict[str, str | None] = dict(made.files)
        if state.get("alone") and "README.md" not in files and not await self._has(state["base"], "README.md"):
            files["README.md"] = readme_of_files(state["goal"], sorted(made.files), made.checked)

        async def write() -> dict[str, Any]:
            return {"tree": await self.crew.workspace.write(state["base"], files)}

        written = await ctx.step("write", write, kind="tool", request={"tool": "write", "files": files})
        for said in (*made.checked, *(f"Assumed: {assumption}." for assumption in made.assumptions)):
            ctx.log(said)
        return {
            "tree": written["tree"],
            "candidates": [*state.get("candidates", []), self._version(state, made, asker.last_model)],
            "cases": [case.as_dict() for case in made.tests],
            "dropped": [{"name": name, "why": why} for name, why in made.dropped],
            "brief": {"files": sorted(made.files), "checked": list(made.checked), "assumed": list(made.assumptions)},
            "move": {"action": "reflect" if made.problem else "check", "problem": made.problem},
            **spent(asker),
        }

    def _version(self, state: WorkState, made: Made, model: str) -> Update:
        return {"source": "", "origin": "write", "flaw": made.problem} | authorship(state, model)

    async def _desk(self, state: WorkState, ctx: NodeContext, asker: Asker) -> Desk:
        settings, base = self.crew.settings, state["base"]
        return Desk(
            ctx, asker, self.crew.prompts, TreeWorkbench(self.crew, base), state["goal"],
            files=await self._texts(base), images=await self._images(base),
            sees=self.crew.tiers[state.get("tier", 0)].sees, rounds=settings.max_rounds,
            problem=str(state.get("move", {}).get("problem", "")),
            seed=settings.seed + 1000 * state.get("round", 0), temperature=settings.temperature, tests=settings.tests,
        )  # fmt: skip

    async def check(self, state: WorkState, ctx: NodeContext) -> Update:
        """Run the user's check on what was made, if there is one."""
        command = state.get("check")
        if not command:
            return {"move": {"action": "review", "problem": ""}}

        async def run() -> dict[str, Any]:
            await self.crew.workspace.restore(state["tree"])
            return await self.crew.run_command(command)

        request = {"tool": "run_command", "command": command, "tree": state["tree"]}
        done = await ctx.step("check", run, kind="tool", request=request)
        problem = "" if done["ok"] else essence(done["output"]) or f"Exit code {done['exit_code']}."
        told = f"The acceptance check fails: {problem}" if problem else ""
        return {"move": {"action": "reflect" if problem else "review", "problem": told}}

    async def reflect(self, state: WorkState, ctx: NodeContext) -> Update:
        """Have it made again with what is wrong, then by the next tier, then give up.

        What took much more than a task like it does is not begun anew in the same tier.
        """
        problem, climbed = state["move"]["problem"], Update()
        if rounds_in_tier(state) >= 1 or _is_dear(state):
            climbed = climb(self.crew, state, ctx, problem)
            if not climbed:
                return {"move": {"action": "stop", "problem": problem}}
        return {"round": state["round"] + 1, "move": {"action": "make", "problem": problem}, **climbed}

    async def finish(self, state: WorkState, ctx: NodeContext) -> Update:
        """Say what came of it, and what its commit will tell."""
        brief, tests = state["brief"], len(state["cases"])
        said = [f"{tests} tests failed on a stub and pass on the work."] if tests else []
        note = {
            "subject": f"Add {', '.join(brief['files'])}: {state['goal']}",
            "body": "\n".join([*said, *brief["checked"]]),
            "trailers": trailers(state, self.crew),
        }
        made = outcome(state, self.crew, ok=True) | {"note": note, "files": brief["files"]}
        return {"outcomes": [made | {"assumptions": brief["assumed"]}]}

    async def abandon(self, state: WorkState, ctx: NodeContext) -> Update:
        """Say why it was not done; the last version stays among the snapshots."""
        brief = state["brief"]
        made = outcome(state, self.crew, ok=False) | {"files": brief["files"], "assumptions": brief["assumed"]}
        return {"outcomes": [made]}

    async def _has(self, tree: str, path: str) -> bool:
        return await self.crew.workspace.read(tree, path) is not None

    async def _texts(self, tree: str) -> Mapping[str, str]:
        snapshots = self.crew.workspace.snapshots
        texts = {path: await snapshots.read(tree, path) for path in await snapshots.files(tree)}
        return {path: text for path, text in texts.items() if text and "\0" not in text and len(text) < _MAX_BYTES}

    async def _images(self, tree: str) -> Mapping[str, Image]:
        snapshots = self.crew.workspace.snapshots
        kinds = {path: _PICTURES.get(path.rpartition(".")[2].lower()) for path in await snapshots.files(tree)}
        pictures = [(path, kind) for path, kind in kinds.items() if kind][:_MAX_PICTURES]
        return {path: Image(kind, await snapshots.read_bytes(tree, path)) for path, kind in pictures}


def _is_dear(state: WorkState) -> bool:
    """Tell whether a task has taken far more tokens than were estimated for it."""
    estimated = int((state["task"].get("estimate") or {}).get("tokens", 0))
    return bool(estimated) and state.get("tokens", 0) - state["began"]["tokens"] > _DEAR * estimated
