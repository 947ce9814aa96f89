"""The coder: asks for a whole file, or for a corrected one, and mends what can be mended without asking again."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass

from treadle.agents import class_brief, command, frame
from treadle.agents.answers import code_block, complete_prefix, is_python
from treadle.agents.ask import Asker, Question
from treadle.agents.brief import Brief
from treadle.agents.prompt import Prompts
from treadle.agents.source import has_class, mend
from treadle.agents.testcases import Case, harvest

WARMTH = 0.5
"""Temperature of the second candidate: enough to differ, not enough to babble. Later ones are a little warmer."""
MAX_TOKENS = 900
MAX_OF_PROGRAMS = 1200


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tries of one question differ: by seed, and from `first` to `WARMTH` and beyond by temperature."""

    attempt: int = 0
    seed: int = 0
    first: float = 0.0

    def of(self, text: str, max_tokens: int, *, cold: int = 1) -> Question:
        """Make the question; the first `cold` tries take the first temperature."""
        warmth = min(1.0, WARMTH + 0.1 * (self.attempt - cold))
        temperature = self.first if self.attempt < cold else max(warmth, self.first)
        return Question(text, max_tokens=max_tokens, temperature=temperature, seed=1000 * self.seed + self.attempt)


@dataclass(frozen=True, slots=True)
class Draft:
    """A version of the file, and the tests that came with it."""

    source: str
    hints: tuple[Case, ...]


async def write_code(
    brief: Brief, asker: Asker, prompts: Prompts, *, key: str, sampling: Sampling, known: Sequence[str] = ()
) -> Draft:
    """Return a candidate for the whole file, independent of those before. It is told that the `known` asserts hold."""
    text = _request(brief, prompts)
    if brief.beside:
        text += f"\n\nThese files are there already. Import from them what you need:\n\n```python\n{brief.beside}\n```"
    if known:
        text += "\n\nMake sure that these hold:\n\n```python\n" + "\n".join(known) + "\n```"
    most = MAX_TOKENS if not brief.is_whole else MAX_OF_PROGRAMS
    return _draft(brief, code_block(await asker.ask(key, sampling.of(text, most))))


async def fix_code(
    brief: Brief, asker: Asker, prompts: Prompts, *, key: str, source: str, problem: str, sampling: Sampling
) -> Draft:
    """Return the file with a correction, given the essence of what is wrong with it."""
    text = prompts["fix"].render(goal=_without_repeats(brief, source), file=brief.file, source=source, problem=problem)
    return _draft(brief, code_block(await asker.ask(key, sampling.of(text, MAX_TOKENS, cold=2))))


def _draft(brief: Brief, code: str) -> Draft:
    source = finish_code(brief, code)
    is_plain = not brief.is_program and is_python(source) and not has_class(source)
    return Draft(source, tuple(harvest(code, brief.names)) if is_plain else ())


def finish_code(brief: Brief, source: str) -> str:
    """Turn the code of an answer into the file: cut-off ends and example calls go, missing imports come."""
    if not is_python(source):
        source = complete_prefix(source) or source
    if brief.skeleton and is_python(source):
        source = _with_helpers(brief.skeleton, source)
    if brief.is_whole:
        return command.finish(source)
    if brief.is_program:
        source = frame.assemble(brief, source)
    return mend(source, is_program=brief.is_program)


def described(brief: Brief) -> str:
    """List the functions that a module is to offer."""
    lines = [
        f"- `{part.name}({', '.join(part.parameters)})`{': ' + part.does if part.does else ''}" for part in brief.parts
    ]
    return "\n".join(lines)


def _request(brief: Brief, prompts: Prompts) -> str:
    if brief.skeleton and not brief.classes:
        return prompts["write_skeleton"].render(skeleton=brief.skeleton)
    if brief.is_whole:
        return prompts["write_command"].render(goal=brief.goal, file=brief.file)
    if brief.is_program:
        given = "\n\n".join(filter(None, [frame.storage(brief), frame.signatures(brief), frame.main(brief)]))
        return prompts["write_usage" if brief.usage else "write_program"].render(
            goal=brief.goal, file=brief.file, frame=given
        )
    if any(not part.is_exception for part in brief.classes):
        interface = "\n\n".join(filter(None, [class_brief.described(brief.classes), described(brief)]))
        return prompts["write_class"].render(goal=brief.goal, file=brief.file, interface=interface)
    return prompts["write_module"].render(goal=brief.goal, file=brief.file, interface=described(brief))


def _with_helpers(skeleton: str, source: str) -> str:
    """Put what the skeleton has and the answer left out (imports, helper functions) above the answer."""
    tree = ast.parse(skeleton)
    have = {node.name for node in ast.parse(source).body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    missing = [
        ast.unparse(node)
        for node in tree.body[:-1]
        if isinstance(node, ast.Import | ast.ImportFrom)
        or (isinstance(node, ast.FunctionDef) and node.name not in have)
    ]
    imports = [line for line in missing if line.startswith(("import", "from")) and line not in source]
    rest = [text for text in missing if not text.startswith(("import", "from"))]
    return "\n\n".join(filter(None, ["\n".join(imports), *rest, source]))


def _without_repeats(brief: Brief, source: str, limit: int = 1200) -> str:
    """The goal, without a skeleton whose docstring the source shows anyway."""
    docstrings = [
        ast.get_docstring(node) for node in ast.parse(brief.skeleton).body if isinstance(node, ast.FunctionDef)
    ]
    last = (docstrings[-1] or "").split("\n")[0] if docstrings else ""
    goal = brief.goal.split("```")[0].strip() if last and last in source else brief.goal
    return goal if len(goal) <= limit else goal[:limit] + " …"
