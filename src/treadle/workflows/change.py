"""The nodes that change a repository whose tests pass: tests for the goal first, then the change, then the proof."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from treadle.agents.acceptance import render
from treadle.agents.changer import (
    Task,
    correct_change,
    failing_cases,
    given_cases,
    lay_out,
    takes_blocks,
    write_change,
    write_tests,
)
from treadle.agents.coder import Sampling
from treadle.agents.conventions import read_conventions
from treadle.agents.relevance import Failure, failing_tests
from treadle.agents.repo_map import parsed
from treadle.agents.suite import Suite
from treadle.agents.testcases import Case, pool
from treadle.agents.trial import Outcome, essence
from treadle.ports.context import NodeContext
from treadle.workflows.amend import to_amend
from treadle.workflows.crew import Crew, WorkState, spent
from treadle.workflows.escalation import authorship, climb, of_this_tier, rounds_in_tier
from treadle.workflows.near import nearer, origin
from treadle.workflows.suites import run_suite
from treadle.workflows.tactics import SAME_AGAIN, Candidate, Move, Standing, begin_anew, choose, decide
from treadle.workflows.task import outcome, trailers

Update = dict[str, Any]
Files = dict[str, str | None]


class Change:
    """Nodes over one crew. A version of the change is the new texts of the files that it touches."""

    def __init__(self, crew: Crew) -> None:
        self.crew = crew

    async def survey(self, state: WorkState, ctx: NodeContext) -> Update:
        """Find the files that the goal is about, and the place for its tests."""
        texts = await self.crew.workspace.snapshots.texts(state["base"])
        conventions = read_conventions(texts)
        task = lay_out(state["goal"], texts, conventions, state["task"].get("files", ()))
        start: Update = {"cases": [], "attempts": 0}
        is_code = task is not None and task.primary.endswith(".py")
        amended = to_amend(state, texts, is_code=is_code)
        if amended is not None:
            amended["brief"]["path"] = conventions.python_path
            ctx.log(f"To change: {', '.join(amended['brief']['amend']['paths'])}. No tests can be written for it.")
            return start | amended
        if task is None or not is_code:
            return start | stop("Nothing in the repository has to do with it. Name the file that is to change.")
        before, is_tested = Suite.of(state["brief"]["before"]), state["brief"].get("is_tested")
        brief = {**state["brief"], "layout": task.as_dict(), "path": conventions.python_path}
        failing = failing_cases(before.failed, texts) if is_tested else []
        if failing:
            brief["before"] = replace(before, failed={}).as_dict()
        elif before.failed or before.broken:
            what = ", ".join(sorted(before.failed)[:5]) or before.broken
            ctx.log(f"These fail already, and will not be counted: {what}")
        ctx.log(f"To change: {', '.join(path for path, _ in task.targets[: task.near]) or task.primary}.")
        given = [case.as_dict() for case in failing or given_cases(task)]
        move = {"action": "write" if failing else "write_tests", "problem": ""}
        return start | {"brief": brief, "cases": given, "move": move}

    async def write_tests(self, state: WorkState, ctx: NodeContext) -> Update:
        """Write tests from the goal, and keep those that fail on the repository as it is."""
        task, asker = Task.of(state["brief"]["layout"]), self.crew.asker(ctx, state)
        texts = await self._texts(state, {})
        sampling = self._sampling(state["attempts"])
        brought = _brought(state, texts)
        new = await write_tests(task, texts, asker, self.crew.prompts, sampling=sampling, known=brought)
        cases = pool(cases_of(state), new, [test["name"] for test in state["dropped"]])
        without = await self._try(ctx, "base", state, {}, cases)
        hollow = [case.name for case in cases if case.name in without["passed"]]
        dropped = [*state["dropped"], *({"name": name, "why": "passes without the change"} for name in hollow)]
        kept = [case for case in cases if case.name not in hollow]
        ctx.log(f"{len(kept)} tests for the change; {len(hollow)} pass without it and are dropped.")
        update: Update = {"cases": [case.as_dict() for case in kept], "dropped": dropped}
        return update | {"attempts": state["attempts"] + 1, **spent(asker)}

    async def write(self, state: WorkState, ctx: NodeContext) -> Update:
        """Write a version of the change, or correct the best one so far."""
        task, asker, move = Task.of(state["brief"]["layout"]), self.crew.asker(ctx, state), state["move"]
        tier = self.crew.tiers[state.get("tier", 0)]
        is_fix, blocks = move["action"] == "fix", takes_blocks(tier.model_name, tier.name)
        best: Files = state["candidates"][move["best"]]["files"] if is_fix else {}
        texts = await self._texts(state, best)
        if is_fix:
            sampling = self._sampling(rounds_in_tier(state))
            edit = await correct_change(
                task, texts, asker, self.crew.prompts, sampling=sampling, blocks=blocks, problem=move["problem"]
            )
        else:
            written = sum(1 for candidate in of_this_tier(state) if candidate["origin"] == "write")
            cases = cases_of(state)
            believed = [case for case in cases if blocks or _is_there(case) or (written and _is_believed(case))]
            sampling = self._sampling(written)
            edit = await write_change(
                task, texts, asker, self.crew.prompts, sampling=sampling, blocks=blocks, known=believed
            )
        new: Update = {"files": {**best, **edit.files}, "flaw": edit.flaw, "origin": "fix" if is_fix else "write"}
        new |= {"outcome": None, "check": None} | authorship(state, asker.last_model)
        return {"candidates": [*state["candidates"], new], **spent(asker)}

    async def inspect(self, state: WorkState, ctx: NodeContext) -> Update:
        """Look at the newest version without running it."""
        *earlier, last = state["candidates"]
        flaw = last["flaw"]
        if not flaw and last["files"] in [candidate["files"] for candidate in earlier]:
            flaw = SAME_AGAIN
        if flaw:
            ctx.log(f"Not usable: {flaw}")
        return {"candidates": [*earlier, last | {"flaw": flaw}], "move": {"action": "weigh" if flaw else "test"}}

    async def test(self, state: WorkState, ctx: NodeContext) -> Update:
        """Run the new tests and those of the repository on every version that has not seen them all."""
        cases = cases_of(state)
        names = {case.name for case in cases}
        candidates = list(state["candidates"])
        for number, plain in enumerate(candidates):
            seen = Outcome.of(plain["outcome"]) if plain["outcome"] else None
            if plain["flaw"] or (seen and (seen.broken or names <= seen.passed | set(seen.failed))):
                continue
            candidates[number] = await self._tested(ctx, f"test.{number}", state, plain, cases)
        last = candidates[-1]
        if state["brief"].get("is_tested") and last["outcome"] and (last["outcome"]["failed"] or last["check"]):
            failing = {name.partition("::")[0] for name in names}
            better = await nearer(self.crew, ctx, state["base"], last["files"], failing)
            if better is not None:
                new = {**last, "files": better[0], "edits": better[1], "origin": "fix"}
                candidates.append(await self._tested(ctx, "near", state, new, cases))
        return {"candidates": candidates}

    async def _tested(self, ctx: NodeContext, key: str, state: WorkState, plain: Update, cases: list[Case]) -> Update:
        tried = await self._try(ctx, key, state, plain["files"], cases)
        worse = " Others that passed before fail." if tried["check"] else ""
        ctx.log(f"{len(tried['passed'])} of {len(cases)} new tests pass.{worse}")
        found = {key: tried[key] for key in ("passed", "failed", "broken")}
        return plain | {"outcome": found, "check": tried["check"]}

    async def weigh(self, state: WorkState, ctx: NodeContext) -> Update:
        """Decide what to do about the state of the change and its tests. By rule."""
        cases = cases_of(state)
        standing = Standing(_candidates(state), cases, rounds_in_tier(state), self.crew.settings.max_rounds)
        move = decide(standing)
        climbed = climb(self.crew, state, ctx, move.problem) if move.action == "stop" else {}
        if climbed:
            move = begin_anew(standing)
        ctx.log(f"Next: {move.action}.", problem=move.problem, dropped=dict(move.dropped))
        kept = [case.as_dict() for case in cases if case.name not in move.dropped]
        dropped = [*state["dropped"], *({"name": name, "why": why} for name, why in move.dropped.items())]
        turn = state["round"] + (move.action != "settle")
        return {"move": _plain(move), "cases": kept, "dropped": dropped, "round": turn, **climbed}

    async def prove(self, state: WorkState, ctx: NodeContext) -> Update:
        """Prove the change as it will be handed over. That its tests fail without it was seen before."""
        cases, dropped = cases_of(state), list(state["dropped"])
        proved = choose(_candidates(state), cases)
        best, task = state["candidates"][proved]["files"], Task.of(state["brief"]["layout"])
        proof: Update = {}
        for attempt in range(2):
            proof = await self._try(ctx, f"proof.{attempt}", state, best, cases, final=True)
            gone = {case.name for case in cases if case.name not in proof["passed"]}
            if not gone or proof["broken"] or proof["check"]:
                break
            dropped += [{"name": name, "why": "passes and fails in turn"} for name in sorted(gone)]
            cases = [case for case in cases if case.name not in gone]
        reason = proof["broken"] or proof["check"] or ("" if cases else "No test shows that the change does anything.")
        changed = await self.crew.workspace.snapshots.changed(state["base"], proof["tree"])
        strange = sorted(set(changed) - set(task.allowed))
        if strange:
            reason = f"The change touches {', '.join(strange)}, which is not part of the task."
        if reason:
            ctx.log(f"Not proved: {reason}")
        move = {"action": "stop" if reason else "finish", "problem": reason}
        plain = [case.as_dict() for case in cases]
        return {"tree": proof["tree"], "cases": plain, "dropped": dropped, "move": move, "proved": proved}

    async def finish(self, state: WorkState, ctx: NodeContext) -> Update:
        """Say what came of it: a tree that is proved, and what its commit will tell."""
        changed = await self.crew.workspace.snapshots.changed(state["base"], state["tree"])
        note = {"subject": state["goal"], "body": _body(state), "trailers": trailers(state, self.crew)}
        made = outcome(state, self.crew, ok=True) | {"note": note, "files": changed}
        return {"outcomes": [made | {"assumptions": _assumptions(state)}]}

    async def abandon(self, state: WorkState, ctx: NodeContext) -> Update:
        """Say why the goal was not met; the best version stays among the snapshots."""
        usable = [candidate for candidate in state["candidates"] if candidate["files"]]
        if usable:
            best = state["candidates"][choose(_candidates(state), cases_of(state))]["files"]
            kept = await ctx.step("keep", lambda: self._keep(state["base"], best), kind="tool", request={"files": best})
            state = {**state, "tree": kept["tree"]}
        made = outcome(state, self.crew, ok=False) | {"files": sorted({path for c in usable for path in c["files"]})}
        return {"outcomes": [made | {"assumptions": _assumptions(state)}]}

    async def _keep(self, base: str, files: Files) -> Update:
        return {"tree": await self.crew.workspace.write(base, files)}

    async def _try(
        self, ctx: NodeContext, key: str, state: WorkState, files: Files, cases: list[Case], *, final: bool = False
    ) -> Update:
        """Run the new tests, and the repository's own or the user's check, on a version. The state keeps its tree."""
        brief, place = state["brief"], Task.of(state["brief"]["layout"]).place
        before = Suite.of(brief["before"])
        there, new = [c for c in cases if _is_there(c)], [c for c in cases if not _is_there(c)]
        tests: Files = {place.path: render(place, new, final=final)} if new else {}
        laid = {**files, **tests}
        suite, only = Suite(), "" if brief["is_suite"] else place.path
        if new or brief["is_suite"]:
            suite = await run_suite(
                self.crew, ctx, key, state["base"], laid, python_path=brief["path"], only=only, before=before
            )
        said = {case.name: suite.case(place.path, place.owner, case.name) for case in new}
        said |= {case.name: suite.of_id(case.name) for case in there}
        names = set(said)
        worse = {i: text for i, text in suite.worse_than(before).items() if i and not suite.is_of(i, place.path, names)}
        done = {"tree": suite.tree, "problem": ""}
        if files and brief["given"] and (final or not brief["is_suite"]):
            done = await self._given(ctx, f"{key}.check", state["base"], laid, state["check"])
        return {
            "tree": done["tree"] or suite.tree,
            "passed": sorted(name for name, text in said.items() if text == ""),
            "failed": {name: text for name, text in said.items() if text},
            "broken": suite.broken or (suite.unloadable(place.path) if new else ""),
            "check": done["problem"] or await self._worse(state, worse),
        }

    async def _given(self, ctx: NodeContext, key: str, tree: str, files: Files, command: str) -> Update:
        """Run the user's check on a version: the tree, and what is wrong with it."""

        async def run() -> Update:
            left = await self.crew.workspace.write(tree, files)
            return {"tree": left, **await self.crew.run_command(command)}

        request = {"tool": "run_command", "command": command, "tree": tree, "files": files}
        done = await ctx.step(key, run, kind="tool", request=request)
        problem = "" if done["ok"] else essence(done["output"]) or f"Exit code {done['exit_code']}."
        return {"tree": done["tree"], "problem": problem}

    async def _worse(self, state: WorkState, failed: Mapping[str, str]) -> str:
        """Say which tests pass without the change and fail with it."""
        if not failed:
            return ""
        (first, said), *others = failed.items()
        path, name = first.partition("::")[0], first.rpartition("::")[2].partition("[")[0]
        texts = {path: await self.crew.workspace.read(state["base"], path) or ""}
        source = failing_tests(Failure(((path, name),), (), ""), texts)
        shown = f"\n```python\n{source}\n```" if source else ""
        more = f"\n({len(others)} more fail.)" if others else ""
        return f"A test that passed before fails now: {first}{shown}\n{said}{more}"

    async def _texts(self, state: WorkState, files: Mapping[str, str | None]) -> dict[str, str]:
        """Read the files that the task is about, with a version laid over them. Not journaled: a tree never changes."""
        wanted = [path for path, _ in Task.of(state["brief"]["layout"]).targets]
        found = {path: await self.crew.workspace.read(state["base"], path) for path in wanted}
        return {path: text for path, text in {**found, **files}.items() if text is not None}

    def _sampling(self, attempt: int) -> Sampling:
        return Sampling(attempt, self.crew.settings.seed, self.crew.settings.temperature)


