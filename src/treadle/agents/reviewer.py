"""The QA reviewer: accepts a task's change, sends it back with reasons, or escalates it.

Rules come first, because they cost nothing and are right (`agents.review_rules`), then the checks, then tests of the
reviewer's own, made from the acceptance criteria alone, and last a model's opinion. A model writes wrong tests about as
often as wrong code, so a test that fails counts only if it is an example that the user gave, or if the model, asked a
second time and without seeing the expected value, comes to the same one. Small models are not asked at all unless
`review = "always"`: their opinion sends good code back.

Call it in a node, once the task's own tests pass:

    said = await review(Submission(task, goal, diff, files, round=n, tier=tier), ctx, asker, prompts, bench,
                        policy=ReviewPolicy(settings.review), check=check)

`said` is a plain dict for the state: see `review`.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from treadle.agents.answers import code_block
from treadle.agents.ask import Asker, Question
from treadle.agents.diffs import read_diff
from treadle.agents.examples import Example, find_examples
from treadle.agents.prompt import Prompts
from treadle.agents.review_rules import Finding, find_faults, is_test_file
from treadle.agents.source import has_class, interface, public_names, stub
from treadle.agents.testcases import (
    Case,
    Header,
    from_assertions,
    from_examples,
    from_functions,
    pool,
    render_tests,
)
from treadle.agents.trial import Outcome, essence
from treadle.agents.workbench import Workbench
from treadle.domain.plan import PlannedTask
from treadle.ports.context import NodeContext

Verdict = Literal["accept", "send_back", "escalate"]
Check = Callable[[], Awaitable[Mapping[str, Any]]]
"""Runs the task's checks; gives what `agents.trial.run_command` gives, at least `ok` and `output`."""

_MAX_DIFF = 12_000
_MAX_CONFIRMED = 3
_UPPER = frozenset({"large", "frontier"})
_OPINION = {
    "type": "object",
    "properties": {
        "problems": {"type": "array", "maxItems": 3, "items": {"type": "string", "maxLength": 240}},
        "accept": {"type": "boolean"},
    },
    "required": ["problems", "accept"],
    "additionalProperties": False,
}
_EXPECTED = {
    "type": "object",
    "properties": {"steps": {"type": "string", "maxLength": 300}, "value": {"type": "string", "maxLength": 200}},
    "required": ["steps", "value"],
    "additionalProperties": False,
}


@dataclass(frozen=True, slots=True)
class ReviewPolicy:
    """Whether a model takes part in reviews, and how often a change goes back."""

    review: Literal["auto", "always", "never"] = "auto"
    """Setting `[build] review`. `auto`: in the tiers large and frontier. Rules and checks always apply."""
    max_rounds: int = 2
    """Times that a change is sent back in one tier. After that it is escalated, or accepted with doubts if there is
    nothing against it but an opinion."""
    seed: int = 0

    def asks(self, tier: str) -> bool:
        """Tell whether a model of this tier is asked."""
        return self.review == "always" or (self.review == "auto" and tier in _UPPER)


@dataclass(frozen=True, slots=True)
class Submission:
    """What the reviewer is given: the task, and what was done for it."""

    task: PlannedTask
    goal: str
    """Of the build, in the user's words."""
    diff: str
    """Unified, as git writes it, from where the task began to where it stands."""
    files: Mapping[str, str]
    """The changed text files as they are now, by path."""
    round: int = 0
    """Times that this task was sent back in its present tier."""
    tier: str = ""
    """Whose work it is; the reviewer's model is of the same tier."""

    @property
    def wanted(self) -> str:
        """What is asked for, without a look at the code."""
        said = self.task.title if self.goal.strip() in ("", self.task.title) else f"{self.goal}\n\n{self.task.title}"
        return said

    @property
    def criteria(self) -> str:
        return "\n".join(f"- {line}" for line in self.task.done) or "- The goal is met."


@dataclass(slots=True)
class _Findings:
    """What a review has come to so far."""

    faults: list[str] = field(default_factory=list)
    """Beyond dispute: rules, checks, credible tests."""
    opinions: list[str] = field(default_factory=list)
    """What a model holds against it."""
    doubts: list[str] = field(default_factory=list)
    """Noted, without consequence."""
    tests: list[Case] = field(default_factory=list)
    """Of the reviewer, that pass and are credible: worth keeping."""
    failed: dict[str, str] = field(default_factory=dict)


