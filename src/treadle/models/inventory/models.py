"""The models of `servers.yaml`: under their service, or under `models` with the name of one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast, get_args

from treadle.domain.inventory import Ability, ModelEntry, Price, Service
from treadle.errors import Problem, nearest
from treadle.models.inventory.yaml_tree import Node, Section

ABILITIES: tuple[Ability, ...] = get_args(Ability)
_ALIASES = {
    "size": "size_gb",
    "context_length": "context",
    "context_window": "context",
    "num_ctx": "context",
    "capabilities": "abilities",
    "model_id": "served_as",
}
_DEFAULT_CONTEXT = 8192


@dataclass(frozen=True, slots=True)
class _Given:
    name: str
    node: Node
    service: str
    context: int


class Entries:
    """Models as they are met in the files; read when all services are known."""

    def __init__(self, problems: list[Problem]) -> None:
        self._problems = problems
        self.given: list[_Given] = []

    def add_service(self, service: str, part: Section) -> None:
        """Take in the models of a service, and the context that they have if they do not say."""
        context = part.whole("context", low=256) or _DEFAULT_CONTEXT
        node = part.take("models")
        if node is not None and isinstance(node.value, list):
            for item in node.value:
                if isinstance(item.value, str):
                    self.given.append(_Given(item.value, Node(None, item.file, item.line, item.path), service, context))
                elif isinstance(item.value, dict) and "name" in item.value:
                    self.given.append(_Given(str(item.value["name"].value), item, service, context))
                else:
                    self._problems.append(item.problem(f"It is {item.kind}; the name of a model is expected."))
            return
        for name, model in part.entries("models"):
            self.given.append(_Given(name, model, service, context))

    def add_unplaced(self, section: Section) -> None:
        """Take in models that name their service themselves."""
        for name, node in section.entries("models"):
            self.given.append(_Given(name, node, "", _DEFAULT_CONTEXT))


def read_models(entries: Entries, services: Mapping[str, Service], problems: list[Problem]) -> dict[str, ModelEntry]:
    """Read every model, and check that its service is there and can hold it."""
    found: dict[str, ModelEntry] = {}
    lines: dict[str, Node] = {}
    for given in entries.given:
        if given.name in lines:
            first = lines[given.name]
            hint = f"Give one of them another name, and served_as: {given.name}"
            problems.append(given.node.problem(f"{given.name!r} is given twice, first in line {first.line}.", hint))
            continue
        lines[given.name] = given.node
        entry = _model(given, services, problems)
        if entry is not None:
            found[given.name] = entry
    return found


def _model(given: _Given, services: Mapping[str, Service], problems: list[Problem]) -> ModelEntry | None:
    part = Section(given.node, problems, _ALIASES)
    part.take("name")
    service = given.service
    if not service:
        service = part.text("service")
        if not service and "service" not in part:
            problems.append(given.node.problem("It has no service.", "Write service: SERVER.SERVICE."))
    context = part.whole("context", low=256) or given.context
    entry = ModelEntry(
        name=given.name,
        service=service,
        served_as=_served_as(part, given, services.get(service)),
        context=context,
        size_gb=part.number("size_gb", zero="Leave it out if it is not known."),
        abilities=_abilities(part),
        price=_price(part),
    )
    part.finish()
    if not service:
        return None
    if service not in services:
        node = part.take("service") or given.node
        problems.append(node.problem(f"There is no service {service!r}.", nearest(service, services)))
        return None
    _check_fits(entry, services[service], given.node, problems)
    return entry


def _served_as(part: Section, given: _Given, service: Service | None) -> str:
    name = part.text("served_as") or given.name
    if name.lower().endswith(".gguf") and service is not None and service.kind == "llama_cpp":
        return str(Path(given.node.file).absolute().parent / Path(name).expanduser())
    return name


def _abilities(part: Section) -> frozenset[Ability]:
    found = [part.known(item, ABILITIES) for item in part.items("abilities")]
    return frozenset(cast("Ability", name) for name in found if name)


def _price(part: Section) -> Price:
    node = part.take("price")
    if node is None:
        return Price()
    inner = Section(node, part.problems, {"input": "input_per_million", "output": "output_per_million"})
    price = Price(inner.number("input_per_million"), inner.number("output_per_million"), inner.number("per_hour"))
    inner.finish()
    return price


def _check_fits(entry: ModelEntry, service: Service, node: Node, problems: list[Problem]) -> None:
    if entry.size_gb is None or service.memory_gb is None or entry.size_gb <= service.memory_gb:
        return
    cards = sum(gpu.memory_gb for gpu in service.gpus)
    whose = "its cards have together" if service.gpus and cards == service.memory_gb else "it may take"
    problems.append(
        node.problem(
            f"{entry.name!r} takes {entry.size_gb:g} GB, more than the {service.memory_gb:g} GB that {whose} "
            f"at {service.name!r}: it can never be loaded.",
            "Put it at a larger service or at one with mode: cpu, choose a smaller one, or correct size_gb.",
        )
    )
