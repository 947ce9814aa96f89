"""`treadle pool <verb>`: the traffic controller of small GPUs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from treadle.cli import output, session
from treadle.cli.look import JSON

if TYPE_CHECKING:
    from treadle.pool.record import Happened
    from treadle.pool.simulate import Result
    from treadle.services.pool import PoolClient

_FIGURES = ("swaps", "makespan_s", "wait_mean_s", "wait_p95_s", "wait_max_s")

_EVERY_S = 1.0
URL = typer.Option(None, "--url", metavar="URL", help="Of the served pool. By default the one of this user here.")


def add_to(app: typer.Typer) -> None:
    group = typer.Typer(
        help="Share the memory of a GPU between models: simulate, serve, watch, log.", no_args_is_help=True
    )
    for verb in (simulate, serve, watch, log):
        group.command(verb.__name__)(verb)
    app.add_typer(group, name="pool")


def simulate(
    workload: Path = typer.Argument(..., metavar="WORKLOAD.json", help="Capacity, models and requests."),
    policy: str | None = typer.Option(
        None, "--policy", metavar="NAME", help="throughput, fair, fifo-lru or ollama. By default all, side by side."
    ),
    lookahead: float = typer.Option(
        0.0, "--lookahead", metavar="SECONDS", min=0.0, help="How far ahead the pool is told what will be asked."
    ),
    json: bool = JSON,
) -> None:
    """Play a workload through the pool's own schedule: how often would models be swapped, how long would work wait?

    One device that does one thing at a time. With --json and no policy: the default policy, the others under "others".
    """
    from treadle.pool import simulate as play
    from treadle.pool.policy import DEFAULT_POLICY, POLICIES, policy_of
    from treadle.pool.workload import read

    wanted = [policy_of(policy)] if policy is not None else list(POLICIES.values())
    asked = read(workload)
    results = [play.simulate(asked, one, lookahead_s=lookahead) for one in wanted]
    if json:
        first, *others = sorted(results, key=lambda result: result.policy != DEFAULT_POLICY)
        told = [result.to_dict() for result in others]
        output.data_json({**first.to_dict(), "others": told} if told else first.to_dict())
        return
    headers = ("POLICY", *(name.upper() for name in _FIGURES))
    output.table(headers, [_row(result) for result in results], right=headers[1:])


def _row(result: Result) -> list[str]:
    told = result.to_dict()
    return [result.policy, *(f"{told[name]:g}" if name == "swaps" else f"{told[name]:.1f}" for name in _FIGURES)]


def serve(
    config: Path | None = typer.Option(
        None, "--config", metavar="FILE", help="Agent pools. By default pool.toml of the project, or what is shipped."
    ),
    host: str = typer.Option("127.0.0.1", "--host", metavar="ADDRESS", help="Where to listen."),
    port: int | None = typer.Option(None, "--port", metavar="N", min=0, max=65535, help="0: any. By default 8747."),
    json: bool = JSON,
) -> None:
    """Put the pool in front of the model servers, as an OpenAI-compatible endpoint.

    Workers on many machines that ask it share one view of the GPUs. The key is the variable TREADLE_POOL_KEY, or a new
    one. With --json, what happens is told as lines of JSON. Ctrl-C or SIGTERM ends it; models stay loaded.
    """

    async def work() -> None:
        from treadle import app
        from treadle.services import pool as service

        settings = session.settings_of()
        pool = await service.make_pool(settings, config, app.model_server, output.data_json if json else _tell)
        stops = session.Stops()
        key = service.key_of(settings)
        try:
            where = service.PORT if port is None else port
            async with service.serving(pool, settings, host=host, port=where, key=key) as address:
                output.note(f"The pool answers at {address.url}/v1.")
                if not settings.variables.get(service.KEY_VARIABLE):
                    output.note(f"Its key: {key}")
                for name, error in (await pool.open()).items():
                    output.note(f"{name}: {error} It is asked again when it is needed.")
                await stops.first.wait()
        finally:
            await pool.close()

    session.run(work)


def watch(url: str | None = URL, json: bool = JSON) -> None:
    """Show what a served pool does: memory, what is loaded, swapped and waited for. Ends with Ctrl-C.

    With --json: one line a second. Without a terminal: one picture.
    """

    async def work() -> None:
        import asyncio

        async with _client(url) as client:
            if json:
                while True:
                    output.data_json(await client.now())
                    await asyncio.sleep(_EVERY_S)
            elif sys.stdout.isatty():
                await _live(client)
            else:
                for line in await _picture(client):
                    output.data(line)

    session.run(work)


def log(
    pool: str | None = typer.Argument(None, metavar="[POOL]", help="An agent pool; by default all."),
    url: str | None = URL,
    json: bool = JSON,
) -> None:
    """Tell what the agent pools of a served pool did: loadings, evictions, starts, answers, and what was held."""

    async def work() -> None:
        from treadle.cli import pool_view

        async with _client(url) as client:
            for line in await client.log(pool):
                output.data_json(line) if json else output.data(pool_view.event(line))

    session.run(work)


def _client(url: str | None) -> PoolClient:
    from treadle.services.pool import PoolClient, address_of

    return PoolClient(address_of(session.settings_of(), url))


def _tell(line: Happened) -> None:
    from treadle.cli import pool_view

    if line.kind not in ("start", "finish", "hold"):
        output.note(pool_view.event(line))


async def _picture(client: PoolClient) -> list[str]:
    from treadle.cli import pool_view

    return pool_view.lines(await client.now(), await client.log())


async def _live(client: PoolClient) -> None:
    import asyncio

    from rich.live import Live
    from rich.text import Text

    with Live(Text(""), auto_refresh=False, vertical_overflow="ellipsis") as live:
        while True:
            live.update(Text("\n".join(await _picture(client))), refresh=True)
            await asyncio.sleep(_EVERY_S)
