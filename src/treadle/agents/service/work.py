"""Making a service: the frame by rule, the custom functions by a model, and tests that bring the two to agree."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from treadle.agents.coder import Sampling
from treadle.agents.desk import Desk, Made, is_stuck
from treadle.agents.service import frame
from treadle.agents.service.brief import make_service_brief
from treadle.agents.service.cases import cases_by_rule, header
from treadle.agents.service.functions import assemble, flaw_of, write_case, write_function
from treadle.agents.service.shape import Route, ServiceBrief
from treadle.agents.source import stub
from treadle.agents.testcases import Case, render_tests
from treadle.agents.trial import Outcome
from treadle.domain.plan import PlannedTask


@dataclass(frozen=True, slots=True)
class _Version:
    """One version of the custom functions, by name, and what became of it."""

    functions: Mapping[str, str]
    flaws: Mapping[str, str]
    outcome: Outcome | None = None

    def failed(self, cases: Sequence[Case]) -> dict[str, str]:
        """The tests that it does not pass, with the essence of each; those that were skipped do not count."""
        if self.outcome is None or self.outcome.broken:
            said = self.outcome.broken if self.outcome else next(iter(self.flaws.values()), "")
            return {case.name: said for case in cases}
        return {case.name: self.outcome.failed[case.name] for case in cases if case.name in self.outcome.failed}

    def rank(self, cases: Sequence[Case]) -> tuple[bool, int, int]:
        """What the tests by rule say outweighs what a model's tests say."""
        failed = self.failed(cases)
        by_rule = sum(1 for case in cases if case.origin == "rule" and case.name in failed)
        return (not self.flaws, -by_rule, -len(failed))


async def make_service(task: PlannedTask, desk: Desk) -> Made:
    """Make a service with its tests. Journaled; ends after `desk.rounds` corrections.

    Tests by rule (every route answers, refuses and keeps what it should) must pass. A test that a model made up is
    dropped when two versions of the code fail it and most of the others pass.
    """
    brief = await make_service_brief(_goal(task, desk), desk.asker, desk.prompts, files=task.files, seed=desk.seed)
    for assumption in brief.assumptions:
        desk.ctx.log(f"Assumed: {assumption}.")
    cases = cases_by_rule(brief)
    if desk.tests:
        cases += [case for route in brief.for_model for case in await _invented(brief, desk, route)]
    versions = [await _tried(brief, desk, cases, await _written(brief, desk, {}, brief.for_model, "", 0), 0)]
    for number in range(1, desk.rounds + 1):
        best = _best(versions, cases)
        if not brief.for_model or not best.failed(cases) or _is_settled(versions, cases):
            break
        if is_stuck([version.rank(cases) for version in versions]):
            desk.ctx.log("The last versions brought nothing; no more are asked for.")
            break
        blamed = _blamed(brief, best, cases)
        problem = _described(best.failed(cases), cases) if number % 2 and not best.flaws else ""
        functions = await _written(brief, desk, best.functions, blamed, problem, number)
        versions.append(await _tried(brief, desk, cases, functions, number))
    return await _finished(brief, desk, versions, cases)


