"""`treadle plan`: what a goal would become, before anything is built; and building what a plan says."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from treadle.cli import build, output, session, watch
from treadle.errors import UsageError

if TYPE_CHECKING:
    from treadle.services.plan_file import PlanFile
    from treadle.services.plans import PlanRequest
    from treadle.settings import Settings


def add_to(app: typer.Typer) -> None:
    app.command("plan")(plan)


def plan(
    goal: str = typer.Argument(..., metavar="GOAL", help="What is to be built."),
    repo: Path | None = typer.Option(None, "--repo", metavar="PATH", help="Plan a change to this repository."),
    out: Path | None = typer.Option(None, "--out", metavar="FILE", help="Where the plan is saved."),
    check: str = typer.Option("", "--check", metavar="CMD", help="Shell command that must pass in the end."),
    model: str | None = typer.Option(None, "--model", metavar="NAME", help="See `treadle models list`."),
    provider: str | None = typer.Option(None, "--provider", metavar="NAME", help="auto, embedded, ollama, openai, ..."),
    tier: str | None = typer.Option(None, "--tier", metavar="NAME", help="tiny, small, large or frontier."),
    json: bool = typer.Option(False, "--json", help="The plan as one JSON object on stdout."),
    mermaid: bool = typer.Option(False, "--mermaid", help="Draw the tasks as a Mermaid chart."),
    store: str | None = typer.Option(None, "--store", metavar="URL", help="Where the run is kept."),
) -> None:
    """Show what GOAL would become: tasks, tiers, tokens, time, cost.

    The plan is saved as a file. Change it as you like, and build it: treadle run FILE.
    """

    async def work() -> int:
        from treadle.services.plans import PlanRequest

        provider_name, script = session.script_in(provider)
        settings = session.settings_of(model=model, provider=provider_name, tier=tier, store=store)
        request = PlanRequest(goal, Path.cwd(), repo, check, script)
        place = _place(out, goal)
        run_id, found = await _planned(settings, request)
        _save(found, place)
        if json:
            output.data_json(_as_json(run_id, place, found))
        else:
            _show(found, place, mermaid=mermaid)
        return 0

    session.run(work)


async def _planned(settings: Settings, request: PlanRequest) -> tuple[str, PlanFile]:
    from treadle.engine.orchestrator import new_run_id

    async with session.looking(settings=settings) as looking:
        prepared = await looking.plans.check(request)
        if prepared.may_ask:
            output.note(f"model    {prepared.build.model} ({prepared.build.provider}) is asked where rules are unsure")
            for file in looking.builds.model_files(prepared.build)[:1]:
                await build.fetch(looking, file)
    run_id = new_run_id()
    async with session.working(settings, capacity=4) as application:
        await application.plans.start(prepared, run_id)
        view = watch.PlainView() if prepared.may_ask else watch.SilentView()
        application.crews.on_note = view.note
        result = await watch.to_rest(application, run_id, view)
        return run_id, application.plans.finished(prepared, result)


def _place(out: Path | None, goal: str) -> Path:
    """Where the plan is saved. Raises UsageError if something is there already."""
    from treadle.services.builds import slug
    from treadle.workspace import numbered

    if out is None:
        name = f"plan-{slug(goal)}"
        return next(Path(f"{free}.yaml") for free in numbered(Path(name)) if not Path(f"{free}.yaml").exists())
    if out.exists():
        raise UsageError(f"{out} is there already; nothing was planned.", hint="Name another --out, or remove it.")
    return out


def _save(found: PlanFile, place: Path) -> None:
    from treadle.services.plan_file import write_plan

    write_plan(found, place)


def _show(found: PlanFile, place: Path, *, mermaid: bool) -> None:
    from treadle.cli import plan_tree

    plan = found.plan
    if mermaid:
        for line in plan_tree.mermaid(plan):
            output.data(line)
    else:
        output.data(f"{output.clip(plan.told, output.columns(sys.stdout))}\n")
        for line in plan_tree.lines(plan, output.columns(sys.stdout)):
            output.data(line)
    for title, texts in (("Done when", plan.done), ("Assumed", plan.assumptions), ("To be answered", plan.questions)):
        if texts:
            output.note(f"\n{title}:")
        for text in texts:
            output.note(f"  - {text}")
    output.note(f"\nsaved in {place}")
    answer = "answer what is open there, then: " if plan.questions else ""
    output.note(f"next: {answer}treadle run {place}")


def _as_json(run_id: str, place: Path, found: PlanFile) -> dict[str, object]:
    from treadle.domain.experience import total

    whole = total(task.estimate for task in found.plan.tasks)
    return {"run_id": run_id, "file": str(place), "plan": found.plan.plain(), "total": asdict(whole)}


@dataclass(frozen=True, slots=True)
class How:
    """How a plan is to be built, where the command line says so. It counts for more than the file."""

    model: str | None
    provider: str | None
    store: str | None
    json: bool
    verbose: bool
    detach: bool
    elsewhere: bool


def build_plan(path: Path, how: How) -> None:
    """Build what a plan file says. Raises as `services.plan_file.read_plan`, and as `treadle build` does."""

    async def work() -> int:
        from treadle.services.builds import BuildRequest
        from treadle.services.plan_file import read_plan

        found = read_plan(path)
        provider, script = session.script_in(how.provider or found.provider or None)
        settings = session.settings_of(
            model=how.model or found.model or None, provider=provider, tier=found.tier or None, store=how.store
        )
        session.refuse_detached_memory(settings, how.detach)
        out, repo = (Path(text) if text else None for text in (found.out, found.repo))
        request = BuildRequest(found.plan.goal, Path.cwd(), out, repo, found.check, script, how.elsewhere)
        return await build.run_build(
            settings, request, found.plan, json=how.json, verbose=how.verbose, detach=how.detach
        )

    session.run(work)
