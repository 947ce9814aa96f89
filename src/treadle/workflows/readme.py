"""The README of a new project, written by rule from what its tasks made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from treadle.agents.brief import Brief
from treadle.agents.frame import usage


def readme(brief: Brief) -> str:
    """Write it for one file."""
    title = brief.file.removesuffix(".py").rpartition("/")[2].replace("_", " ").capitalize()
    return _page(title, brief.goal, _used(brief))


def readme_of_files(goal: str, files: Sequence[str], checked: Sequence[str]) -> str:
    """Write it for files of which no more is known than what was checked of them."""
    title = files[0].rpartition("/")[2].partition(".")[0].replace("_", " ").capitalize() if files else "Project"
    lines = [f"- `{path}`" for path in files] + (["", *(f"- {said}" for said in checked)] if checked else [])
    return _page(title, goal, "\n".join(lines))


def readme_of_all(goal: str, outcomes: Iterable[Mapping[str, Any]]) -> str:
    """Write it for what several tasks made."""
    parts = []
    for outcome in outcomes:
        known = outcome.get("brief")
        used = _used(Brief.of(known)) if known else "\n".join(f"- `{path}`" for path in outcome["files"])
        parts.append(f"### {outcome['files'][0]}\n\n{used}" if outcome["files"] else used)
    title = " ".join(goal.split("```")[0].split()[:6]).rstrip(".,:;") or "Project"
    return _page(title[0].upper() + title[1:], goal, "\n\n".join(parts))


def _used(brief: Brief) -> str:
    if brief.is_whole:
        return f"`python {brief.file} --help` says how."
    return usage(brief) if brief.is_program else f"`from {brief.module} import {', '.join(brief.names)}`"


def _page(title: str, goal: str, used: str) -> str:
    said = " ".join(goal.split("```")[0].split()).rstrip(".:") or title
    return f"# {title}\n\n{said}.\n\n## Use\n\n{used}\n\n## Test\n\n`python -m pytest`\n"
