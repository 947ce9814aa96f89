"""What a service offers: resources with fields, and routes. Values only."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

FieldType = Literal["text", "integer", "number", "boolean", "list"]
Value = str | int | float | bool | list[str] | None
Action = Literal["create", "list", "show", "change", "remove", "store", "health", "custom"]
"""What a route does. All but `custom` are written by rule."""

_IRREGULAR = {"people": "person", "children": "child", "movies": "movie", "cookies": "cookie", "series": "series"}
_SAMPLE_WORDS = {"email": "ann@example.com", "url": "http://example.com/a", "link": "http://example.com/a"}


@dataclass(frozen=True, slots=True)
class Field:
    """One column, and one key of the JSON."""

    name: str
    type: FieldType = "text"
    is_required: bool = True
    default: Value = None
    choices: tuple[str, ...] = ()
    is_unique: bool = False
    minimum: float | None = None
    is_above_minimum: bool = False
    """Whether the minimum itself is refused."""

    def sample(self, number: int = 1) -> Value:
        """A value that is allowed; another one for another number, where there is more than one."""
        if self.choices:
            return self.choices[(number - 1) % len(self.choices)]
        if self.type == "boolean":
            return number % 2 == 1
        if self.type == "list":
            return ["one", f"tag{number}"]
        low = int(self.minimum or 0)
        if self.type == "integer":
            return low + number
        if self.type == "number":
            return low + number + 0.5
        if self.name.endswith(("date", "_on", "_at")):
            return f"2024-01-{number:02d}"
        return _SAMPLE_WORDS.get(self.name, f"some {self.name.replace('_', ' ')}") + (
            "" if number == 1 else f"{number}"
        )


@dataclass(frozen=True, slots=True)
class Resource:
    """One table, and the things that its routes are about."""

    name: str
    """Plural, as in the path: `notes`."""
    fields: tuple[Field, ...]

    @property
    def table(self) -> str:
        return self.name.replace("-", "_")

    @property
    def one(self) -> str:
        """`note` for `notes`."""
        return singular(self.table)

    def sample(self, number: int = 1) -> dict[str, Value]:
        """A body that creates one."""
        return {field.name: field.sample(number) for field in self.fields}

    def field(self, name: str) -> Field | None:
        return next((field for field in self.fields if field.name == name), None)


@dataclass(frozen=True, slots=True)
class Route:
    """A method, a path with `{names}`, and what it does."""

    method: str
    path: str
    action: Action
    resource: str = ""
    """Name of the resource it is about; empty if there is none."""
    does: str = ""
    status: int = 200
    function: str = ""
    """Name of the function behind it."""
    takes: tuple[Field, ...] = ()
    """What the body of a custom route must hold."""
    query: tuple[str, ...] = ()
    """Names of query parameters that the goal shows."""
    order: str = "id"
    """Of a list: the column, in SQL."""
    parent: str = ""
    """Name of the resource to which those of a nested route belong: `polls` for `/polls/{id}/votes`."""
    sum: tuple[str, str, str] | None = None
    """Of a route that adds to a column or takes from it: the column, the sign, and the field of the body."""

    @property
    def names(self) -> tuple[str, ...]:
        """The parts of the path that are given: `id`."""
        return tuple(re.findall(r"\{(\w+)\}", self.path))

    @property
    def parameters(self) -> tuple[str, ...]:
        """What the function is called with: the database, the parts of the path, and the body or the query."""
        last = {"GET": ("query",), "DELETE": ()}.get(self.method, ("body",))
        owner = self.parent or self.resource
        return ("db", *(f"{singular(owner)}_id" if name == "id" and owner else name for name in self.names), *last)


@dataclass(frozen=True, slots=True)
class ServiceBrief:
    """What is to be made."""

    goal: str
    file: str
    resources: tuple[Resource, ...]
    routes: tuple[Route, ...]
    assumptions: tuple[str, ...] = ()
    port: int = 8000
    database: str = "data.db"
    database_flags: tuple[str, ...] = ("--db",)

    @property
    def module(self) -> str:
        return self.file.removesuffix(".py").rpartition("/")[2]

    @property
    def test_file(self) -> str:
        folder, _, name = self.file.rpartition("/")
        return f"{folder}/test_{name}" if folder else f"test_{name}"

    @property
    def custom(self) -> tuple[Route, ...]:
        """The routes that are not those of every resource."""
        return tuple(route for route in self.routes if route.action == "custom")

    @property
    def for_model(self) -> tuple[Route, ...]:
        """Those that a model has to write: no rule knows what they do."""
        return tuple(route for route in self.custom if route.sum is None)

    def resource(self, name: str) -> Resource | None:
        return next((resource for resource in self.resources if resource.name == name), None)


def singular(word: str) -> str:
    """`note` for `notes`, `category` for `categories`, `box` for `boxes`."""
    word = word.replace("-", "_")
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if re.search(r"(?:s|x|z|ch|sh)es$", word):
        return word[:-2]
    return word[:-1] if word.endswith("s") and not word.endswith(("ss", "us")) else word