async def review(
    work: Submission,
    ctx: NodeContext,
    asker: Asker,
    prompts: Prompts,
    bench: Workbench,
    *,
    policy: ReviewPolicy | None = None,
    check: Check | None = None,
) -> dict[str, Any]:
    """Judge a change. Journaled under keys that begin with `review`; deterministic but for the model's answers.

    Returns a plain dict:
        verdict: `accept`, `send_back` (to whoever made it, with the reasons), or `escalate` (to the next tier; where
            there is none, the task has failed).
        reasons: Why it goes back, one sentence or excerpt each. Empty if it is accepted.
        doubts: What was seen and not held against it.
        tests: Tests of the reviewer's own (as `Case.as_dict`) that fail on a stub and pass on the code.
        failed: Its tests that count and fail, with the essence of each failure.
        by: Which model was asked; empty if only rules and checks spoke.

    Raises: What `Asker.ask` and the workbench raise.
    """
    policy = policy or ReviewPolicy()
    found = _by_rule(work)
    if check is not None and not found.faults:
        found.faults += await _checked(ctx, work, check)
    asks = policy.asks(work.tier)
    if not found.faults:
        await _own_tests(work, ctx, asker if asks else None, prompts, bench, found, policy.seed)
    if asks and not found.faults:
        found.opinions += await _opinion(work, asker, prompts, found.doubts, policy.seed)
    return _said(work, found, policy, asker.last_model if asks else "")


def _by_rule(work: Submission) -> _Findings:
    findings: list[Finding] = find_faults(
        read_diff(work.diff),
        work.files,
        may_touch=work.task.files,
        examples=_examples(work),
        goal=work.wanted,
    )
    sure = [finding.text for finding in findings if finding.is_sure]
    if not work.diff.strip():
        sure.append("Nothing was changed.")
    return _Findings(faults=sure, doubts=[finding.text for finding in findings if not finding.is_sure])


async def _checked(ctx: NodeContext, work: Submission, check: Check) -> list[str]:
    async def run() -> dict[str, Any]:
        done = await check()
        return {"ok": bool(done["ok"]), "output": str(done.get("output", ""))[-20_000:]}

    request = {"tool": "check", "diff": hashlib.sha256(work.diff.encode()).hexdigest()}
    done = await ctx.step("review.check", run, kind="tool", request=request)
    return [] if done["ok"] else [f"The check fails:\n{essence(done['output'])}"]


async def _own_tests(
    work: Submission,
    ctx: NodeContext,
    asker: Asker | None,
    prompts: Prompts,
    bench: Workbench,
    found: _Findings,
    seed: int,
) -> None:
    """Try to break the code with tests that were written without seeing the code's own."""
    sources = _sources(work)
    cases = _given_cases(work)
    if asker is not None and sources:
        cases = pool(cases, await _written(work, asker, prompts, sources, seed))
    if not cases or not sources:
        return
    outcome, hollow = await _run(work, ctx, bench, sources, cases)
    if outcome.broken:
        found.doubts.append(f"The reviewer's tests could not run: {outcome.broken}")
        return
    for case in cases:
        if case.name in hollow:
            continue
        if case.name in outcome.passed:
            found.tests.append(case)
        elif case.name in outcome.failed:
            found.failed[case.name] = outcome.failed[case.name]
    await _weigh(work, asker, prompts, [case for case in cases if case.name in found.failed], found, seed)


async def _weigh(
    work: Submission, asker: Asker | None, prompts: Prompts, failed: list[Case], found: _Findings, seed: int
) -> None:
    """Tell the failed tests that count from those that are as likely wrong themselves."""
    for number, case in enumerate(failed):
        counts = case.is_given
        if not counts and asker is not None and number < _MAX_CONFIRMED:
            counts = await _is_confirmed(work, asker, prompts, case, f"review.confirm.{number}", seed)
        shown = f"```python\n{case.source.strip()}\n```\nfails with:\n{found.failed[case.name]}"
        if counts:
            found.faults.append(shown)
        else:
            found.doubts.append(shown)
            del found.failed[case.name]


async def _is_confirmed(work: Submission, asker: Asker, prompts: Prompts, case: Case, key: str, seed: int) -> bool:
    """Ask again for the value that a test expects, without showing it."""
    pair = _compared(case)
    if pair is None:
        return False
    text = prompts["review_expected"].render(goal=f"{work.wanted}\n\n{work.criteria}", call=pair[0])
    question = Question(text, max_tokens=250, temperature=0.3, seed=seed + 7, json_schema=_EXPECTED)
    answer = await asker.ask_json(key, question, tries=1)
    try:
        return isinstance(answer, dict) and bool(ast.literal_eval(str(answer["value"])) == ast.literal_eval(pair[1]))
    except (ValueError, SyntaxError, KeyError, TypeError, MemoryError, RecursionError):
        return False


def _compared(case: Case) -> tuple[str, str] | None:
    """The two sides of a test that is one comparison with a literal."""
    body = ast.parse(case.body).body
    test = body[0].test if len(body) == 1 and isinstance(body[0], ast.Assert) else None
    if not (isinstance(test, ast.Compare) and len(test.ops) == 1 and isinstance(test.ops[0], ast.Eq | ast.Is)):
        return None
    return ast.unparse(test.left), ast.unparse(test.comparators[0])


