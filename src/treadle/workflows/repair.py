"""The nodes that change an existing repository until its check passes, touching only what they must."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from treadle.agents.answers import code_block, complete_prefix
from treadle.agents.changer import takes_blocks
from treadle.agents.coder import MAX_TOKENS, Sampling
from treadle.agents.conventions import read_conventions
from treadle.agents.focus import Focus, head_and_source, only
from treadle.agents.relevance import (
    Failure,
    Suspect,
    definitions,
    excerpt,
    failing_tests,
    find_suspects,
    read_failure,
)
from treadle.agents.repo_map import RepoMap
from treadle.agents.source import Flaw, find_flaw
from treadle.agents.splice import recombined, splice
from treadle.agents.suite import Suite
from treadle.ports.context import NodeContext
from treadle.workflows.amend import Amend, to_amend
from treadle.workflows.change import Change, stop
from treadle.workflows.completion import complete, to_complete
from treadle.workflows.crew import Crew, WorkState, spent
from treadle.workflows.escalation import authorship, climb, of_this_tier, rounds_in_tier
from treadle.workflows.near import origin, search_near
from treadle.workflows.suites import is_all_tests, python_texts, run_check, run_suite
from treadle.workflows.task import outcome, trailers

Update = dict[str, Any]
_NO_SUCH_COMMAND = (126, 127)
_MOST_HINTED = 4
_NEAR = 0.7
"""Share of the best suspect's score from which another file is tried in turn with it."""
_UNCHANGED = "The answer changes nothing."
_MENDS = re.compile(
    r"\b(?:fix(?:e[sd]|ing)?|repair|mend|debug|bugs?|broken|fail(?:s|ing|ed|ures?)?|wrong|crash\w*|pass)\b", re.I
)
_ADDS = re.compile(r"\s*(?:please\s+)?(?:add|implement|support|introduce|extend|allow|let|rename|create|write)\b", re.I)


