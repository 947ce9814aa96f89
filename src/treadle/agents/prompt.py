"""Prompts: Jinja2 files with front matter. Rendering is strict, and the digest of their text goes into provenance.

```
---
name: fix
version: 2
description: Corrects a file, given what is wrong with it.
inputs: [goal, source]        # exactly the names that the text uses
output: {type: object, ...}   # JSON Schema of the answer, if it is JSON
tiers: [tiny, small]          # that it was written for; empty: any
---
The text, with {{goal}} and {{source}}.
```
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from treadle.domain.inventory import TIERS, Tier
from treadle.errors import ConfigError, Problem, UnknownName
from treadle.models.inventory.yaml_tree import Node, Section, parse_yaml
from treadle.models.wrappers.almost_json import schema_flaw

SYSTEM = "You are an expert Python programmer. Use only the Python standard library."
SHIPPED = Path(__file__).parent / "prompts"
_FORM = re.compile(r"\A---[ \t]*\n(?P<front>.*?)^---[ \t]*\n(?P<body>.*)\Z", re.DOTALL | re.MULTILINE)
_MAX_BYTES = 200_000


class Rendered(str):
    """A text made from a prompt, which remembers which one: `Asker` keeps count."""

    __slots__ = ("prompt",)
    prompt: str
    """Its name and the beginning of its digest: `fix@0123456789ab`."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """One prompt. `digest` names the exact text of its file."""

    name: str
    version: str
    description: str
    inputs: tuple[str, ...]
    body: str
    digest: str
    file: Path
    output: Mapping[str, Any] | None = None
    """JSON Schema of the answer; None: it is no JSON."""
    tiers: tuple[Tier, ...] = ()
    """Tiers that it suits; empty: any."""

    @property
    def label(self) -> str:
        """Name it so that another text of the same name is told apart: `fix@0123456789ab`."""
        return f"{self.name}@{self.digest[:12]}"

    def render(self, **values: Any) -> Rendered:
        """Put the values in their places. Values are not looked at again, so `{{x}}` in a value stays as it is.

        Raises:
            ConfigError: An input has no value, a value is no input, or the template cannot use a value.
        """
        from treadle.agents import template  # noqa: PLC0415  # only who renders pays for Jinja2

        odd = set(values) ^ set(self.inputs)
        if odd:
            names = ", ".join(sorted(odd))
            raise ConfigError(
                f"Prompt {self.name!r} was rendered with other inputs than it declares: {names}.",
                hint=f"Its inputs are: {', '.join(self.inputs) or 'none'}.",
            )
        try:
            text = Rendered(template.render(self.body, values).strip())
        except ConfigError as error:
            raise ConfigError(f"Prompt {self.name!r} ({self.file}) cannot be rendered: {error}") from error
        text.prompt = self.label
        return text


@dataclass(frozen=True, slots=True)
class Prompts:
    """The prompts of one build."""

    by_name: Mapping[str, Prompt]
    shipped: Mapping[str, Prompt] = field(default_factory=dict)
    """Those of the package, also where another took their place."""

    @classmethod
    def load(cls, override: Path | None = None) -> Prompts:
        """Read the shipped prompts, and over them those of the same name in a folder of the user's.

        Raises:
            ConfigError: Files are out of form, or take other inputs than the shipped ones that they replace. Tells all.
        """
        problems: list[Problem] = []
        shipped = _of_folder(SHIPPED, problems)
        own = _of_folder(override, problems) if override is not None else {}
        for prompt in own.values():
            wanted = shipped.get(prompt.name)
            if wanted is not None and set(wanted.inputs) != set(prompt.inputs):
                what = f"Prompt {prompt.name!r} takes {', '.join(prompt.inputs) or 'nothing'}."
                hint = f"The one that it replaces is given: {', '.join(wanted.inputs)}."
                problems.append(Problem(what, hint, str(prompt.file)))
        if problems:
            raise ConfigError.of(problems)
        return cls({**shipped, **own}, shipped)

    def __getitem__(self, name: str) -> Prompt:
        if name not in self.by_name:
            raise UnknownName("prompt", name, self.by_name)
        return self.by_name[name]

    def digest(self, names: Iterable[str] | None = None) -> str:
        """Name the texts of some prompts, or of all."""
        chosen = sorted(set(names) if names is not None else self.by_name)
        return hashlib.sha256("".join(self[name].digest for name in chosen).encode()).hexdigest()


def parse_prompt(file: Path) -> Prompt:
    """Read one prompt file. Raises ConfigError, with every mistake and its line, if it is not in form."""
    problems: list[Problem] = []
    prompt = _read(file, problems)
    if prompt is None or problems:
        raise ConfigError.of(problems)
    return prompt


def _of_folder(folder: Path, problems: list[Problem]) -> dict[str, Prompt]:
    found: dict[str, Prompt] = {}
    for file in sorted(folder.glob("*.md")):
        prompt = _read(file, problems)
        if prompt is None:
            continue
        if prompt.name in found:
            what = f"{found[prompt.name].file} is called {prompt.name!r} too."
            problems.append(Problem(what, "Give one of them another name.", str(file)))
        found[prompt.name] = prompt
    return found


def _read(file: Path, problems: list[Problem]) -> Prompt | None:
    try:
        raw = file.read_bytes()
        text = raw.decode("utf-8-sig").replace("\r\n", "\n")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        problems.append(Problem(f"It cannot be read ({why}).", file=str(file)))
        return None
    form = _FORM.match(text) if len(raw) <= _MAX_BYTES else None
    if form is None:
        what = "It has no front matter." if len(raw) <= _MAX_BYTES else f"It has more than {_MAX_BYTES:,} bytes."
        problems.append(Problem(what, "Start it with ---, name:, version:, inputs: [...], ---.", str(file)))
        return None
    root = parse_yaml("\n" + form["front"], str(file), problems)
    if root is None:
        return None
    section = Section(root, problems)
    prompt = Prompt(
        name=section.text("name") or file.stem,
        version=section.text("version") or "1",
        description=section.text("description"),
        inputs=tuple(name for item in section.items("inputs") for name in str(item.value).split()),
        body=form["body"],
        digest=hashlib.sha256(raw).hexdigest(),
        file=file,
        tiers=cast("tuple[Tier, ...]", tuple(filter(None, (section.known(t, TIERS) for t in section.items("tiers"))))),
    )
    output = section.take("output")
    section.finish()
    problems += _flaws(prompt, text[: form.start("body")].count("\n"))
    return prompt if output is None else replace(prompt, output=_schema(output, problems))


def _schema(output: Node, problems: list[Problem]) -> Mapping[str, Any]:
    """The schema as plain values. What we ship is not checked here, which would take long: a test does it."""
    schema = output.plain()
    if not isinstance(schema, dict):
        problems.append(output.problem(f"It is {output.kind}; a JSON Schema is expected."))
        return {}
    said = "" if Path(output.file).parent == SHIPPED else schema_flaw(schema)
    if said:
        problems.append(output.problem(f"It is no JSON Schema: {said}."))
    return schema


def _flaws(prompt: Prompt, lines_before: int) -> list[Problem]:
    """What is wrong between the front matter and the text."""
    from treadle.agents import template  # noqa: PLC0415  # only who reads prompts pays for Jinja2

    try:
        used = template.names_used(prompt.body)
    except ConfigError as error:
        return [
            replace(problem, file=str(prompt.file), line=problem.line + lines_before if problem.line else 0)
            for problem in error.problems
        ]
    odd = sorted(used ^ set(prompt.inputs))
    if not odd:
        return []
    what = f"Declared inputs and used names differ: {', '.join(odd)}."
    return [Problem(what, f"Write inputs: [{', '.join(sorted(used))}].", str(prompt.file))]
