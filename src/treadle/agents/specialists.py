"""Specialists: who makes what is neither a module nor a program, and how to call them.

A node of a task subgraph calls the specialist of its task, and gets files back:

    desk = Desk(ctx, asker, prompts, bench, goal=state["goal"], files=texts_of_the_tree)
    made = await specialists.work(task, desk)
    state update: made.as_dict()  ->  {"done", "problem", "files", "tests", "dropped", "checked", "assumptions"}

`bench` is an `agents.workbench.Workbench`: it lays files over the task's tree and runs tests or a command in the
sandbox. `made.files` is to be written over the same tree. One call holds all the rounds of the work; each model call
and each run in the sandbox is journaled in `ctx`, so a crash costs one of them at most.

`maker_of(task)` is None for Python modules and programs and for changes, which have loops of their own. Pictures go
into `Desk.images`, and `Desk.sees` says whether the model of the tier has the ability `vision`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace

from treadle.agents.code_files import describe_images, make_embedded, make_files
from treadle.agents.desk import Desk, Made
from treadle.agents.document import make_document
from treadle.agents.page import make_page
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


async def _see(task: PlannedTask, desk: Desk) -> Made:
    """Say what the pictures of a task show, and have the maker of its kind work from that."""
    goal = f"{task.brief.get('goal') or desk.goal or task.title}\n\n{await describe_images(task, desk)}"
    seen = replace(task, specialist="code_general", brief={**task.brief, "goal": goal})
    return await _BY_KIND.get(task.kind, GENERAL).make(seen, desk)


SERVICE = Specialist(
    "service",
    "An HTTP API over a database file, with the standard library alone; its tests drive it.",
    make_service,
    ("analyse_service", "write_route", "test_route"),
)
PAGE = Specialist(
    "ui_design",
    "A static web page: checked for form, links, labels and contrast; looked at where there are a browser and eyes.",
    make_page,
    ("write_page", "look_at_page"),
)
DOCUMENT = Specialist(
    "documentation",
    "A text about code: each name, command and link in it is checked.",
    make_document,
    ("write_document",),
)
GENERAL = Specialist("code_general", "Files of any language, checked for their syntax.", make_files, ("write_file",))
EMBEDDED = Specialist(
    "code_embedded", "C, Arduino or MicroPython for small devices, within their bounds.", make_embedded, ("write_file",)
)
VISION = Specialist(
    "code_vision", "Work from pictures: they are put into words first, by a model that sees.", _see, ("describe_image",)
)
_BY_KIND: Mapping[str, Specialist] = {"service": SERVICE, "page": PAGE, "document": DOCUMENT}
_BY_NAME: Mapping[str, Specialist] = {"code_vision": VISION, "code_embedded": EMBEDDED}


def all_specialists() -> dict[str, Specialist]:
    """Every specialist by name."""
    return {specialist.name: specialist for specialist in (SERVICE, PAGE, DOCUMENT, GENERAL, EMBEDDED, VISION)}


def maker_of(task: PlannedTask) -> Specialist | None:
    """Who makes this task; None if it goes through the loop of modules and programs, or that of changes."""
    found = _BY_NAME.get(task.specialist) or _BY_KIND.get(task.kind)
    if found is None and task.kind in ("module", "program"):
        files = [path for path in task.files if not path.endswith("/")]
        return GENERAL if files and not any(path.endswith(".py") for path in files) else None
    return found


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