class Repair:
    """Nodes over one crew whose publisher is a branch of a repository."""

    def __init__(self, crew: Crew) -> None:
        self.crew = crew

    async def analyse(self, state: WorkState, ctx: NodeContext) -> Update:
        """See whether the check fails on the files as they are. A goal that is about mending that is a repair.

        Any other goal is a change. Where failing tests are about it, they show when it is met; else tests for it are
        written first, and no more of the others may fail than do now.
        """
        texts = await self.crew.workspace.snapshots.texts(state["tree"])
        conventions, given = read_conventions(texts), bool(state.get("check"))
        check, goal = state.get("check") or conventions.check, state["goal"]
        start: Update = {"candidates": [], "dropped": [], "round": 0, "check": check}
        brief: Update = {"given": given, "is_suite": not given or is_all_tests(check), "before": Suite().as_dict()}
        change: Update = {"brief": brief, "move": {"action": "change", "problem": ""}}
        if not check:
            return start | change
        before, is_about = Suite(), given
        if brief["is_suite"]:
            before = await run_suite(self.crew, ctx, "before", state["tree"], {}, python_path=conventions.python_path)
            brief["before"] = before.as_dict()
            if not (before.failed or before.broken):
                return start | change
            is_about = given or _is_about(goal, tuple(before.failed), texts)
        done = await run_check(self.crew, ctx, "check", state["tree"], check)
        if done["exit_code"] in _NO_SUCH_COMMAND:
            return start | stop(f"The check cannot be run in the sandbox: {done['output'][-200:]}")
        unfinished = to_complete(done["output"], texts)
        if done["ok"] or not (is_about or unfinished):
            return start | change
        if before.failed and not unfinished and not _is_mending(goal):
            brief["is_tested"] = True
            return start | change
        brief = {"output": done["output"], "seconds": done["seconds"]}
        return start | {"brief": brief, "move": {"action": "fix", "problem": ""}}

    async def locate(self, state: WorkState, ctx: NodeContext) -> Update:
        """Find the files that the failure is about."""
        texts = await python_texts(self.crew, state["tree"])
        unfinished = to_complete(state["brief"]["output"], texts)
        if unfinished:
            ctx.log(f"To be written: {unfinished['path']}")
            suspect = asdict(Suspect(unfinished["path"], (), 1))
            return {"brief": {**state["brief"], "unfinished": unfinished, "suspects": [suspect]}}
        failure = read_failure(state["brief"]["output"], texts)
        found = find_suspects(failure, texts, state["goal"], _hints(state["goal"], texts))[:3]
        suspects = [suspect for suspect in found if suspect.score >= _NEAR * found[0].score]
        everything = await self.crew.workspace.snapshots.texts(state["tree"])
        failing = f"{state['check']}\n{failure.essence}".strip()
        amended = to_amend(state, everything, is_code=bool(suspects), failing=failing)
        if amended is not None:
            ctx.log(f"To change: {', '.join(amended['brief']['amend']['paths'])}")
            return amended
        ctx.log("Suspects: " + (", ".join(suspect.path for suspect in suspects) or "none"))
        return {"brief": {**state["brief"], "suspects": [asdict(suspect) for suspect in suspects]}}

    async def fix(self, state: WorkState, ctx: NodeContext) -> Update:
        """Ask for the corrected part of one suspect and put it into the file. An unfinished file is written whole."""
        if "unfinished" in state["brief"]:
            return await complete(self.crew, state, ctx, await self.crew.workspace.snapshots.texts(state["tree"]))
        suspects = [_suspect(plain) for plain in state["brief"]["suspects"]]
        if not suspects:
            nothing = {"path": "", "source": "", "flaw": "No file looks involved."} | authorship(state, "")
            return {"candidates": [*state["candidates"], nothing]}
        attempt = len(of_this_tier(state))
        suspect = suspects[_turn(attempt, len(suspects))]
        texts = await python_texts(self.crew, state["tree"])
        asker = self.crew.asker(ctx, state)
        source, tier = texts[suspect.path], self.crew.tiers[state.get("tier", 0)]
        focus = None if takes_blocks(tier.model_name, tier.name) else _focus(suspect, source, attempt)
        text = self._question(state, texts, suspect, focus)
        sampling = Sampling(attempt, self.crew.settings.seed, self.crew.settings.temperature)
        answer = code_block(await asker.ask("fix", sampling.of(text, MAX_TOKENS, cold=len(suspects[:2]))))
        answer = (only(answer, focus, source) or answer) if focus else answer
        source, flaw = _spliced(source, answer)
        new = {"path": suspect.path, "source": source, "flaw": flaw} | authorship(state, asker.last_model)
        return {"candidates": [*state["candidates"], new], **spent(asker)}

    def _question(self, state: WorkState, texts: dict[str, str], suspect: Suspect, focus: Focus | None) -> str:
        """Ask for the suspect's part of a file, or, of a small model, for the one function that is likeliest wrong."""
        failure = read_failure(state["brief"]["output"], texts)
        problem = _problem(failure, texts) + _reminder(state, suspect.path)
        if focus is None:
            source = excerpt(texts[suspect.path], suspect.names)
            return self.crew.prompts["repair"].render(
                goal=state["goal"], notes=_notes(texts), problem=problem, file=suspect.path, source=source
            )
        head, source = head_and_source(texts[suspect.path], focus, state["goal"])
        fails = f"The check of this project fails, and `{focus.name}` is likely wrong:\n\n{problem}"
        return self.crew.prompts["repair_function"].render(
            goal=f"Goal: {state['goal']}\n\n{fails}",
            notes=_notes(texts),
            file=suspect.path,
            head=head,
            source=source,
            name=focus.name,
        )

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
        done = await run_check(self.crew, ctx, "check", state["tree"], state["check"], files, state)
        if done["ok"]:
            return {"tree": done["tree"], "move": {"action": "commit", "problem": ""}}
        before = _failing(read_failure(state["brief"]["output"], []))
        after = _failing(read_failure(done["output"], []))
        update: Update = {"move": {"action": "reflect", "problem": read_failure(done["output"], []).essence}}
        if 0 < after < before:
            ctx.log(f"{after} tests fail still.")
            update |= _as_best(state["brief"], done)
        update = await self._recombine(ctx, state, update, done["output"])
        if update["move"]["action"] == "commit" or "unfinished" not in state["brief"]:
            return update
        return await self._nearer(ctx, state, update, done)

    async def _nearer(self, ctx: NodeContext, state: WorkState, update: Update, done: dict[str, Any]) -> Update:
        """Look near a version for one that passes more of the tests that were given than the best one so far.

        What is near the best one alone is not enough: the right one may be near one that passes less.
        """
        if not 0 < _failing(read_failure(done["output"], [])) < float("inf"):
            return update
        path, tree = state["candidates"][-1]["path"], update.get("tree") or done["tree"]
        found = await search_near(self.crew, ctx, "near", tree, Suspect(path, (), 1), state)
        if found is None:
            return update
        if found["ok"]:
            return update | _mended(state, found)
        best = read_failure({**state["brief"], **update.get("brief", {})}["output"], [])
        if 0 < _failing(read_failure(found["output"], [])) < _failing(best):
            return update | _as_best(state["brief"], found)
        return update

    async def _recombine(self, ctx: NodeContext, state: WorkState, update: Update, output: str) -> Update:
        """Take single functions over from the other of two versions that each pass what the other fails."""
        path, last = state["candidates"][-1]["path"], state["candidates"][-1]["source"]
        earlier = await self.crew.workspace.read(state["tree"], path) or ""
        tells = 0 < _failing(read_failure(output, [])) < float("inf")
        if "unfinished" not in state["brief"] or not tells or earlier == state["brief"]["unfinished"]["source"]:
            return update
        state, is_better = {**state, **update}, "tree" in update  # type: ignore[typeddict-item]
        best, other = (last, earlier) if is_better else (earlier, last)
        if not _tests(state["brief"]["output"]) - (set() if is_better else _tests(output)):
            return update
        for number, source in enumerate(recombined(best, other)):
            files: dict[str, str | None] = {path: source}
            done = await run_check(self.crew, ctx, f"mix.{number}", state["tree"], state["check"], files, state)
            if done["ok"]:
                ctx.log("A function of another version makes it whole.")
                return update | {"tree": done["tree"], "move": {"action": "commit", "problem": ""}}
            if 0 < _failing(read_failure(done["output"], [])) < _failing(read_failure(state["brief"]["output"], [])):
                return update | _as_best(state["brief"], done)
        return update

    async def reflect(self, state: WorkState, ctx: NodeContext) -> Update:
        """Try again, the next suspect or another answer, while there are rounds; then with the next tier."""
        problem, climbed = state["move"]["problem"], Update()
        if not state["brief"]["suspects"]:
            return stop(problem or "The check still fails.")
        if rounds_in_tier(state) >= self.crew.settings.max_rounds:
            for number, suspect in enumerate(self._near(state)):
                found = await search_near(self.crew, ctx, f"near.{number}", state["tree"], suspect, state)
                if found is not None and found["ok"]:
                    return _mended(state, found)
            climbed = climb(self.crew, state, ctx, problem)
            if not climbed:
                return stop(problem or "The check still fails.")
        return {"round": state["round"] + 1, "move": {"action": "fix", "problem": problem}, **climbed}

    def _near(self, state: WorkState) -> list[Suspect]:
        """Where finished code may be a small edit from right; what is written anew was searched near at once."""
        if "unfinished" in state["brief"] or "output" not in state["brief"] or state.get("review"):
            return []
        return [_suspect(plain) for plain in state["brief"]["suspects"][:2]]

    async def finish(self, state: WorkState, ctx: NodeContext) -> Update:
        """Say what came of it: a tree on which the check passes, and what its commit will tell."""
        if "layout" in state["brief"] or "amend" in state["brief"]:
            team = Change if "layout" in state["brief"] else Amend
            return await team(self.crew).finish(state, ctx)
        changed = await self.crew.workspace.snapshots.changed(state["base"], state["tree"])
        note = {
            "subject": f"Fix {', '.join(changed)}: {state['goal']}",
            "body": f"The check failed before and passes now: {state['check']}"
            + origin(state["brief"].get("edits", 0)),
            "trailers": trailers(state, self.crew),
        }
        return {"outcomes": [outcome(state, self.crew, ok=True) | {"note": note, "files": changed}]}

    async def abandon(self, state: WorkState, ctx: NodeContext) -> Update:
        """Say why the check could not be made to pass."""
        brief = state.get("brief", {})
        if "layout" in brief or "amend" in brief:
            team = Change if "layout" in brief else Amend
            return await team(self.crew).abandon(state, ctx)
        files = sorted({candidate["path"] for candidate in state["candidates"]} - {""})
        return {"outcomes": [outcome(state, self.crew, ok=False) | {"files": files}]}