def cases_of(state: WorkState) -> list[Case]:
    """Read the tests in force."""
    return [Case.of(plain) for plain in state["cases"]]


def stop(problem: str) -> Update:
    """Say why the work on files that are there ends before it has begun."""
    return {"move": {"action": "stop", "problem": problem}}


def _candidates(state: WorkState) -> list[Candidate]:
    found = []
    for plain in state["candidates"]:
        outcome = Outcome.of(plain["outcome"]) if plain["outcome"] else None
        found.append(Candidate("", plain["origin"], plain["flaw"], outcome, plain["check"]))
    return found


def _is_there(case: Case) -> bool:
    """Whether a test is one of the repository's own."""
    return "::" in case.name


def _is_believed(case: Case) -> bool:
    return case.origin == "goal" or case.votes > 1


def _brought(state: WorkState, texts: Mapping[str, str]) -> list[str]:
    """Names that versions of the change define and the repository does not."""
    there = {getattr(node, "name", "") for text in texts.values() for node in parsed(text).body}
    new = [text for candidate in state["candidates"] for text in candidate["files"].values()]
    return sorted({getattr(node, "name", "") for text in new for node in parsed(text).body} - there - {""})


def _plain(move: Move) -> Update:
    return asdict(move) | {"dropped": dict(move.dropped)}


def _assumptions(state: WorkState) -> list[str]:
    """What the reader of the report should know: tests that failed already."""
    failing = sorted(state["brief"].get("before", {}).get("failed", {}))
    return [f"{name} fails without the change, and does not count" for name in failing[:10]]


def _body(state: WorkState) -> str:
    tests, task = len(state["cases"]), Task.of(state["brief"]["layout"])
    if state["brief"].get("is_tested"):
        said = f"{tests} tests failed without the change; all pass with it.\nThe check passes: {state['check']}"
        return said + origin(state["candidates"][state["proved"]].get("edits", 0))
    one = tests == 1
    said = f"{tests} new test{'' if one else 's'} in {task.place.path} fail{'s' if one else ''} without the change and "
    said += f"pass{'es' if one else ''} with it."
    before = state["brief"]["before"]["failed"]
    if before:
        said += f"\n{len(before)} tests failed before; no others fail now."
    if state["brief"]["given"]:
        said += f"\nThe check passes before and after: {state['check']}"
    return said
