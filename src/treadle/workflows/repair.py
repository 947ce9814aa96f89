"""The nodes that change an existing repository until its check passes, touching only what they must."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from treadle.agents.answers import code_block, complete_prefix
from treadle.agents.coder import MAX_TOKENS, Sampling
from treadle.agents.relevance import (
    Failure,
    Suspect,
    excerpt,
    failing_tests,
    find_suspects,
    is_test,
    read_failure,
)
from treadle.agents.source import Flaw, find_flaw
from treadle.agents.splice import splice
from treadle.ports.context import NodeContext
from treadle.workflows.crew import Crew, WorkState, spent
from treadle.workflows.escalation import authorship, climb, of_this_tier, rounds_in_tier
from treadle.workflows.task import outcome, trailers

Update = dict[str, Any]
_NO_SUCH_COMMAND = (126, 127)
_MAX_FILES = 400
_UNCHANGED = "The answer changes nothing."
DEFAULT_CHECK = "python -m pytest -q"


class Repair:
    """Nodes over one crew whose publisher is a branch of a repository."""

    def __init__(self, crew: Crew) -> None:
        self.crew = crew

    async def analyse(self, state: WorkState, ctx: NodeContext) -> Update:
        """See the check fail on the repository as it is: what passes already cannot show that a change was needed."""
        tree = state["tree"]
        paths = await ctx.step(
            "list", lambda: self.crew.workspace.snapshots.files(tree), kind="tool", request={"tree": tree}
        )
        check = state.get("check") or (DEFAULT_CHECK if any(is_test(path) for path in paths) else "")
        start: Update = {"candidates": [], "dropped": [], "round": 0, "check": check}
        if not check:
            return start | _stop("There is nothing that says when the goal is met: no --check and no tests.")
        done = await self._run_check(ctx, "check", tree, check)
        if done["ok"]:
            return start | _stop(
                f"The check passes already, so it cannot show that the goal is met: {check}\n"
                "Give one that fails now (--check CMD), or add a failing test and commit it."
            )
        if done["exit_code"] in _NO_SUCH_COMMAND:
            return start | _stop(f"The check cannot be run in the sandbox: {done['output'][-200:]}")
        return start | {"brief": {"output": done["output"]}, "move": {"action": "fix", "problem": ""}}

    async def locate(self, state: WorkState, ctx: NodeContext) -> Update:
        """Find the files that the failure is about."""
        texts = await self._texts(ctx, state["tree"])
        failure = read_failure(state["brief"]["output"], texts)
        found = find_suspects(failure, texts, state["goal"])[:3]
        suspects = [suspect for suspect in found if 2 * suspect.score >= found[0].score]
        ctx.log("Suspects: " + (", ".join(suspect.path for suspect in suspects) or "none"))
        return {"brief": {**state["brief"], "suspects": [asdict(suspect) for suspect in suspects]}}

    async def fix(self, state: WorkState, ctx: NodeContext) -> Update:
        """Ask for the corrected part of one suspect and put it into the file."""
        suspects = [_suspect(plain) for plain in state["brief"]["suspects"]]
        if not suspects:
            nothing = {"path": "", "source": "", "flaw": "No file looks involved."} | authorship(state, "")
            return {"candidates": [*state["candidates"], nothing]}
        attempt = len(of_this_tier(state))
        suspect = suspects[_turn(attempt, len(suspects))]
        texts = await self._texts(ctx, state["tree"])
        asker = self.crew.asker(ctx, state)
        failure = read_failure(state["brief"]["output"], texts)
        text = self.crew.prompts["repair"].render(
            goal=state["goal"],
            notes=_notes(texts),
            problem=_problem(failure, texts) + _reminder(state, suspect.path),
            file=suspect.path,
            source=excerpt(texts[suspect.path], suspect.names),
        )
        sampling = Sampling(attempt, self.crew.settings.seed, self.crew.settings.temperature)
        answer = code_block(await asker.ask("fix", sampling.of(text, MAX_TOKENS, cold=len(suspects[:2]))))
        source, flaw = _spliced(texts[suspect.path], answer)
        new = {"path": suspect.path, "source": source, "flaw": flaw} | authorship(state, asker.last_model)
        return {"candidates": [*state["candidates"], new], **spent(asker)}

    async def check_syntax(self, state: WorkState, ctx: NodeContext) -> Update:
        """Go on only with a change that parses."""
        flaw = state["candidates"][-1]["flaw"]
        if flaw:
            ctx.log(f"Not usable: {flaw}")
        return {"move": {"action": "reflect" if flaw else "verify", "problem": flaw}}

    async def verify(self, state: WorkState, ctx: NodeContext) -> Update:
        """Run the check on the changed tree. A change that leaves fewer tests failing is kept to build on."""
        last = state["candidates"][-1]
        files = {last["path"]: last["source"]}
        done = await self._run_check(ctx, "check", state["tree"], state["check"], files)
        if done["ok"]:
            return {"tree": done["tree"], "move": {"action": "commit", "problem": ""}}
        before = len(read_failure(state["brief"]["output"], []).tests)
        after = len(read_failure(done["output"], []).tests)
        update: Update = {"move": {"action": "reflect", "problem": read_failure(done["output"], []).essence}}
        if 0 < after < before:
            ctx.log(f"{before - after} of {before} failing tests pass now.")
            update |= {"tree": done["tree"], "brief": {**state["brief"], "output": done["output"]}}
        return update

    async def reflect(self, state: WorkState, ctx: NodeContext) -> Update:
        """Try again, the next suspect or another answer, while there are rounds; then with the next tier."""
        problem, climbed = state["move"]["problem"], Update()
        if not state["brief"]["suspects"]:
            return _stop(problem or "The check still fails.")
        if rounds_in_tier(state) >= self.crew.settings.max_rounds:
            climbed = climb(self.crew, state, ctx, problem)
            if not climbed:
                return _stop(problem or "The check still fails.")
        return {"round": state["round"] + 1, "move": {"action": "fix", "problem": problem}, **climbed}

    async def finish(self, state: WorkState, ctx: NodeContext) -> Update:
        """Say what came of it: a tree on which the check passes, and what its commit will tell."""
        changed = await self.crew.workspace.snapshots.changed(state["base"], state["tree"])
        note = {
            "subject": f"Fix {', '.join(changed)}: {state['goal']}",
            "body": f"The check failed before and passes now: {state['check']}",
            "trailers": trailers(state, self.crew),
        }
        return {"outcomes": [outcome(state, self.crew, ok=True) | {"note": note, "files": changed}]}

    async def abandon(self, state: WorkState, ctx: NodeContext) -> Update:
        """Say why the check could not be made to pass."""
        files = sorted({candidate["path"] for candidate in state["candidates"]} - {""})
        return {"outcomes": [outcome(state, self.crew, ok=False) | {"files": files}]}

    async def _run_check(
        self, ctx: NodeContext, key: str, tree: str, command: str, files: dict[str, str | None] | None = None
    ) -> dict[str, Any]:
        workspace = self.crew.workspace

        async def run() -> dict[str, Any]:
            left = await workspace.write(tree, files or {})
            return {"tree": left, **await self.crew.run_command(command)}

        request = {"tool": "run_command", "command": command, "tree": tree, "files": files or {}}
        done: dict[str, Any] = await ctx.step(key, run, kind="tool", request=request)
        return done

    async def _texts(self, ctx: NodeContext, tree: str) -> dict[str, str]:
        """Read the Python files and the README of a tree. Not journaled: a tree never changes."""
        snapshots = self.crew.workspace.snapshots
        paths = [
            path for path in await snapshots.files(tree) if path.endswith(".py") or path.upper().startswith("README")
        ]
        texts = {path: await snapshots.read(tree, path) for path in paths[:_MAX_FILES]}
        return {path: text for path, text in texts.items() if text and "\0" not in text and len(text) < 200_000}


def _stop(problem: str) -> Update:
    return {"move": {"action": "stop", "problem": problem}}


def _suspect(plain: dict[str, Any]) -> Suspect:
    return Suspect(plain["path"], tuple(plain["names"]), plain["score"])


def _turn(attempt: int, suspects: int) -> int:
    """Which suspect to take: the first, the second, and then mostly the first again."""
    return (0, 1, 0, 2, 0, 1)[attempt % 6] % suspects


def _problem(failure: Failure, texts: dict[str, str]) -> str:
    tests = failing_tests(failure, texts)
    shown = f"```python\n{tests}\n```\n\n" if tests else ""
    return f"{shown}```\n{failure.essence}\n```"


def _reminder(state: WorkState, path: str) -> str:
    """Tell a model that gave the code back as it was that this cannot be it."""
    same = [c for c in state["candidates"] if c["path"] == path and c["flaw"] == _UNCHANGED]
    return "\n\nThe code below cannot stay as it is: with it the test fails." if same else ""


def _notes(texts: dict[str, str]) -> str:
    readme = next((text for path, text in texts.items() if path.upper().startswith("README")), "")
    first = [part.strip() for part in readme.split("\n\n") if part.strip() and not part.startswith("#")][:1]
    return f"About the project: {' '.join(first)[:300]}" if first else ""


def _spliced(source: str, answer: str) -> tuple[str, str]:
    """Return the changed file, and what is wrong with the change if it cannot be used."""
    try:
        changed = splice(source, answer)
    except SyntaxError:
        prefix = complete_prefix(answer)
        if not prefix:
            flaw = find_flaw(answer) or Flaw("The answer is no Python.")
            return source, flaw.message
        changed = splice(source, prefix)
    return (source, _UNCHANGED) if changed == source else (changed, "")
