"""`treadle pool <verb>`: the traffic controller of small GPUs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from treadle.cli import output
from treadle.cli.look import JSON

if TYPE_CHECKING:
    from treadle.pool.simulate import Result

_FIGURES = ("swaps", "makespan_s", "wait_mean_s", "wait_p95_s", "wait_max_s")


def add_to(app: typer.Typer) -> None:
    group = typer.Typer(help="Share the memory of a GPU between models: simulate.", no_args_is_help=True)
    group.command("simulate")(simulate)
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
