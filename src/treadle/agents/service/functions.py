"""The functions of a service that a model writes, one question for each: a small model keeps one in mind.

They are taken out of the answers, looked at, mended by rule, and put into the frame.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping

from treadle.agents.answers import code_block, complete_prefix, is_python
from treadle.agents.ask import Asker
from treadle.agents.coder import Sampling
from treadle.agents.prompt import Prompts
from treadle.agents.service import frame
from treadle.agents.service.cases import opening, shape
from treadle.agents.service.shape import Route, ServiceBrief
from treadle.agents.source import find_flaw, mend
from treadle.agents.testcases import Case, from_functions

_MAX_TOKENS = 500
_Named = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


async def write_function(
    brief: ServiceBrief,
    route: Route,
    asker: Asker,
    prompts: Prompts,
    *,
    key: str,
    sampling: Sampling,
    before: str = "",
    problem: str = "",
) -> str:
    """Return a version of the function behind a route, as the model wrote it.

    With `before`, the model is shown what it wrote, and the problem with it; a problem alone is shown as it is.
    """
    wrong = problem
    if before:
        wrong = f"It was written like this:\n\n```python\n{before}```\n\nThat is wrong:\n\n{problem}"
    text = prompts["write_route"].render(
        goal=brief.goal,
        route=f"{route.method} {route.path}",
        status="302 and the address as text instead of JSON" if 300 <= route.status < 400 else str(route.status),
        function=frame.signatures(brief, [route]),
        tables=frame.schema(brief).split('"""')[1].strip() or "-- none yet",
        wrong=wrong,
    )
    answer = await asker.ask(key, sampling.of(text, _MAX_TOKENS, cold=2 if before else 1))
    return own_function(brief, route, code_block(answer))


async def write_case(
    brief: ServiceBrief, route: Route, asker: Asker, prompts: Prompts, *, key: str, sampling: Sampling
) -> list[Case]:
    """Return the test of a route that the model completed; none if its answer is no test."""
    text = prompts["test_route"].render(
        goal=brief.goal,
        route=f"{route.method} {route.path}",
        shape=shape(brief, route),
        test=opening(brief, route) + "\n    ...",
    )
    answer = code_block(await asker.ask(key, sampling.of(text, 400)))
    cases = from_functions(_without_dots(answer), ["service"])
    name = f"test_{route.function}"
    sound = [case for case in cases if "call(" in case.source and "assert" in case.source]
    return [Case(name, re.sub(r"^def \w+", f"def {name}", case.source), "model") for case in sound[:1]]


def own_function(brief: ServiceBrief, route: Route, answer: str) -> str:
    """Keep of an answer what the frame has not: the function asked for, its helpers and constants, and imports."""
    if not is_python(answer):
        answer = complete_prefix(answer) or answer
    if not is_python(answer):
        return answer
    bare = frame.render(brief, "")
    given = {node.name for node in ast.parse(bare).body if isinstance(node, _Named)}
    given |= {other.function for other in brief.for_model if other != route}
    lines, kept = answer.splitlines(), []
    for node in ast.parse(answer).body:
        is_given = isinstance(node, _Named) and (node.name in given or node.name.startswith("test_"))
        if isinstance(node, _Named | ast.Import | ast.ImportFrom | ast.Assign | ast.AnnAssign) and not is_given:
            first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])
            kept.append("\n".join(lines[first - 1 : node.end_lineno]))
    return _refreshed("\n\n\n".join(kept) + "\n")


def assemble(brief: ServiceBrief, functions: Mapping[str, str]) -> str:
    """Write the whole file. `functions` holds the source of each custom function by its name."""
    source = frame.render(brief, "\n\n".join(map(_without_imports, functions.values())))
    for line in dict.fromkeys(line for text in functions.values() for line in _imports(text)):
        if not re.search(rf"^{re.escape(line)}$", source, re.MULTILINE):
            source = source.replace("import argparse\n", f"import argparse\n{line}\n", 1)
    return mend(source, is_program=True)


def flaw_of(brief: ServiceBrief, route: Route, function: str) -> str:
    """Say what keeps a function from being used: it is no Python, not there, or without a body."""
    others = {other.function: f"def {other.function}(*args):\n    return {{}}\n" for other in brief.for_model}
    flaw = find_flaw(assemble(brief, {**others, route.function: function}), (route.function,))
    if flaw is not None:
        return flaw.message
    for node in ast.parse(function).body:
        if isinstance(node, ast.FunctionDef) and any(_is_open(statement) for statement in node.body):
            return f"The function {node.name} is not complete."
    return ""


def _refreshed(source: str) -> str:
    """Let a row that was fetched be the changed one after `change`, which returns it; small models forget that."""
    tree = ast.parse(source)
    lines = source.splitlines()
    for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
        rows = {}
        for node in ast.walk(function):
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and _is_call(node.value, "fetch"):
                rows[_row(node.value)] = node.targets[0].id
        for node in ast.walk(function):
            if isinstance(node, ast.Expr) and _is_call(node.value, "change") and _row(node.value) in rows:
                line = lines[node.lineno - 1]
                indent = len(line) - len(line.lstrip())
                lines[node.lineno - 1] = f"{line[:indent]}{rows[_row(node.value)]} = {line[indent:]}"
    return "\n".join(lines) + "\n"


def _is_call(node: ast.expr, name: str) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name


def _row(node: ast.expr) -> str:
    """The table of a call of `fetch` or `change`. A function rarely looks at two rows of one table."""
    return ast.unparse(node.args[1]) if isinstance(node, ast.Call) and len(node.args) > 1 else ""


def _imports(source: str) -> list[str]:
    if not is_python(source):
        return []
    return [ast.unparse(node) for node in ast.parse(source).body if isinstance(node, ast.Import | ast.ImportFrom)]


def _without_imports(source: str) -> str:
    if not is_python(source):
        return source
    lines = source.splitlines()
    for node in reversed(ast.parse(source).body):
        if isinstance(node, ast.Import | ast.ImportFrom):
            del lines[node.lineno - 1 : node.end_lineno]
    return "\n".join(lines).strip("\n") + "\n"


def _is_open(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and node.value.value is ...


def _without_dots(answer: str) -> str:
    if not is_python(answer):
        answer = complete_prefix(answer) or answer
    return "\n".join(line for line in answer.splitlines() if line.strip() != "...")