def _hints(goal: str, texts: dict[str, str]) -> dict[str, int]:
    """What the words of a goal say of files: up to `_MOST_HINTED` for the one that is nearest to it."""
    ranked = RepoMap({path: text for path, text in texts.items() if path.endswith(".py")}).rank(goal)
    return {entry.path: round(_MOST_HINTED * entry.score / ranked[0].score) for entry in ranked}


def _as_best(brief: Update, done: dict[str, Any]) -> Update:
    """Build on a version from now on, given the run of the check on it."""
    return {"tree": done["tree"], "brief": {**brief, "output": done["output"]}}


def _mended(state: WorkState, found: dict[str, Any]) -> Update:
    """Hand over a version that `search_near` found."""
    brief = {**state["brief"], "edits": found["edits"]}
    return {"tree": found["tree"], "brief": brief, "move": {"action": "commit", "problem": ""}}


def _failing(failure: Failure) -> float:
    """How many tests fail; more than any number where a file of tests could not even be read."""
    return float("inf") if any(not name for _, name in failure.tests) else len(failure.tests)


def _tests(output: str) -> set[tuple[str, str]]:
    return set(read_failure(output, []).tests)


def _is_mending(goal: str) -> bool:
    return bool(_MENDS.search(goal)) and not _ADDS.match(goal)


