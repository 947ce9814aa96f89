"""`treadle build`: a goal becomes a repository, or a branch of one."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from treadle.cli import asking, output, session, watch
from treadle.errors import (
    BudgetExceeded,
    ModelFileCorrupt,
    ModelUnavailable,
    RunFailed,
    SandboxUnavailable,
    TreadleError,
    UsageError,
)

if TYPE_CHECKING:
    from treadle.app import Application
    from treadle.domain.plan import Plan
    from treadle.domain.task import RunRow
    from treadle.models.files.catalog import ModelFile
    from treadle.services.builds import Approval, BuildPlan, BuildRequest
    from treadle.services.tiers import PlannedModel
    from treadle.settings import Settings

_REASON_LINES = 12
WAITS = 6
"""The exit code of a build that waits for an answer: whatever follows it in a script must not take it for solved."""
_EXIT_CODES = {kind.code: kind.exit_code for kind in (ModelFileCorrupt, ModelUnavailable, SandboxUnavailable)}
"""Of builds that failed of what is around them, not of their task."""


def add_to(app: typer.Typer) -> None:
    app.command("build")(build)


def build(
    goal: str = typer.Argument(..., metavar="GOAL", help='What to build, e.g. "slug.py with slugify(text) and tests".'),
    out: Path | None = typer.Option(None, "--out", metavar="DIR", help="Make a new repository there."),
    repo: Path | None = typer.Option(None, "--repo", metavar="PATH", help="Work on a branch of this repository."),
    check: str = typer.Option("", "--check", metavar="CMD", help="Shell command that must pass in the end."),
    model: str | None = typer.Option(None, "--model", metavar="NAME", help="See `treadle models list`."),
    provider: str | None = typer.Option(None, "--provider", metavar="NAME", help="auto, embedded, ollama, openai, ..."),
    tier: str | None = typer.Option(None, "--tier", metavar="NAME", help="tiny, small, large or frontier."),
    sandbox: str | None = typer.Option(
        None, "--sandbox", metavar="NAME", help="auto, bubblewrap, landlock, docker or none."
    ),
    allow_host: list[str] | None = typer.Option(
        None, "--allow-host", metavar="HOST", help="Let sandboxed commands reach this host; may be repeated."
    ),
    budget_tokens: int | None = typer.Option(None, "--budget-tokens", metavar="N", help="Tokens to spend at most."),
    budget_money: float | None = typer.Option(None, "--budget-money", metavar="USD", help="Money to spend at most."),
    budget_seconds: float | None = typer.Option(
        None, "--budget-seconds", metavar="S", help="Seconds that models may take to answer, in all."
    ),
    max_rounds: int | None = typer.Option(None, "--max-rounds", metavar="N", help="Repairs to try at most."),
    approve: str = typer.Option("", "--approve", metavar="WHAT", help="Ask first: plan, merge, or plan,merge."),
    json: bool = typer.Option(False, "--json", help="One event per line on stdout, then the report."),
    verbose: bool = typer.Option(False, "--verbose", "-v", help="Show model answers as they are written."),
    detach: bool = typer.Option(False, "--detach", help="Build in the background and print the run's id."),
    elsewhere: bool = typer.Option(
        False, "--elsewhere", help="Let `treadle worker` on other machines ask the model and run the tests."
    ),
    store: str | None = typer.Option(None, "--store", metavar="URL", help="Where the run is kept."),
) -> None:
    """Build what GOAL says, into a git repository.

    Inside a git repository: on a branch of it, the checkout untouched. Elsewhere: a new one, in ./<name> or --out.
    """

    async def work() -> int:
        from treadle.services.builds import BuildRequest

        provider_name, script = session.script_in(provider)
        settings = session.settings_of(
            model=model,
            provider=provider_name,
            tier=tier,
            sandbox=session.sandbox_name(sandbox),
            allow_host=allow_host or None,
            budget_tokens=budget_tokens,
            budget_money=budget_money,
            budget_seconds=budget_seconds,
            max_rounds=max_rounds,
            store=store,
        )
        session.refuse_detached_memory(settings, detach)
        wanted = _approvals(approve)
        request = BuildRequest(goal, Path.cwd(), out, repo, check, script, elsewhere, wanted)
        return await run_build(settings, request, json=json, verbose=verbose, detach=detach)

    session.run(work)


def _approvals(text: str) -> tuple[Approval, ...]:
    """Read what the user wants to agree to. Raises UsageError."""
    from treadle.services.builds import APPROVALS

    words = [word.strip() for word in text.split(",") if word.strip()]
    wrong = [word for word in words if word not in APPROVALS]
    if wrong:
        hint = f"Give one or more of: {', '.join(APPROVALS)}."
        raise UsageError(f"--approve cannot be {wrong[0]!r}; nothing was built.", hint=hint)
    return tuple(known for known in APPROVALS if known in words)


async def run_build(
    settings: Settings,
    request: BuildRequest,
    tasks: Plan | None = None,
    *,
    json: bool,
    verbose: bool,
    detach: bool,
) -> int:
    """Check a request, build it, and report; returns the exit code. `tasks`: how the goal was taken apart already."""
    from treadle.services.builds import new_run_id
    from treadle.services.plans import refuse_foreign_tiers

    async with session.looking(settings=settings) as looking:
        plan = await looking.builds.check(request)
        if tasks is not None:
            refuse_foreign_tiers(tasks, plan)
        _say(plan, chosen=request.repo is not None, quiet=json)
        for model in looking.builds.model_files(plan):
            await fetch(looking, model)
    run_id = new_run_id()
    async with session.building(settings, plan, run_id, capacity=0 if detach else 4) as application:
        for tier in await application.builds.unserved(plan) if plan.elsewhere else ():
            first = tier.models[0]
            output.note(f"No worker has {first.model} ({first.provider}) yet. Start one: {_worker_command(first)}")
        await application.builds.start(plan, run_id, tasks)
        if detach:
            session.go_on_in_background(settings, run_id)
            output.data(run_id)
            return 0
        row = await application.runs.find(run_id)
        return await finish(application, row, json=json, verbose=verbose)


def _worker_command(planned: PlannedModel) -> str:
    """What to type on another machine."""
    script = ":FILE" if planned.provider == "scripted" else f" --model {shlex.quote(planned.model)}"
    return f"treadle worker --store postgresql://... --provider {planned.provider}{script}"


def _say(plan: BuildPlan, *, chosen: bool, quiet: bool) -> None:
    if quiet:
        return
    output.note(f"model    {plan.model} ({plan.provider}) answers, {plan.model_reason}")
    if len(plan.tiers) > 1:
        output.note(f"tiers    {', then '.join(map(str, plan.tiers))}")
    output.note(f"sandbox  {plan.sandbox}")
    if plan.sandbox == "none":
        output.note(output.styled("         Generated code runs as you, with your files and your network.", "yellow"))
    if plan.allow_hosts:
        output.note(f"network  {', '.join(plan.allow_hosts)}, and nothing else")
    if plan.repository is not None:
        instead = " (--out DIR makes a new repository instead)" if not chosen else ""
        output.note(
            f"place    a branch of {_shown(plan.repository.folder)}, from {plan.repository.commit[:10]}{instead}"
        )
        if plan.repository.uncommitted:
            output.note(f"         {plan.repository.uncommitted} uncommitted file(s) are left alone and not seen")
    else:
        output.note(f"place    {_shown(plan.out)}, a new repository")


async def fetch(application: Application, model: ModelFile) -> None:
    """Have a model file here, and whole."""
    from treadle.cli.models import ProgressBar
    from treadle.services.models import Models

    try:
        if not await application.builds.is_missing(model):
            return
    except ModelFileCorrupt as error:
        if model.entry is None:
            raise
        output.note(f"{error} It is fetched again.")
    bar = ProgressBar()
    try:
        await Models(application.settings).pull(model.name, bar.show)
    finally:
        bar.close()


async def finish(application: Application, row: RunRow, *, json: bool, verbose: bool, after: int = 0) -> int:
    """Watch a build to its rest and report; returns the exit code."""
    from treadle.services.builds import plan_of

    plan = plan_of(row)
    if not json:
        output.note(f"run      {row.run_id}\n")
    view = watch.view_for(json=json, verbose=verbose, title=output.clip(plan.goal, 100))
    application.crews.on_note = view.note
    try:
        result = await watch.to_rest(application, row.run_id, view, after=after)
    except RunFailed as error:
        raise await _explained(application, row.run_id, error) from error
    if result.interrupts:
        answered = await asking.answer_here(application, row.run_id, result, json=json)
        if answered is None:
            return WAITS
        return await finish(application, row, json=json, verbose=verbose, after=answered)
    report: dict[str, Any] = dict(result.get("report") or {})
    told = await application.runs.report(await application.runs.find(row.run_id))
    if json:
        facts = {"provider": plan.provider, "model_reason": plan.model_reason, "seconds": told.summary.seconds}
        output.data_json({"type": "Report", "run_id": row.run_id, "status": result.status.value, **report, **facts})
    else:
        _show(plan, row.run_id, report, told.summary.seconds, _rate(told))
    return 0 if report.get("solved") else 1


async def _explained(application: Application, run_id: str, error: RunFailed) -> TreadleError:
    """Say what to do about a failed build, and what it exits with, by what it failed of."""
    from treadle.domain.events import RunErrored

    last = (await application.runs.events(await application.runs.find(run_id)))[-1].payload
    code = last.code if isinstance(last, RunErrored) else ""
    if code == ModelFileCorrupt.code:
        error.hint = "The file is damaged, or of a kind that cannot be used. Build again with another --model."
    elif code == BudgetExceeded.code:
        kind = next((kind for kind in ("money", "seconds") if kind in str(error)), "tokens")
        error.hint = f"Go on with more: treadle retry {run_id} --budget-{kind} N."
    error.exit_code = _EXIT_CODES.get(code, error.exit_code)
    return error


def _rate(told: Any) -> float:
    from treadle.services.timeline import speed

    return speed(told.timeline.output_tokens, told.timeline.model_seconds)


def _show(plan: BuildPlan, run_id: str, report: dict[str, Any], seconds: float, rate: float) -> None:
    """Print what came of a build, for people."""
    solved = bool(report.get("solved"))
    output.note()
    verdict = output.styled("solved", "green") if solved else output.styled("not solved", "red")
    output.data(f"{verdict}  {output.clip(plan.goal, 100)}")
    for name, text in _facts(plan, report, seconds, rate):
        output.data(f"  {name:<10}  {text}")
    output.note()
    for command in _next(plan, run_id, report):
        output.note(f"next: {command}")


def _facts(plan: BuildPlan, report: dict[str, Any], seconds: float, rate: float) -> list[tuple[str, str]]:
    rounds = int(report.get("rounds", 0))
    solved = bool(report.get("solved"))
    if solved:
        where = f"{_shown(report['place'])}, branch {report['branch']}, commit {report['commit'][:10]}"
        facts = [("repository", where)]
    else:
        facts = [("why" if not n else "", line) for n, line in enumerate(_reason(report))]
    facts.append(("files", ", ".join(report.get("files", [])) or "none"))
    if solved and report.get("tests"):
        facts.append(("tests", f"{report['tests']} pass, and were seen to fail on a stub of the code"))
    if report.get("coverage"):
        shown = ", ".join(f"{path} {share:.0%}" for path, share in report["coverage"].items())
        facts.append(("coverage", f"{shown} of the lines are run by the tests"))
    if report.get("dropped"):
        why = report["dropped"][0].get("why", "")
        facts.append(("dropped", f"{len(report['dropped'])} generated test(s), the first because it {why}"))
    if plan.check:
        facts.append(("check", f"{'passes' if solved else 'not proved'}: {output.clip(plan.check, 80)}"))
    facts += [("assumed", text) for text in report.get("assumptions", [])]
    facts.append(("took", f"{output.duration(seconds)}, {rounds} repair round{'' if rounds == 1 else 's'}"))
    speed = f" at {rate:.0f} tokens/s" if rate else ""
    facts.append(("tokens", f"{int(report.get('tokens', 0)):,} of {plan.budget_tokens:,}{speed}"))
    if report.get("cost") or plan.budget_money is not None:
        limit = "" if plan.budget_money is None else f" of {plan.budget_money:g}"
        facts.append(("cost", f"{report.get('cost', 0.0):.4f}{limit} USD"))
    facts += _by_tier(report)
    facts.append(("model", f"{report.get('model', plan.model)} ({plan.provider}), {plan.model_reason}"))
    return facts


def _by_tier(report: dict[str, Any]) -> list[tuple[str, str]]:
    """Which model wrote in which rounds, where there was more than one tier."""
    made: dict[tuple[str, str], list[int]] = {}
    for version in report.get("versions", []):
        made.setdefault((version["tier"], version["model"]), []).append(version["round"])
    if len({tier for tier, _ in made}) < 2:
        return []
    return [
        (f"tier {tier}", f"{model} in round {', '.join(str(n) for n in sorted(set(rounds)))}")
        for (tier, model), rounds in made.items()
    ]


def _reason(report: dict[str, Any]) -> list[str]:
    """Why a build did not succeed, as a few lines: it often quotes a test and how it failed."""
    lines = [line.rstrip() for line in str(report.get("reason", "")).splitlines()]
    kept = [line for line in lines if line and not line.startswith("```")]
    return [line[:160] for line in kept[:_REASON_LINES]] or ["unknown"]


def _next(plan: BuildPlan, run_id: str, report: dict[str, Any]) -> list[str]:
    if not report.get("solved"):
        debug = [f"treadle debug --run {run_id}"]
        return [*debug, *([str(report["see"])] if report.get("see") else [])]
    place = shlex.quote(_shown(report["place"]))
    if plan.repository is not None:
        git = "git" if place == "." else f"git -C {place}"
        look = f"{git} diff {plan.repository.commit[:10]} {report['branch']}"
        return [look, f"{git} merge {report['branch']}", f"treadle debug --run {run_id}"]
    enter = "" if place == "." else f"cd {place} && "
    return [f"{enter}{_python()} -m pytest", f"treadle debug --run {run_id}"]


def _python() -> str:
    """A Python that has pytest, as the user would type it."""
    return "python" if shutil.which("python") == sys.executable else shlex.quote(sys.executable)


def _shown(place: str) -> str:
    """A path as the user would type it: relative where that is shorter."""
    relative = os.path.relpath(place)
    return place if relative.startswith("..") else f"./{relative}" if relative != "." else "."
