"""`treadle validate`: is what is configured right, and what would answer?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from treadle.cli import output, session
from treadle.cli.look import JSON
from treadle.errors import ConfigError, Problem, Unreachable

if TYPE_CHECKING:
    from treadle.services.configuration import Checked, TierView


def add_to(app: typer.Typer) -> None:
    app.command("validate")(validate)


def validate(
    files: list[Path] | None = typer.Argument(
        None, metavar="[FILES]...", help="Check these instead: servers.yaml, treadle.toml, .env, ..."
    ),
    live: bool = typer.Option(
        False, "--live", help="Also ask every server, of models and of tools, whether it is there."
    ),
    json: bool = JSON,
) -> None:
    """Check the whole configuration, and show what each tier would use now.

    Settings, servers, models and routing: every mistake at once, with its line. Exits with 2 if there is one, and with
    5 if something does not answer (--live).
    """

    async def work() -> int:
        from treadle.services.configuration import check

        checked = await check(Path.cwd(), files or (), live=live)
        if json:
            output.data_json(_as_json(checked))
            return ConfigError.exit_code if checked.problems else Unreachable.exit_code if checked.unreachable else 0
        if checked.problems:
            raise ConfigError.of(checked.problems, "")
        _show(checked, live=live)
        if checked.unreachable:
            raise Unreachable(_lines(checked.unreachable), hint="Tiers use what does answer; see the table.")
        return 0

    session.run(work)


def _show(checked: Checked, *, live: bool) -> None:
    if checked.settings:
        output.table(("SETTING", "VALUE", "FROM"), [(s.name, s.value, s.origin) for s in checked.settings])
        output.data("")
    inventory = checked.inventory
    if inventory.servers:
        for server in inventory.servers.values():
            services = [name.partition(".")[2] for name in inventory.services if name.startswith(f"{server.name}.")]
            output.data(f"{server.name} at {server.address}: {', '.join(services) or 'no services'}")
        for name, place in inventory.infrastructure.items():
            output.data(f"{name} at {place}")
        output.data("")
    show_tiers(checked.tiers)
    for item in checked.reached:
        output.note(f"{item.name}{f' at {item.at}' if item.at else ''}: {item.problem or 'answers'}")
    for view in checked.mcp_servers:
        output.note(f"MCP server {view.name}: {view.problem or f'{len(view.offers)} tools'}")
    for note in checked.notes:
        output.note(note)
    files = ", ".join(checked.files) or "Nothing is configured; what is shipped"
    output.note(f"\n{files}: in order.{'' if live else ' No server was asked; --live does.'}")


def show_tiers(tiers: Sequence[TierView]) -> None:
    """Print what each tier would use; the default one is marked."""
    rows = [
        (
            view.tier + (" *" if view.is_default else ""),
            f"{view.model} ({view.provider})" if view.model else "-",
            ", ".join(view.then) or "-",
            view.why,
        )
        for view in tiers
    ]
    output.table(("TIER", "USES", "THEN", "WHY"), rows)


def _lines(problems: Sequence[Problem]) -> str:
    if len(problems) == 1:
        return str(problems[0])
    return "\n".join(["Not everything answers.", *(f"  - {problem}" for problem in problems)])


def _as_json(checked: Checked) -> dict[str, object]:
    inventory = checked.inventory
    return {
        "ok": not checked.problems and not checked.unreachable,
        "files": checked.files,
        "problems": checked.problems,
        "unreachable": checked.unreachable,
        "notes": checked.notes,
        "tiers": checked.tiers,
        "servers": sorted(inventory.servers),
        "services": sorted(inventory.services),
        "models": sorted(inventory.models),
        "infrastructure": inventory.infrastructure,
        "mcp_servers": {
            view.name: view.problem or [offer.definition.name for offer in view.offers] for view in checked.mcp_servers
        },
        "settings": {item.name: {"value": item.value, "from": item.origin} for item in checked.settings},
    }
