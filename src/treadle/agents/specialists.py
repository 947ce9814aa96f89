"""Specialists: who makes what is neither a module nor a program, and how to call them.

A node of a task subgraph calls the specialist of its task, and gets files back:

    desk = Desk(ctx, asker, prompts, bench, goal=state["goal"], files=texts_of_the_tree)
    made = await specialists.work(task, desk)
    state update: made.as_dict()  ->  {"done", "problem", "files", "tests", "dropped", "checked", "assumptions"}

`bench` is an `agents.workbench.Workbench`: it lays files over the task's tree and runs tests or a command in the
sandbox. `made.files` is to be written over the same tree. One call holds all the rounds of the work; each model call
and each run in the sandbox is journaled in `ctx`, so a crash costs one of them at most.

`maker_of(task)` is None for kinds `module`, `program` and `change`, which have loops of their own.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from treadle.agents.desk import Desk, Made
from treadle.agents.service.work import make_service
from treadle.domain.plan import PlannedTask
from treadle.errors import UnknownName

Maker = Callable[[PlannedTask, Desk], Awaitable[Made]]


@dataclass(frozen=True, slots=True)
class Specialist:
    """Someone who does one kind of work."""

    name: str
    """`service`, `documentation`, ...; for kinds of work that one specialist alone does, the kind."""
    about: str
    make: Maker
    prompts: tuple[str, ...] = ()
    """Names of the prompts that it uses, for provenance."""


SERVICE = Specialist(
    "service",
    "An HTTP API over a database file, with the standard library alone.",
    make_service,
    ("analyse_service", "write_route", "test_route"),
)
_BY_KIND: Mapping[str, Specialist] = {"service": SERVICE}
_BY_NAME: Mapping[str, Specialist] = {}


def all_specialists() -> dict[str, Specialist]:
    """Every specialist by name."""
    return {specialist.name: specialist for specialist in (*_BY_KIND.values(), *_BY_NAME.values())}


def maker_of(task: PlannedTask) -> Specialist | None:
    """Who makes this task; None if it goes through the loop of modules and programs, or that of changes."""
    return _BY_NAME.get(task.specialist) or _BY_KIND.get(task.kind)


async def work(task: PlannedTask, desk: Desk) -> Made:
    """Do a task. See the module's docstring.

    Raises:
        UnknownName: No specialist here does such a task.
        ConfigError: The work needs what the machine or the model has not, such as eyes. Nothing was done.
        What `Asker.ask` and the workbench raise.
    """
    specialist = maker_of(task)
    if specialist is None:
        raise UnknownName("specialist for tasks of the kind", task.kind, sorted(_BY_KIND))
    return await specialist.make(task, desk)