async def _written(
    brief: ServiceBrief, desk: Desk, before: Mapping[str, str], routes: Sequence[Route], problem: str, number: int
) -> dict[str, str]:
    """Write functions anew, the others stay. With a problem they are corrected; without, they are written afresh."""
    functions = dict(before)
    for route in routes:
        functions[route.function] = await write_function(
            brief,
            route,
            desk.asker,
            desk.prompts,
            key=f"write.{number}.{route.function}",
            sampling=_sampling(desk, number if problem else (number + 1) // 2),
            before=before.get(route.function, "") if problem else "",
            problem=problem or desk.sent_back,
        )
    return functions


def _blamed(brief: ServiceBrief, version: _Version, cases: Sequence[Case]) -> list[Route]:
    """The routes whose functions cannot be used, or whose own tests fail; all of them if that tells nothing."""
    failed = version.failed(cases)
    flawed = [route for route in brief.for_model if route.function in version.flaws]
    own = [route for route in brief.for_model if any(name.startswith(f"test_{route.function}") for name in failed)]
    return flawed or own or list(brief.for_model)


async def _tried(
    brief: ServiceBrief, desk: Desk, cases: Sequence[Case], functions: Mapping[str, str], number: int
) -> _Version:
    flaws = {route.function: flaw_of(brief, route, functions[route.function]) for route in brief.for_model}
    flaws = {name: flaw for name, flaw in flaws.items() if flaw}
    if flaws:
        desk.ctx.log(f"Not usable: {next(iter(flaws.values()))}")
        return _Version(functions, flaws)
    files = _files(brief, assemble(brief, functions), cases)
    outcome = await desk.run_tests(f"test.{number}", files, brief.test_file)
    version = _Version(functions, {}, outcome)
    failed = version.failed(cases)
    desk.ctx.log(f"{len(cases) - len(failed)} of {len(cases)} tests pass.", failed=sorted(failed))
    return version


async def _invented(brief: ServiceBrief, desk: Desk, route: Route) -> list[Case]:
    key = f"tests.{route.function}"
    return await write_case(brief, route, desk.asker, desk.prompts, key=key, sampling=_sampling(desk, 0))


def _is_settled(versions: Sequence[_Version], cases: Sequence[Case]) -> bool:
    """Two versions that fail the same made-up tests alike, and nothing else, are likelier right than the tests."""
    gone = _best(versions, cases).failed(cases)
    alike = [version for version in versions if not version.flaws and version.failed(cases) == gone]
    return len(alike) >= 2 and set(gone) <= {case.name for case in cases if case.origin != "rule"}


async def _finished(brief: ServiceBrief, desk: Desk, versions: Sequence[_Version], cases: Sequence[Case]) -> Made:
    best = _best(versions, cases)
    failed = best.failed(cases)
    gone = {case.name for case in cases if case.origin != "rule" and case.name in failed}
    made_up = [case for case in cases if case.origin != "rule"]
    may_drop = not made_up or 2 * len(gone) <= len(made_up) or len(versions) > 1
    kept = [case for case in cases if case.name not in gone] if may_drop else list(cases)
    source = assemble(brief, best.functions)
    problem = _described(best.failed(kept), kept) if best.failed(kept) or best.flaws else ""
    if not problem:
        kept, problem = await _proved(brief, desk, source, kept)
    why = f"fails on all or the best of {len(versions)} versions of the code"
    dropped = [(name, why) for name in sorted(gone)] if may_drop else []
    return Made(
        {**_files(brief, source, kept), "README.md": _readme(brief)},
        next(iter(best.flaws.values()), problem),
        tuple(kept),
        tuple(dropped),
        _checked(brief, kept, gone),
        brief.assumptions,
    )


async def _proved(brief: ServiceBrief, desk: Desk, source: str, cases: Sequence[Case]) -> tuple[list[Case], str]:
    """Keep the tests that fail on a stub: the others say nothing."""
    hollow = await desk.run_tests("stub", _files(brief, stub(source), cases), brief.test_file)
    kept = [case for case in cases if case.name not in hollow.passed]
    return kept, "" if kept else "No test is left that fails on a stub of the code."


def _checked(brief: ServiceBrief, cases: Sequence[Case], gone: Collection[str]) -> tuple[str, ...]:
    """Say what the tests prove, and of which routes they prove no more than that they answer."""
    by_rule = sum(1 for case in cases if case.origin == "rule")
    said = [f"{by_rule} tests by rule fail on a stub and pass on the service, over HTTP and a database file"]
    proved = {case.name.removeprefix("test_") for case in cases if case.origin != "rule"}
    for route in brief.for_model:
        words = f"{route.method} {route.path}"
        is_disputed = f"test_{route.function}" in gone
        why = "a test of what it gives was dropped" if is_disputed else "no test says what it gives"
        said.append(f"{words} has a test of the model's" if route.function in proved else f"{words} answers; {why}")
    return tuple(said)


def _best(versions: Sequence[_Version], cases: Sequence[Case]) -> _Version:
    return max(reversed(versions), key=lambda version: version.rank(cases))


def _described(failed: dict[str, str], cases: Sequence[Case], most: int = 2) -> str:
    sources = {case.name: case.source.strip() for case in cases}
    return "\n\n".join(
        f"```python\n{sources.get(name, name)}\n```\nfails with:\n{text}" for name, text in list(failed.items())[:most]
    )


def _files(brief: ServiceBrief, source: str, cases: Sequence[Case]) -> dict[str, str]:
    return {brief.file: source, brief.test_file: render_tests(header(brief), cases)}


def _readme(brief: ServiceBrief) -> str:
    goal = " ".join(brief.goal.split("```")[0].split())
    started = f"python {brief.file} --port {brief.port} {brief.database_flags[0]} {brief.database}"
    routes = frame.usage(brief)
    title = brief.module.replace("_", " ").capitalize()
    errors = (
        'Errors are JSON, `{"error": "..."}`: 400 for what cannot be read, 404 for what is not there, 405 for a wrong '
        "method, 409 for what is there already."
    )
    used = f"```\n{started}\n```\n\n```\n{routes}\n```\n\n{errors}"
    return f"# {title}\n\n{goal}\n\n## Use\n\n{used}\n\n## Test\n\n`python -m pytest`\n"


def _goal(task: PlannedTask, desk: Desk) -> str:
    """What is wanted of this task: what its brief says, or the whole goal."""
    return str(task.brief.get("goal") or desk.goal.strip() or "\n".join([task.title, *task.done]))


def _sampling(desk: Desk, attempt: int) -> Sampling:
    return Sampling(attempt, desk.seed, desk.temperature)
