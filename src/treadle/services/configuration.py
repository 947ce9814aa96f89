"""Everything that is configured, looked at as a whole: settings, inventory, routing, and what tiers would use now."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from treadle.domain.inventory import TIERS, Inventory
from treadle.errors import ConfigError, NotFound, Problem, TreadleError, nearest
from treadle.models.choose import provider_of
from treadle.models.inventory.keys import without_keys
from treadle.models.inventory.reach import Reached, obstacles_in, reach
from treadle.models.inventory.read import inventory_files, overrides, read_inventory
from treadle.models.inventory.shipped import ollama_tags, shipped_inventory
from treadle.models.inventory.yaml_tree import read_yaml
from treadle.models.routing import Need, Obstacles, route
from treadle.pool.agents import FILE as POOL_FILE
from treadle.pool.agents import read_config
from treadle.services.agents import agents_of
from treadle.services.prompts import load_prompts
from treadle.services.tool_sources import SourceView, ask_sources
from treadle.services.tool_sources import obstacles as mcp_obstacles
from treadle.services.tools import registry_of
from treadle.settings import Settings, check_settings_file, read_settings, settings_files, without_password

LIVE_SECONDS = 3.0
"""How long a server may take to say what it has."""

_YAML = (".yaml", ".yml")


@dataclass(frozen=True, slots=True)
class TierView:
    """What a tier would use now."""

    tier: str
    is_default: bool
    model: str
    """Empty: nothing."""
    provider: str
    service: str
    why: str
    then: tuple[str, ...] = ()
    """Models that are tried after it."""
    skipped: Mapping[str, str] = field(default_factory=dict)
    """Models that cannot be used now, and why."""


@dataclass(frozen=True, slots=True)
class SettingView:
    """A setting, its value, and where that was given."""

    name: str
    value: str
    origin: str


@dataclass(frozen=True, slots=True)
class Checked:
    """What was found."""

    files: tuple[str, ...]
    inventory: Inventory
    settings: tuple[SettingView, ...] = ()
    problems: tuple[Problem, ...] = ()
    """What is written down wrongly."""
    unreachable: tuple[Problem, ...] = ()
    """What does not answer, or lacks a model; only if it was asked."""
    notes: tuple[str, ...] = ()
    tiers: tuple[TierView, ...] = ()
    reached: tuple[Reached, ...] = ()
    mcp_servers: tuple[SourceView, ...] = ()
    """Those that were asked for their tools, and those that cannot be used as they are written down."""


async def check(folder: Path, files: Sequence[Path] = (), *, live: bool = False) -> Checked:
    """Check the whole configuration of a project, or only the files that are named. Changes nothing.

    Args:
        live: Also ask every server. Otherwise nobody is asked anything.

    Raises:
        NotFound: A file that is named is not there.
    """
    missing = [str(file) for file in files if not file.is_file()]
    if missing:
        raise NotFound(f"There is no {' and no '.join(missing)}; nothing was checked.")
    settings, problems = read_settings(folder)
    if files:
        ours = [file for file in files if file.suffix not in _YAML and file.name != POOL_FILE]
        problems = [problem for file in ours for problem in check_settings_file(file)]
    written = _with_servers([file for file in files if file.suffix in _YAML], settings, is_named=bool(files))
    shipped = shipped_inventory(settings.model, None)
    found = read_inventory(written, overrides(settings), shipped) if written else None
    if found is not None:
        inventory, notes = found.inventory, found.notes
        problems += [*found.problems]
    else:
        tags = await ollama_tags(settings.model.ollama_url) if live else None
        inventory, notes = shipped_inventory(settings.model, tags), ()
    pools = [file for file in files or [settings.project / POOL_FILE] if file.name == POOL_FILE and file.is_file()]
    problems += [problem for file in pools for problem in _pool_problems(file, inventory)]
    problems += [*_prompt_problems(settings), *_tool_problems(settings)] if not files else []
    if problems:
        live = False
    reached = await reach(inventory, settings, seconds=LIVE_SECONDS) if live and found is not None else []
    obstacles = obstacles_in(reached) if reached else Obstacles(without_keys(inventory, settings))
    tiers = () if problems else tier_views(inventory, obstacles)
    mcp_servers = () if files or problems else await _mcp_servers(settings, live=live)
    read = [*(files or [*settings_files(settings), *pools]), *(file for file in written if file not in files)]
    return Checked(
        files=tuple(str(file) for file in read),
        inventory=inventory,
        settings=() if files else tuple(setting_views(settings)),
        problems=tuple(problems),
        unreachable=(*_unreachable(reached, tiers), *(_lost(view) for view in mcp_servers if live and view.problem)),
        notes=(
            *notes,
            *(f"{name} cannot be used: {why}." for name, why in without_keys(inventory, settings).items()),
            *(() if files else _unknown_agents(settings)),
        ),
        tiers=tiers,
        reached=tuple(reached),
        mcp_servers=mcp_servers,
    )


def tier_views(inventory: Inventory, obstacles: Obstacles) -> tuple[TierView, ...]:
    """What each tier of the inventory would use now, from the cheapest to the dearest."""
    views = []
    for tier in TIERS:
        found = route(Need(tier=tier), inventory, obstacles)
        skipped = {item.model: item.reason for item in found.skipped}
        is_default = tier == inventory.routing.default_tier
        if not found.candidates:
            why = "; ".join(f"{name}: {reason}" for name, reason in skipped.items()) or "it has no models"
            views.append(TierView(tier, is_default, "", "", "", why, (), skipped))
            continue
        best, *others = found.candidates
        why = (
            "first of its tier"
            if not skipped
            else "; ".join(f"not {name}: {reason}" for name, reason in skipped.items())
        )
        then = tuple(item.entry.name for item in others)
        provider = provider_of(best.service)
        views.append(TierView(tier, is_default, best.entry.name, provider, best.service.name, why, then, skipped))
    return tuple(views)


def setting_views(settings: Settings) -> list[SettingView]:
    """Every setting that may be shown."""
    views = []
    for section in ("model", "sandbox", "store", "build", "inventory", "prompts", "tools", "mcp"):
        values: Any = getattr(settings, section)
        for item in fields(values):
            if item.repr:
                name, value = f"{section}.{item.name}", getattr(values, item.name)
                shown = "-" if value in ("", Path(), (), {}) else without_password(_shown(value))
                views.append(SettingView(name, shown, settings.origins.get(name, "default")))
    return views


def _shown(value: object) -> str:
    if isinstance(value, Mapping):
        return "; ".join(f"{name}: {_shown(inner)}" for name, inner in value.items())
    return ", ".join(value) if isinstance(value, tuple) else str(value)


def _with_servers(given: list[Path], settings: Settings, *, is_named: bool) -> tuple[Path, ...]:
    """The files of one inventory. A routing file that is named alone is about the servers of the project."""
    own = inventory_files(settings)
    if not is_named:
        return own
    nodes = [read_yaml(file, []) for file in given]
    if not given or any(node and isinstance(node.value, dict) and "servers" in node.value for node in nodes):
        return tuple(given)
    return (*(file for file in own[:1] if file not in given), *given)


def _prompt_problems(settings: Settings) -> list[Problem]:
    """What is wrong with prompts of the user's."""
    try:
        load_prompts(settings)
    except ConfigError as error:
        return [*error.problems]
    return []