def _is_about(goal: str, failed: Iterable[str], texts: dict[str, str]) -> bool:
    """Tell whether a goal is about tests that fail: it speaks of mending, or of what only they know so far."""
    if _is_mending(goal):
        return True
    named = [
        name for name in re.findall(r"[A-Za-z_]\w+", goal) if "_" in name or f"{name}(" in goal or f"`{name}" in goal
    ]
    ids = [(id_.partition("::")[0], id_.rpartition("::")[2].partition("[")[0]) for id_ in failed]
    sources = [failing_tests(Failure(((path, name),), (), ""), texts) or texts.get(path, "") for path, name in ids[:20]]
    return any(re.search(rf"\b{name}\b", source) for name in named for source in sources)


def _suspect(plain: dict[str, Any]) -> Suspect:
    return Suspect(plain["path"], tuple(plain["names"]), plain["score"])


def _focus(suspect: Suspect, source: str, attempt: int) -> Focus | None:
    """The function that a try is about: the likeliest one at first, later the next one; between, all of the file."""
    if attempt % 4 > 1:
        return None
    there = [name for name in definitions(source) if "." in name or name[:1].islower() or name[:1] == "_"]
    found = [full for name in suspect.names for full in there if full == name or full.endswith(f".{name}")]
    chosen = list(dict.fromkeys(found))[: 1 + attempt // 4]
    return Focus(suspect.path, chosen[-1]) if chosen else None


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
