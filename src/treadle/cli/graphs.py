"""`treadle run`: a graph of the user's own, and going on with it."""

from __future__ import annotations

import json as json_lib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from treadle.cli import agents, output, plan, session, times, watch
from treadle.errors import UsageError

if TYPE_CHECKING:
    from treadle.app import Application
    from treadle.engine.orchestrator import AnyGraph
    from treadle.engine.results import Result, Where
    from treadle.settings import Settings


def add_to(app: typer.Typer) -> None:
    app.command("run")(run)


def run(
    target: str = typer.Argument(
        ..., metavar="TARGET", help="pkg.module:graph, file.py:graph, agent:NAME, or a plan file."
    ),
    state: str | None = typer.Option(
        None, "--state", metavar="JSON", help="The first state as a JSON object, or @file."
    ),
    store: str | None = typer.Option(None, "--store", metavar="URL", help="Where the run is kept."),
    json: bool = typer.Option(False, "--json", help="One event per line on stdout, then the result."),
    detach: bool = typer.Option(False, "--detach", help="Start it in the background and print its id."),
    elsewhere: bool = typer.Option(
        False, "--elsewhere", help="Only plan here; workers on the same store run the nodes."
    ),
    delay: str | None = typer.Option(None, "--delay", metavar="TIME", help="Begin so much later: 90s, 5m, 12h."),
    at: str | None = typer.Option(None, "--at", metavar="TIME", help="Begin then: 2026-12-01T09:00 (local time)."),
    dedup: str | None = typer.Option(
        None, "--dedup", metavar="KEY", help="If a run of this graph with this key is live, show that one instead."
    ),
    model: str | None = typer.Option(
        None, "--model", metavar="NAME", help="The model that answers, for an agent or a plan."
    ),
    provider: str | None = typer.Option(
        None, "--provider", metavar="NAME", help="Where it is asked; scripted:FILE rehearses."
    ),
    verbose: bool = typer.Option(False, "--verbose", "-v", help="Show model answers as they are written."),
) -> None:
    """Run a graph or an agent, and print its last state as JSON; or build what a plan file says."""
    from treadle.services import targets

    if targets.is_plan(target):
        _refuse_for_plan(target, {"--state": state, "--delay": delay, "--at": at, "--dedup": dedup})
        how = plan.How(model, provider, store, json=json, verbose=verbose, detach=detach, elsewhere=elsewhere)
        plan.build_plan(Path(target), how)
        return
    initial = parse_object(state, "--state")
    nothing = "nothing was started"
    begin: dict[str, Any] = {
        "delay_seconds": times.seconds(delay, nothing) if delay else None,
        "at": times.moment(at, nothing) if at else None,
        "dedup": dedup,
    }

    async def work() -> int:
        settings = session.settings_of(store=store)
        session.refuse_detached_memory(settings, detach)
        _refuse_unreached(settings, elsewhere=elsewhere, detach=detach)
        capacity = 0 if detach else 16
        where: Where = "elsewhere" if elsewhere else "here"
        async with (
            agents.code_of(target, settings, model=model, provider=provider) as (graph, registry),
            session.working(settings, registry=registry, capacity=capacity, where=where) as application,
        ):
            labels = {"kind": "run", "target": target, **agents.labels_of(model, provider)}
            run_id = await _start(application, graph, initial, labels, begin)
            if detach:
                session.go_on_in_background(settings, run_id)
                output.data(run_id)
                return 0
            return await finish(application, run_id, json=json, verbose=verbose, title=target)

    session.run(work)


def _refuse_for_plan(target: str, options: Mapping[str, str | None]) -> None:
    for option, value in options.items():
        if value is not None:
            raise UsageError(f"{option} is for graphs and agents, and {target} is a plan; nothing was started.")


def _refuse_unreached(settings: Settings, *, elsewhere: bool, detach: bool) -> None:
    """Raise UsageError if nodes are left to workers that could never have them."""
    if elsewhere and (detach or settings.store.url.startswith("memory")):
        raise UsageError(
            "--elsewhere plans in this process, on a store that workers reach; nothing was started.",
            hint="Leave out --detach, and use --store postgresql://... or sqlite:///PATH.",
        )


async def _start(
    application: Application, graph: AnyGraph, initial: dict[str, Any], labels: dict[str, str], begin: dict[str, Any]
) -> str:
    from treadle.engine.orchestrator import new_run_id
    from treadle.engine.results import RunOptions

    options = RunOptions(new_run_id(), labels=labels, **begin)
    run_id = await application.orchestrator.start(graph, initial, options=options)
    if run_id != options.run_id:
        output.note(f"Run {run_id} has the key {options.dedup!r} and is live; no other was started.")
    elif options.delay_seconds or options.at:
        output.note(f"Run {run_id} is pending. Call it off: treadle cancel {run_id}")
    return run_id


async def finish(
    application: Application, run_id: str, *, json: bool, verbose: bool, title: str, after: int = 0
) -> int:
    """Watch a run of a graph to its rest and print what came of it."""
    if not json:
        output.note(f"run {run_id}: {title}")
    view = watch.view_for(json=json, verbose=verbose, title=title)
    result = await watch.to_rest(application, run_id, view, after=after)
    show_result(run_id, result, json=json)
    return 0


def show_result(run_id: str, result: Result, *, json: bool) -> None:
    """Print the state in which a run came to rest; on stderr, what it waits for."""
    from treadle.domain import codec

    values = codec.to_plain(result.to_dict())
    if json:
        asks = [
            {"activation": q.activation, "node": q.node, "value": codec.to_plain(q.value)} for q in result.interrupts
        ]
        output.data_json(
            {"type": "Result", "run_id": run_id, "status": result.status.value, "state": values, "asks": asks}
        )
        return
    output.data_json(values, pretty=True)
    for question in result.interrupts:
        output.note(f"It waits for an answer at {question.activation}: {question.value}")
        output.note(f"next: treadle answer {run_id} VALUE")


def parse_object(text: str | None, what: str) -> dict[str, Any]:
    """Read a JSON object from an option's text, or from the file that `@file` names. Raises UsageError."""
    if text is None:
        return {}
    value = parse_json(text, what)
    if not isinstance(value, dict):
        raise UsageError(f"{what} is a JSON {type(value).__name__}; an object was expected.", hint='Write {"key": 1}.')
    return value


def parse_json(text: str, what: str) -> Any:
    """Read JSON from an option's text or `@file`. Raises UsageError."""
    if text.startswith("@"):
        try:
            text = Path(text[1:]).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{what}: {text[1:]} cannot be read: {error}.") from error
    try:
        return json_lib.loads(text)
    except ValueError as error:
        raise UsageError(
            f"{what} is no JSON: {error}.", hint='Quote it for the shell: \'{"key": "value"}\'.'
        ) from error