def _tool_problems(settings: Settings) -> list[Problem]:
    """Which tools are named that are not there."""
    try:
        registry_of(settings)
    except ConfigError as error:
        return [*error.problems]
    return []


def _unknown_agents(settings: Settings) -> Iterator[str]:
    """Agents that tools are limited for, and that nothing here describes: mistyped, or of a program."""
    known = [found.agent.name for found in agents_of(settings)] if settings.tools.agents else []
    for name in settings.tools.agents:
        if name not in known:
            yield f"[tools.agents] names {name!r}, which is no agent of this project. {nearest(name, known)}".rstrip()


async def _mcp_servers(settings: Settings, *, live: bool) -> tuple[SourceView, ...]:
    """MCP servers: all that are configured if they may be asked, else those that cannot be used as they are."""
    if live:
        return tuple(await ask_sources(registry_of(settings), settings.project, settings))
    return tuple(SourceView(name, problem=why) for name, why in mcp_obstacles(settings).items())


def _lost(view: SourceView) -> Problem:
    return Problem(view.problem, view.hint)


def _pool_problems(file: Path, inventory: Inventory) -> list[Problem]:
    """What is wrong with the agent pools: how they are written, and which models they name."""
    try:
        pools = read_config(file).pools
    except TreadleError as error:
        where = "" if str(file) in str(error) else str(file)
        return [Problem(str(error), error.hint, where)]
    return [
        Problem(f"There is no model {name!r}.", nearest(name, inventory.models), str(file), key=f"pools.{pool.name}")
        for pool in pools.values()
        for name in pool.models
        if name not in inventory.models
    ]


def _unreachable(reached: Sequence[Reached], tiers: Sequence[TierView]) -> list[Problem]:
    problems = []
    for item in reached:
        if item.problem and item.asked:
            problems.append(Problem(f"{item.name}: {item.problem}."))
        for model in item.missing:
            where = f"at {item.at}" if item.at else "here"
            problems.append(Problem(f"{item.name} does not have {model!r} {where}."))
    if reached:
        problems += [
            Problem(f"No model of tier {view.tier!r} can be used: {view.why}.")
            for view in tiers
            if view.skipped and not view.model
        ]
    return problems
