"""Prompts: text files with a little front matter. Rendering is strict, and the file's hash goes into provenance."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from treadle.errors import ConfigError, UnknownName

SYSTEM = "You are an expert Python programmer. Use only the Python standard library."
_SHIPPED = Path(__file__).parent / "prompts"
_FORM = re.compile(r"\A---\n(?P<front>.*?)\n---\n(?P<body>.*)\Z", re.DOTALL)
_PLACE = re.compile(r"\{\{\s*(\w+)\s*\}\}")


@dataclass(frozen=True, slots=True)
class Prompt:
    """One prompt. `digest` names its exact text."""

    name: str
    version: str
    inputs: frozenset[str]
    body: str
    digest: str

    def render(self, **values: str) -> str:
        """Put the values in their places. Values are not looked at again, so `{{x}}` in a value stays as it is.

        Raises:
            ConfigError: A place has no value, or a value has no place.
        """
        if set(values) != self.inputs:
            odd = ", ".join(sorted(set(values) ^ self.inputs))
            raise ConfigError(f"Prompt {self.name!r} was rendered with other inputs than it declares: {odd}.")
        return _PLACE.sub(lambda match: values[match[1]].strip("\n"), self.body).strip()


@dataclass(frozen=True, slots=True)
class Prompts:
    """The prompts of one build."""

    by_name: dict[str, Prompt]

    @classmethod
    def load(cls, override: Path | None = None) -> Prompts:
        """Read the shipped prompts, and over them those of the same name in a folder of the user's.

        Raises:
            ConfigError: A file has no front matter, or uses a place that it does not declare.
        """
        folders = [_SHIPPED, *([override] if override else [])]
        found = [parse_prompt(file) for folder in folders for file in sorted(folder.glob("*.md"))]
        return cls({prompt.name: prompt for prompt in found})

    def __getitem__(self, name: str) -> Prompt:
        if name not in self.by_name:
            raise UnknownName("prompt", name, self.by_name)
        return self.by_name[name]

    def digest(self, names: Iterable[str] | None = None) -> str:
        """Name the texts of some prompts, or of all."""
        chosen = sorted(set(names) if names is not None else self.by_name)
        return hashlib.sha256("".join(self[name].digest for name in chosen).encode()).hexdigest()


def parse_prompt(file: Path) -> Prompt:
    """Read one prompt file. Raises ConfigError if it is not in form."""
    text = file.read_text(encoding="utf-8")
    form = _FORM.match(text)
    if form is None:
        raise ConfigError(
            f"Prompt {file} has no front matter.", hint="Start it with ---, name:, version:, inputs:, ---."
        )
    front = dict(line.partition(":")[::2] for line in form["front"].splitlines() if ":" in line)
    inputs = frozenset(front.get("inputs", "").split())
    unknown = set(_PLACE.findall(form["body"])) ^ inputs
    if unknown:
        raise ConfigError(f"Prompt {file}: declared inputs and used places differ: {', '.join(sorted(unknown))}.")
    name = front.get("name", file.stem).strip()
    return Prompt(
        name, front.get("version", "1").strip(), inputs, form["body"], hashlib.sha256(text.encode()).hexdigest()
    )
