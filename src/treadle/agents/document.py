"""The specialist documentation: a text about code that is there. A model writes it, and every fact in it is checked."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import replace

from treadle.agents.coder import Sampling
from treadle.agents.desk import Desk, Made, is_stuck
from treadle.agents.document_rules import Facts, find_problems
from treadle.agents.review_rules import is_test_file
from treadle.agents.source import interface
from treadle.domain.plan import PlannedTask

_SYSTEM = "You write clear documentation for programmers. You state only what you were told."
_MAX_TOKENS = 1800
_MAX_FACTS = 9000


async def make_document(task: PlannedTask, desk: Desk) -> Made:
    """Write a document about the files of the desk. It is corrected until the rules find nothing that is not so.

    When the rounds are used up, what is still wrong is cut out by rule if it is a sentence or a block of code of its
    own, and that is said; so a document never names what is not there.
    """
    goal = str(task.brief.get("goal") or desk.goal or task.title)
    path = next((name for name in task.files if name.endswith((".md", ".rst"))), "README.md")
    facts = Facts.of({name: text for name, text in desk.files.items() if name != path} | {path: ""})
    told = _told(desk.files, path)
    text, problems, wrong = "", ["nothing was written"], desk.sent_back
    ranks: list[int] = []
    for attempt in range(desk.rounds + 1):
        prompt = desk.prompts["write_document"].render(goal=goal, file=path, facts=told, wrong=wrong)
        sampling = Sampling(attempt, desk.seed, desk.temperature)
        asked = replace(sampling.of(prompt, _MAX_TOKENS, cold=2), system=_SYSTEM)
        text = _unwrapped(await desk.asker.ask(f"document.{attempt}", asked))
        problems = find_problems(text, facts, own=path)
        if not problems:
            break
        desk.ctx.log(f"{path}: {problems[0]}", problems=problems)
        ranks.append(-len(problems))
        if is_stuck(ranks):
            break
        wrong = f"It was written like this:\n\n{text}\n\nCorrect this:\n" + "\n".join(f"- {p}" for p in problems[:6])
    checked = [f"the names, commands, options, links and code blocks of {path} were checked against the files"]
    if problems:
        text, problems, gone = _cut(text, facts, path)
        checked += [f"{gone} sentences and blocks that named what is not there were cut out"] if gone else []
    problem = f"{path}: {'; '.join(problems[:4])}" if problems else ""
    return Made({path: text}, problem, checked=tuple(checked))


def _told(files: Mapping[str, str], path: str) -> str:
    """What the model is told of the files: interfaces of modules, the top of programs, and small texts whole."""
    parts = []
    for name in sorted(files, key=lambda file: (is_test_file(file), file.count("/"), file)):
        if name == path:
            continue
        parts.append(_described(name, files[name]))
    told = "\n\n".join(part for part in parts if part)
    return told if len(told) <= _MAX_FACTS else told[:_MAX_FACTS] + "\n(the rest is not shown)"


def _described(name: str, text: str) -> str:
    if not name.endswith(".py"):
        return f"`{name}`:\n```\n{text[:800]}\n```" if len(text) < 4000 and text.strip() else f"`{name}`"
    if is_test_file(name):
        return f"`{name}`: tests, run with `python -m pytest`"
    try:
        tree, offered = ast.parse(text), interface(text)
    except (SyntaxError, ValueError):
        return f"`{name}`"
    about = (ast.get_docstring(tree) or "").strip()
    arguments = re.findall(r"^.*\badd_(?:argument|parser)\(.*$", text, re.MULTILINE)
    shown = [f"`{name}`{': ' + about if about else ''}", f"```python\n{offered}\n```" if offered else ""]
    if arguments:
        shown.append("Its command line:\n```python\n" + "\n".join(line.strip() for line in arguments) + "\n```")
    return "\n".join(filter(None, shown))


def _unwrapped(answer: str) -> str:
    """Take off the fence that models put around a whole document."""
    text = answer.strip()
    match = re.match(r"(?:```|~~~)(?:markdown|md)?[ \t]*\n(.*)\n(?:```|~~~)\s*$", text, re.DOTALL)
    if match and not re.match(r"(?:```|~~~)(?:python|sh|bash)", text):
        text = match[1].strip()
    start = re.search(r"^# ", text, re.MULTILINE)
    return (text[start.start() :] if start else text).rstrip() + "\n"


def _cut(text: str, facts: Facts, path: str) -> tuple[str, list[str], int]:
    """Leave out the paragraphs, items and blocks with problems. Returns the rest, what is wrong with it, how many."""
    parts = re.split(r"(\n\s*\n|\n(?=\s*(?:[-*+]|\d+\.)\s))", text)
    whole: list[str] = []
    for part in parts:  # a block with blank lines inside is one piece
        is_open = whole and len(re.findall(r"^\s*(?:```|~~~)", whole[-1], re.MULTILINE)) % 2
        if is_open:
            whole[-1] += part
        else:
            whole.append(part)
    kept, gone = [], 0
    for part in whole:
        found = find_problems(part, facts, own=path)
        is_wrong = any("heading of the first level" not in one and "no such heading" not in one for one in found)
        gone += is_wrong
        kept += [] if is_wrong else [part]
    rest = re.sub(r"\n{3,}", "\n\n", "".join(kept)).strip() + "\n"
    problems = find_problems(rest, facts, own=path)
    if 3 * len(rest) < len(text):
        problems.append("most of it named what is not there")
    return rest, problems, gone