async def _written(
    work: Submission, asker: Asker, prompts: Prompts, sources: Mapping[str, str], seed: int
) -> list[Case]:
    """Tests from the acceptance criteria. The model sees what the code offers, not how it does it, nor its tests."""
    path = max(sources, key=lambda name: len(sources[name]))
    names, offered = _names(sources[path]), interface(sources[path])
    if not names:
        return []
    goal = f"{work.wanted}\n\nIt is done when:\n{work.criteria}"
    values = {"goal": goal, "file": path, "names": ", ".join(names), "interface": offered}
    is_stateful = has_class(sources[path])
    if is_stateful:
        text = prompts["test_functions"].render(**values, module=_module(path))
    else:
        text = prompts["test_assertions"].render(**values)
    answer = code_block(await asker.ask("review.tests", Question(text, max_tokens=500, seed=seed)))
    return from_functions(answer, names) if is_stateful else from_assertions(answer, names)


async def _run(
    work: Submission, ctx: NodeContext, bench: Workbench, sources: Mapping[str, str], cases: list[Case]
) -> tuple[Outcome, frozenset[str]]:
    """Run tests on the code, and on a stub of it; a test that passes on the stub says nothing."""
    used = {name for case in cases for name in _loaded(case)}
    imports = [
        f"from {_module(path)} import {', '.join(names)}"
        for path, source in sources.items()
        if (names := [name for name in _names(source) if name in used])
    ]
    file = f"test_review_{work.task.id}.py"
    tests = render_tests(Header("Tests of the reviewer.", ("import math", "import pytest", *imports)), cases)
    whole: dict[str, str | None] = {**work.files, file: tests}
    hollow = {**whole, **{path: stub(source) for path, source in sources.items()}}

    async def run() -> dict[str, Any]:
        on_stub = await bench.run_tests(hollow, file)
        return {**(await bench.run_tests(whole, file)).as_dict(), "hollow": sorted(on_stub.passed)}

    done = await ctx.step("review.run", run, kind="tool", request={"tool": "review_tests", "files": whole})
    return Outcome.of(done), frozenset(done["hollow"])


async def _opinion(work: Submission, asker: Asker, prompts: Prompts, doubts: list[str], seed: int) -> list[str]:
    notes = "Look at these above all:\n" + "\n".join(f"- {doubt}" for doubt in doubts[:4]) if doubts else ""
    diff = work.diff if len(work.diff) <= _MAX_DIFF else work.diff[:_MAX_DIFF] + "\n(the rest is not shown)"
    text = prompts["review"].render(goal=work.wanted, done=work.criteria, diff=diff, notes=notes)
    answer = await asker.ask_json("review.opinion", Question(text, max_tokens=400, seed=seed, json_schema=_OPINION))
    if not isinstance(answer, dict) or answer.get("accept") is not False:
        return []
    problems = answer.get("problems")
    return [str(problem).strip() for problem in problems if str(problem).strip()] if isinstance(problems, list) else []


def _said(work: Submission, found: _Findings, policy: ReviewPolicy, by: str) -> dict[str, Any]:
    reasons, doubts = [*found.faults, *found.opinions], list(found.doubts)
    verdict: Verdict = "accept"
    if found.faults:
        verdict = "send_back" if work.round < policy.max_rounds else "escalate"
    elif found.opinions and work.round == 0:
        verdict = "send_back"  # an opinion is heard once; it may be wrong, and the checks pass
    elif found.opinions:
        reasons, doubts = [], [*doubts, *found.opinions]
    return {
        "verdict": verdict,
        "reasons": reasons,
        "doubts": doubts,
        "tests": [case.as_dict() for case in found.tests],
        "failed": found.failed,
        "by": by,
    }


def _examples(work: Submission) -> list[Example]:
    names = {name for source in _sources(work).values() for name in _names(source)}
    return find_examples("\n".join([work.goal, work.task.title, *work.task.done]), names)


def _given_cases(work: Submission) -> list[Case]:
    """The examples of the user that no test of the change has yet."""
    tests = "\n".join(text for path, text in work.files.items() if is_test_file(path))
    return from_examples(example for example in _examples(work) if example.call not in tests)


def _sources(work: Submission) -> dict[str, str]:
    """The changed Python files that are no tests and parse."""
    found = {path: text for path, text in work.files.items() if path.endswith(".py") and not is_test_file(path)}
    return {path: text for path, text in found.items() if _names(text)}


def _names(source: str) -> list[str]:
    try:
        return [name for name in public_names(ast.parse(source)) if name != "main"]
    except (SyntaxError, ValueError, RecursionError):
        return []


def _module(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _loaded(case: Case) -> set[str]:
    return {node.id for node in ast.walk(ast.parse(case.source)) if isinstance(node, ast.Name)}
