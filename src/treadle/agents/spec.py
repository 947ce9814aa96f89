"""An agent as a file: front matter that says what it is and what it may do, then its system message.

```
---
name: librarian
description: Answers questions about the files of a project.
model: qwen2.5-coder:1.5b     # or tier: small; neither: what the settings say
tools: [read_file, ls_dir, done]
approvals: {bash: ask}        # allow, ask or deny, by tool; what is not named is allowed
limits: {steps: 20, tokens: 50000, seconds: 600, money: 0.10}
max_tokens: 800               # of one answer
temperature: 0
---
You are a librarian. ...
```
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from treadle.domain.decision import Approve, Policy
from treadle.domain.inventory import TIERS
from treadle.errors import ConfigError, Problem
from treadle.models.inventory.yaml_tree import Section, parse_yaml

APPROVALS = ("allow", "ask", "deny")
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")
_FORM = re.compile(r"\A---[ \t]*\n(?P<front>.*?)^---[ \t]*\n(?P<body>.*)\Z", re.DOTALL | re.MULTILINE)
_MAX_BYTES = 200_000


@dataclass(frozen=True, slots=True)
class AgentSpec:
    """What an agent is, and what it may do."""

    name: str
    description: str = ""
    preamble: str = ""
    """Its system message."""
    model: str = ""
    tier: str = ""
    tools: tuple[str, ...] = ()
    """Names, in the order in which the model is told of them."""
    approvals: Mapping[str, Approve] = field(default_factory=dict)
    """By tool; what is not in it is allowed."""
    max_steps: int = 40
    max_tokens: int | None = None
    """Of the whole thread."""
    max_seconds: float | None = None
    max_cost: float | None = None
    answer_tokens: int = 1024
    """Of one answer."""
    temperature: float = 0.0
    digest: str = ""
    """Names the exact text of its file."""

    def policy(self, **given: Any) -> Policy:
        """The limits as the loop takes them; what is given comes on top."""
        return Policy(
            max_steps=self.max_steps,
            max_tokens=self.max_tokens,
            max_seconds=self.max_seconds,
            max_cost=self.max_cost,
            **given,
        )


def parse_agent(file: Path) -> AgentSpec | None:
    """Read an agent's file; None if it has no front matter, and so is no agent.

    Raises:
        ConfigError: The front matter is wrong. Tells every mistake with its line.
    """
    try:
        raw = file.read_bytes()
        text = raw.decode("utf-8-sig").replace("\r\n", "\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} cannot be read: {error}.") from error
    form = _FORM.match(text)
    if form is None:
        return None
    problems: list[Problem] = []
    if len(raw) > _MAX_BYTES:
        problems.append(Problem(f"It has more than {_MAX_BYTES:,} bytes.", file=str(file)))
    root = parse_yaml("\n" + form["front"], str(file), problems)
    spec = _read(Section(root, problems), file, form["body"]) if root is not None else None
    if problems or spec is None:
        raise ConfigError.of(problems, "The agent was not loaded.")
    values = {name: getattr(spec, name) for name in spec.__slots__}
    return AgentSpec(**{**values, "digest": hashlib.sha256(raw).hexdigest()})


def _is_among(name: str, tools: tuple[str, ...]) -> bool:
    """A tool of an MCP server is also named by all of that server."""
    return name in tools or f"{name.partition('__')[0]}__*" in tools or "*" in tools


def _read(section: Section, file: Path, body: str) -> AgentSpec:
    name = section.text("name") or file.stem
    if not NAME.fullmatch(name):
        hint = "Use letters, digits, dots, hyphens and underscores; begin with a letter."
        section.problems.append(Problem(f"{name!r} cannot be an agent's name.", hint, str(file)))
    limits_node = section.take("limits")
    limits = Section(limits_node, section.problems) if limits_node is not None else None
    approvals = {tool: section.known(node, APPROVALS) or "deny" for tool, node in section.entries("approvals")}
    spec = AgentSpec(
        name=name,
        description=section.text("description"),
        preamble=body.strip(),
        model=section.text("model"),
        tier=section.choice("tier", TIERS),
        tools=tuple(str(item.value) for item in section.items("tools")),
        approvals=cast("Mapping[str, Approve]", approvals),
        max_steps=(limits.whole("steps") if limits else None) or 40,
        max_tokens=limits.whole("tokens") if limits else None,
        max_seconds=limits.number("seconds") if limits else None,
        max_cost=limits.number("money") if limits else None,
        answer_tokens=section.whole("max_tokens") or 1024,
        temperature=section.number("temperature") or 0.0,
    )
    if limits:
        limits.finish()
    section.finish()
    odd = sorted(name for name in approvals if not _is_among(name, spec.tools))
    if odd:
        what = f"It says who approves {', '.join(odd)}, which it has not among its tools."
        section.problems.append(Problem(what, "Add it to tools, or take it out of approvals.", str(file)))
    return spec
