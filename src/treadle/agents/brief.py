"""The brief: what a goal asks for, definite enough to write code and tests from it. Rules first, then the model."""

from __future__ import annotations

import keyword
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from treadle.agents import command
from treadle.agents.ask import Asker, Question
from treadle.agents.class_brief import ClassPart
from treadle.agents.examples import Example
from treadle.agents.goal import Reading, module_name, read_goal
from treadle.agents.prompt import Prompts
from treadle.agents.usage import Usage, read_usage

_FILE = {"type": "string", "pattern": "^[a-z][a-z_]{1,20}\\.py$"}
_NAME = {"type": "string", "pattern": "^[a-z][a-z_]{1,24}$"}
_DOES = {"type": "string", "maxLength": 80}
_NOUNS_TOO_VAGUE = {
    "text",
    "index",
    "number",
    "id",
    "file",
    "name",
    "value",
    "path",
    "filename",
    "title",
    "description",
}


@dataclass(frozen=True, slots=True)
class Part:
    """A function of a module, or a command of a program."""

    name: str
    parameters: tuple[str, ...]
    does: str


@dataclass(frozen=True, slots=True)
class Brief:
    """What is to be made."""

    goal: str
    file: str
    is_program: bool
    parts: tuple[Part, ...]
    examples: tuple[Example, ...] = ()
    skeleton: str = ""
    assumptions: tuple[str, ...] = ()
    """What the goal did not say and was decided for it; shown to the user."""
    beside: str = ""
    """What files that are there already offer, for code that may import them."""
    classes: tuple[ClassPart, ...] = ()
    usage: Usage | None = None
    """How a program is called, where the goal shows it."""

    @property
    def module(self) -> str:
        return self.file.removesuffix(".py").replace("/", ".")

    @property
    def test_file(self) -> str:
        folder, _, name = self.file.rpartition("/")
        return f"{folder}/test_{name}" if folder else f"test_{name}"

    @property
    def names(self) -> tuple[str, ...]:
        """The functions and classes that the module must define."""
        if self.is_program:
            return tuple(self.function_of(part) for part in self.parts)
        return (*self._functions, *(part.name for part in self.classes))

    @property
    def _functions(self) -> tuple[str, ...]:
        return tuple(part.name for part in self.parts)

    @property
    def noun(self) -> str:
        """What the program is about: `task` for a todo app."""
        if self.usage:
            return self.module.rpartition(".")[2].removesuffix("s")
        words = [word for part in self.parts for word in part.parameters]
        return next((word for word in words if word not in _NOUNS_TOO_VAGUE), "item")

    @property
    def is_whole(self) -> bool:
        """Whether it is a program that is written without a frame: see `agents.command`."""
        return self.is_program and not self.parts

    def function_of(self, part: Part) -> str:
        """Name the function behind a command of a program."""
        if self.usage and len(self.parts) == 1:
            return f"run_{self.module.rpartition('.')[2]}"
        noun = self.noun if part.parameters else f"{self.noun}s"
        return f"{part.name}_{noun}"

    def as_dict(self) -> dict[str, Any]:
        return {
            **asdict(self),
            "parts": [asdict(p) for p in self.parts],
            "examples": [asdict(e) for e in self.examples],
            "classes": [part.as_dict() for part in self.classes],
            "usage": self.usage.as_dict() if self.usage else None,
        } | {"assumptions": list(self.assumptions)}

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> Brief:
        parts = tuple(Part(p["name"], tuple(p["parameters"]), p["does"]) for p in plain["parts"])
        examples = tuple(Example(e["call"], e["expected"]) for e in plain["examples"])
        rest = {key: plain[key] for key in ("goal", "file", "is_program", "skeleton", "beside")}
        classes = tuple(ClassPart.of(part) for part in plain.get("classes", ()))
        assumptions = tuple(plain["assumptions"])
        usage = Usage.of(plain["usage"]) if plain.get("usage") else None
        return cls(**rest, parts=parts, examples=examples, assumptions=assumptions, classes=classes, usage=usage)


