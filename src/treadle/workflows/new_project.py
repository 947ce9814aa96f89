"""The nodes that make something new: brief, plan, code, tests, and the loop that brings them to agree."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from treadle.agents.ask import Asker
from treadle.agents.brief import Brief, make_brief
from treadle.agents.class_brief import missing_member, sessions
from treadle.agents.coder import Draft, Sampling, fix_code, write_code
from treadle.agents.command import truths
from treadle.agents.relevance import is_test
from treadle.agents.source import find_flaw, public_names, stub
from treadle.agents.testcases import Case, from_examples, from_sessions, pool, render_tests
from treadle.agents.tester import TestDraft, header, names_to_test, write_tests
from treadle.agents.trial import Outcome, essence
from treadle.ports.context import NodeContext
from treadle.workflows.crew import Crew, WorkState, spent
from treadle.workflows.escalation import authorship, climb, of_this_tier, rounds_in_tier
from treadle.workflows.tactics import (
    SAME_AGAIN,
    Candidate,
    Move,
    Standing,
    begin_anew,
    choose,
    credible,
    decide,
)

Update = dict[str, Any]


class NewProject:
    """Nodes over one crew. Each is a function of the state; what it does to the world goes through `ctx.step`."""

    def __init__(self, crew: Crew) -> None:
        self.crew = crew

    async def brief(self, state: WorkState, ctx: NodeContext) -> Update:
        """Make the task definite: which file, which functions, which examples."""
        asker = self.crew.asker(ctx, state)
        brief = await make_brief(state["goal"], asker, self.crew.prompts, seed=self.crew.settings.seed)
        brief = replace(placed(brief, state["task"]["files"]), beside=described(state["beside"]))
        for assumption in brief.assumptions:
            ctx.log(f"Assumed: {assumption}.")
        ctx.log("Done when: " + "; ".join(criteria(brief, state.get("check", ""))) + ".")
        given = [
            case.as_dict()
            for case in [
                *from_examples(brief.examples),
                *from_sessions(sessions(brief.goal, brief.classes)),
                *(truths(brief.goal, brief.usage) if brief.is_whole or brief.usage else ()),
            ]
        ]
        start: Update = {"candidates": [], "cases": given, "dropped": [], "round": 0, "attempts": 0}
        return start | {"brief": brief.as_dict(), **spent(asker)}

    async def write(self, state: WorkState, ctx: NodeContext) -> Update:
        """Write a version of the code, independent of those before."""
        asker, brief = self.crew.asker(ctx, state), Brief.of(state["brief"])
        attempt = sum(1 for candidate in of_this_tier(state) if candidate["origin"] == "write")
        # Told what must hold, a small model may keep to the very mistake: each second version is written without.
        sampling, known = self._sampling(attempt), state.get("move", {}).get("known", []) if attempt % 2 else []
        draft = await write_code(brief, asker, self.crew.prompts, key="write", sampling=sampling, known=known)
        return self._candidate(state, draft, "write", asker) | spent(asker)

    async def fix(self, state: WorkState, ctx: NodeContext) -> Update:
        """Correct the best version so far, given what is wrong with it."""
        asker, brief, move = self.crew.asker(ctx, state), Brief.of(state["brief"]), state["move"]
        draft = await fix_code(
            brief,
            asker,
            self.crew.prompts,
            key="fix",
            source=state["candidates"][move["best"]]["source"],
            problem=move["problem"],
            sampling=self._sampling(rounds_in_tier(state)),
        )
        return self._candidate(state, draft, "fix", asker) | spent(asker)

    async def check_syntax(self, state: WorkState, ctx: NodeContext) -> Update:
        """Look at the newest version without running it: its syntax, the names it must define, its imports."""
        brief, candidates = Brief.of(state["brief"]), list(state["candidates"])
        flaw = find_flaw(candidates[-1]["source"], brief.names, _modules(brief, state))
        said = flaw.message if flaw else missing_member(candidates[-1]["source"], brief.classes)
        same = next((one for one in candidates[:-1] if one["source"] == candidates[-1]["source"]), None)
        if same and candidates[-1]["origin"] == "fix":
            said = said or SAME_AGAIN
        elif same:
            # Written apart and yet the same: that is agreement.
            candidates[-1] |= {"outcome": same["outcome"], "check": same["check"]}
        candidates[-1] = candidates[-1] | {"flaw": said}
        if said:
            ctx.log(f"Not usable: {said}")
        return {"candidates": candidates}

    async def write_tests(self, state: WorkState, ctx: NodeContext) -> Update:
        """Write tests from the goal, and keep those that fail on a stub of the code."""
        asker, brief = self.crew.asker(ctx, state), Brief.of(state["brief"])
        known = cases_of(state)
        source = state["candidates"][choose(candidates_of(state), known)]["source"]
        attempt = state["attempts"]
        candidates, draft = list(state["candidates"]), TestDraft((), "")
        if self.crew.settings.tests or not brief.examples:
            sampling = self._sampling(attempt)
            draft = await write_tests(brief, source, asker, self.crew.prompts, key="tests", sampling=sampling)
        if draft.source and draft.source not in [candidate["source"] for candidate in candidates]:
            candidates.append(_new_candidate(draft.source, "write") | authorship(state, asker.last_model))
        cases = pool(known, draft.cases, [test["name"] for test in state["dropped"]])
        outcome = await self._run(ctx, "stub", state, stub(source), cases)
        hollow = [case.name for case in cases if case.name in outcome.passed]
        dropped = [*state["dropped"], *({"name": name, "why": "passes on a stub of the code"} for name in hollow)]
        kept = [case.as_dict() for case in cases if case.name not in hollow]
        update = {"candidates": candidates, "cases": kept, "dropped": dropped, "attempts": attempt + 1}
        return update | spent(asker)

    async def test(self, state: WorkState, ctx: NodeContext) -> Update:
        """Run the tests in force, and the user's check, on every version that has not seen them all."""
        cases = cases_of(state)
        names = {case.name for case in cases}
        candidates = list(state["candidates"])
        for number, plain in enumerate(candidates):
            seen = Outcome.of(plain["outcome"]) if plain.get("outcome") else None
            if plain["flaw"] or (seen and (seen.broken or names <= seen.passed | set(seen.failed))):
                continue
            outcome = await self._run(ctx, f"test.{number}", state, plain["source"], cases)
            check = await self._check(ctx, f"check.{number}", state, plain["source"])
            candidates[number] = plain | {"outcome": outcome.as_dict(), "check": check}
        last = candidates[-1].get("outcome")
        if last and names:
            ctx.log(f"{len(names & set(last['passed']))} of {len(names)} tests pass.", failed=sorted(last["failed"]))
        return {"candidates": candidates}

    async def reflect(self, state: WorkState, ctx: NodeContext) -> Update:
        """Decide what to do about the state of code and tests. By rule: a small model's opinion on this is noise."""
        cases = cases_of(state)
        candidates = candidates_of(state)
        standing = Standing(candidates, cases, rounds_in_tier(state), self.crew.settings.max_rounds)
        move = decide(standing)
        climbed = climb(self.crew, state, ctx, move.problem) if move.action == "stop" else {}
        if climbed:
            move = begin_anew(standing)
        ctx.log(f"Next: {move.action}.", problem=move.problem, dropped=dict(move.dropped))
        kept = [case.as_dict() for case in cases if case.name not in move.dropped]
        dropped = [*state["dropped"], *({"name": name, "why": why} for name, why in move.dropped.items())]
        is_round = move.action != "settle"
        known = credible(candidates[move.best], cases)[:4]
        return {
            "move": {**_plain(move), "known": known},
            "cases": kept,
            "dropped": dropped,
            "round": state["round"] + is_round,
            **climbed,
        }

    def _sampling(self, attempt: int) -> Sampling:
        return Sampling(attempt, self.crew.settings.seed, self.crew.settings.temperature)

    def _candidate(self, state: WorkState, draft: Draft, origin: str, asker: Asker) -> Update:
        new = _new_candidate(draft.source, origin) | authorship(state, asker.last_model)
        hints = draft.hints if self.crew.settings.tests else ()
        cases = pool(cases_of(state), hints, [test["name"] for test in state["dropped"]])
        return {"candidates": [*state["candidates"], new], "cases": [case.as_dict() for case in cases]}

    async def _run(self, ctx: NodeContext, key: str, state: WorkState, source: str, cases: list[Case]) -> Outcome:
        """Run tests on a version of the code. The tree in the state is not changed by it."""
        if not cases:
            return Outcome()
        brief = Brief.of(state["brief"])
        files = project_files(brief, source, cases)

        async def run() -> dict[str, Any]:
            tree = await self.crew.workspace.write(state["base"], files)
            outcome = await self.crew.run_tests(brief.test_file)
            return {"tree": tree, **outcome.as_dict()}

        return Outcome.of(await ctx.step(key, run, kind="tool", request={"tool": "run_tests", "files": files}))

    async def _check(self, ctx: NodeContext, key: str, state: WorkState, source: str) -> str | None:
        """Run the user's check on a version of the code; None if there is none."""
        command = state.get("check")
        if not command:
            return None
        files = {Brief.of(state["brief"]).file: source}

        async def run() -> dict[str, Any]:
            tree = await self.crew.workspace.write(state["base"], files)
            return {
                "tree": tree,
                **await self.crew.run_command(command),
            }

        done = await ctx.step(
            key, run, kind="tool", request={"tool": "run_command", "command": command, "files": files}
        )
        if done["ok"] or _has_no_tests_yet(done):
            return ""
        return essence(done["output"]) or f"Exit code {done['exit_code']}."


