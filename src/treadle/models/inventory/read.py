"""`servers.yaml` and `routing_config.yaml` become an `Inventory`: found, read, checked as a whole.

What is in them is told by docs/howto/models.md. No server is asked here, and no key is read: only names of variables.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from treadle.domain.inventory import Inventory, Server, Service
from treadle.errors import ConfigError, Problem
from treadle.models.inventory.models import Entries, read_models
from treadle.models.inventory.routing import check_routing, read_routing
from treadle.models.inventory.servers import read_infrastructure, read_providers, read_servers
from treadle.models.inventory.shipped import shipped_inventory
from treadle.models.inventory.yaml_tree import Section, read_yaml
from treadle.settings import Settings, Variables

SERVERS_FILE = "servers.yaml"
ROUTING_FILE = "routing_config.yaml"
_NONE = Path()
_ROUTING_KEYS = ("tiers", "agents", "domains", "complexity", "escalation", "default", "budgets")


@dataclass(frozen=True, slots=True)
class Found:
    """An inventory, and what else was found out while it was read."""

    inventory: Inventory
    files: tuple[Path, ...]
    problems: tuple[Problem, ...]
    notes: tuple[str, ...] = ()
    """What is worth knowing and no mistake: which variable overrides which address."""


def inventory_files(settings: Settings) -> tuple[Path, ...]:
    """The files of the inventory: those that are configured, else those in the project's folder."""
    given = settings.inventory
    servers = given.servers if given.servers != _NONE else _first(settings.project / SERVERS_FILE)
    beside = (servers.parent / ROUTING_FILE,) if servers else ()
    routing = given.routing if given.routing != _NONE else _first(*beside, settings.project / ROUTING_FILE)
    return tuple(path for path in (servers, routing) if path is not None)


def load_inventory(settings: Settings) -> Inventory | None:
    """Read the configured inventory; None if there is none.

    Raises:
        ConfigError: It is wrong. Holds every problem of its files.
    """
    files = inventory_files(settings)
    if not files:
        return None
    found = read_inventory(files, overrides(settings), shipped_inventory(settings.model, None))
    if found.problems:
        raise ConfigError.of(found.problems)
    return found.inventory


def overrides(settings: Settings) -> Variables:
    """The variables that may override addresses: a project's `.env` cannot send a user's own inventory elsewhere."""
    return settings.variables.of_user() if settings.is_of_user("inventory.servers") else settings.variables


def read_inventory(
    files: tuple[Path, ...], variables: Variables | None = None, shipped: Inventory | None = None
) -> Found:
    """Read and check the files as one inventory. Raises nothing: what is wrong is listed in the order of the files.

    Routing may stand in any one of them, under `routing` or, in a file without servers, at the top. Routing alone is
    about the services and models of `shipped`.
    """
    problems: list[Problem] = []
    notes: list[str] = []
    reading = _Reading(problems, notes, variables or Variables())
    for path in files:
        node = read_yaml(path, problems)
        if node is not None:
            reading.add(path, Section(node, problems))
    inventory = reading.finish(shipped or Inventory())
    ordered = sorted(problems, key=lambda problem: problem.line)
    names = [str(path) for path in files]
    ordered.sort(key=lambda problem: names.index(problem.file) if problem.file in names else -1)
    return Found(inventory, files, tuple(dict.fromkeys(ordered)), tuple(notes))


class _Reading:
    """Collects what several files say."""

    def __init__(self, problems: list[Problem], notes: list[str], variables: Variables) -> None:
        self._problems = problems
        self._notes = notes
        self._variables = variables
        self._servers: dict[str, Server] = {}
        self._services: dict[str, Service] = {}
        self._infrastructure: dict[str, str] = {}
        self._entries = Entries(problems)
        self._routing: Section | None = None

    def add(self, path: Path, section: Section) -> None:
        """Take in one file."""
        if any(key in section for key in _ROUTING_KEYS) and "servers" not in section:
            self._add_routing(section)
            return
        own = section.take("routing")
        if own is not None:
            self._add_routing(Section(own, self._problems))
        read_servers(section, self._servers, self._services, self._entries, self._variables, self._notes)
        read_providers(section, self._services, self._entries)
        self._infrastructure |= read_infrastructure(section, self._variables, self._notes)
        self._entries.add_unplaced(section)
        section.finish()

    def _add_routing(self, section: Section) -> None:
        if self._routing is not None:
            other = f"{self._routing.node.file}:{self._routing.node.line}"
            self._problems.append(
                section.node.problem(f"Routing is given twice, first in {other}.", "Keep one of the two.")
            )
            return
        self._routing = section

    def finish(self, shipped: Inventory) -> Inventory:
        models = read_models(self._entries, self._services, self._problems)
        inventory = Inventory(self._servers, self._services, models, self._infrastructure)
        if not (self._servers or self._services or self._entries.given):
            models = {**shipped.models}
            inventory = replace(inventory, services=shipped.services, models=models, routing=shipped.routing)
        if self._routing is None:
            if self._entries.given:
                hint = "Write routing: {tiers: {small: [MODEL, ...]}}."
                file = next(iter(self._entries.given)).node.file
                self._problems.append(Problem("There is no routing: no tier names a model.", hint, file))
            return inventory
        routing, places = read_routing(self._routing)
        check_routing(routing, places, models, self._problems)
        return replace(inventory, routing=routing)


def _first(*paths: Path) -> Path | None:
    return next((path for path in paths if path.is_file()), None)