async def make_brief(goal: str, asker: Asker, prompts: Prompts, *, seed: int = 0) -> Brief:
    """Make the brief of a goal. What the goal says is kept; the model is asked only for what it leaves open.

    A model whose answers cannot be used leads to a plain brief with one part, not to an error.
    """
    reading = read_goal(goal)
    if reading.is_complete:
        return _brief(goal, reading, {})
    if reading.is_program and command.speaks_of_more(goal):
        file = reading.file or module_name(goal)
        said = [] if reading.file else [f"the code goes into {file}"]
        whole = Brief(goal, file, True, (), assumptions=tuple(said))
        usage = read_usage(goal)
        if usage is None:
            return whole
        parts = tuple(Part(one.name or "run", one.parameters(usage), "") for one in usage.commands)
        return replace(whole, parts=parts, usage=usage)
    name = "analyse_program" if reading.is_program else "analyse_module"
    schema = _program_schema() if reading.is_program else _module_schema()
    question = Question(prompts[name].render(goal=goal), max_tokens=320, seed=seed, json_schema=schema)
    answer = await asker.ask_json("analyse", question)
    return _brief(goal, reading, answer if isinstance(answer, dict) else {})


def _brief(goal: str, reading: Reading, answer: Mapping[str, Any]) -> Brief:
    suggested = str(answer.get("file") or "")
    file = reading.file or _usable_file(suggested) or module_name(goal)
    listed = answer.get("commands" if reading.is_program else "functions")
    parts = _parts(listed if isinstance(listed, list) else [])
    if not reading.is_program and reading.functions:
        does = {part.name: part.does for part in parts}
        named = reading.functions[-1:] if reading.skeleton else reading.functions
        parts = tuple(Part(f.name, f.parameters, does.get(f.name, "")) for f in named)
    if not parts and not reading.classes:
        parts = (Part("run" if reading.is_program else file.removesuffix(".py").rpartition("/")[2], (), ""),)
    return Brief(
        goal,
        file,
        reading.is_program,
        parts,
        reading.examples,
        reading.skeleton,
        tuple(_assumptions(reading, file, parts)),
        classes=reading.classes,
    )


def _assumptions(reading: Reading, file: str, parts: Sequence[Part]) -> list[str]:
    said = [] if reading.file else [f"the code goes into {file}"]
    if reading.is_program:
        said.append("commands: " + ", ".join(" ".join([p.name, *(a.upper() for a in p.parameters)]) for p in parts))
    elif parts and not reading.functions:
        said.append("functions: " + ", ".join(f"{p.name}({', '.join(p.parameters)})" for p in parts))
    return said


def _parts(listed: list[Any]) -> tuple[Part, ...]:
    """Take the usable parts of a model's list; names that are no identifiers, or come twice, are left out."""
    found: dict[str, Part] = {}
    for item in listed[:5]:
        if not isinstance(item, dict):
            continue
        name = str(item.get("name", "")).strip()
        given = item.get("parameters", item.get("arguments", []))
        parameters = [_identifier(str(word)) for word in given] if isinstance(given, list) else []
        if name.isidentifier() and not keyword.iskeyword(name) and name not in found:
            found[name] = Part(name, tuple(dict.fromkeys(filter(None, parameters))), str(item.get("does", "")).strip())
    return tuple(found.values())


def _identifier(word: str) -> str:
    word = re.sub(r"\W+", "_", word.lower()).strip("_")
    if word in {"str", "int", "list", "dict", "float", "set", "tuple"}:
        return {"str": "text", "int": "number"}.get(word, "values")
    return f"{word}_" if keyword.iskeyword(word) else word if word.isidentifier() else ""


def _usable_file(name: str) -> str:
    return module_name(name.removesuffix(".py")) if re.fullmatch(r"[a-z][a-z_0-9]*\.py", name) else ""


def _module_schema() -> dict[str, Any]:
    parameters = {"type": "array", "maxItems": 4, "items": {"type": "string", "pattern": "^[a-z_]{1,14}$"}}
    function = _object(name=_NAME, parameters=parameters, does=_DOES)
    return _object(file=_FILE, functions={"type": "array", "minItems": 1, "maxItems": 4, "items": function})


def _program_schema() -> dict[str, Any]:
    arguments = {"type": "array", "maxItems": 2, "items": {"type": "string", "pattern": "^[a-z_]{2,12}$"}}
    command = _object(name={"type": "string", "pattern": "^[a-z]{2,10}$"}, arguments=arguments, does=_DOES)
    return _object(file=_FILE, commands={"type": "array", "minItems": 1, "maxItems": 4, "items": command})


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}