def placed(brief: Brief, files: Sequence[str]) -> Brief:
    """The brief with its code where the plan wants it."""
    wanted = [file for file in files if file.endswith(".py") and not is_test(file)]
    return brief if not wanted or brief.file in wanted else replace(brief, file=wanted[0])


def described(beside: Mapping[str, str]) -> str:
    """Tell of files that are there already, for a prompt; empty if none is."""
    return "\n\n".join(f"# {path}\n{offered}" for path, offered in beside.items())


def _modules(brief: Brief, state: WorkState) -> frozenset[str]:
    """What code may import beside the standard library."""
    paths = [brief.file, *state["beside"]]
    return frozenset(part for path in paths for part in path.removesuffix(".py").split("/"))


def criteria(brief: Brief, check: str) -> list[str]:
    """When a file with its tests is done."""
    done = [f"`{name}` is defined in {brief.file}" for name in brief.names]
    done += [f"{example.call} gives {example.expected}" for example in brief.examples]
    done += [f"the check `{check}` passes"] if check else []
    return [*done, f"the tests in {brief.test_file} fail on a stub and pass on the code"]


def _has_no_tests_yet(done: dict[str, Any]) -> bool:
    """Whether pytest found nothing to run: the code stands alone here, and is proved with its tests in the end."""
    return done["exit_code"] == 5 and "no tests ran" in done["output"]


def project_files(brief: Brief, source: str, cases: list[Case]) -> dict[str, str | None]:
    """Lay out the code and its test file."""
    try:
        offered = public_names(ast.parse(source))
    except SyntaxError:
        offered = []
    names = [] if brief.is_program or not offered else [n for n in names_to_test(brief, source) if n in offered]
    return {brief.file: source, brief.test_file: render_tests(header(brief, names or list(brief.names)), cases)}


def cases_of(state: WorkState) -> list[Case]:
    """Read the tests in force."""
    return [Case.of(plain) for plain in state["cases"]]


def candidates_of(state: WorkState) -> list[Candidate]:
    """Read the versions of the code."""
    return [_candidate(plain) for plain in state["candidates"]]


def _new_candidate(source: str, origin: str) -> dict[str, Any]:
    return {"source": source, "origin": origin, "flaw": "", "outcome": None, "check": None}


def _candidate(plain: dict[str, Any]) -> Candidate:
    outcome = Outcome.of(plain["outcome"]) if plain["outcome"] else None
    return Candidate(plain["source"], plain["origin"], plain["flaw"], outcome, plain["check"])


def _plain(move: Move) -> dict[str, Any]:
    return asdict(move) | {"dropped": dict(move.dropped)}
