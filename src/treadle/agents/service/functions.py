"""The functions of a service that a model writes: asked for, taken out of the answer, looked at, put into the frame."""

from __future__ import annotations

import ast
import re

from treadle.agents.answers import code_block, complete_prefix, is_python
from treadle.agents.ask import Asker
from treadle.agents.coder import Sampling
from treadle.agents.prompt import Prompts
from treadle.agents.service import frame
from treadle.agents.service.cases import example
from treadle.agents.service.shape import ServiceBrief
from treadle.agents.source import find_flaw, mend
from treadle.agents.testcases import Case, from_functions

_MAX_TOKENS = 900


async def write_functions(brief: ServiceBrief, asker: Asker, prompts: Prompts, *, key: str, sampling: Sampling) -> str:
    """Return a version of the custom functions, as the model wrote them."""
    text = prompts["write_service"].render(
        goal=brief.goal,
        file=brief.file,
        tables=_tables(brief),
        functions=frame.signatures(brief, brief.custom),
    )
    return own_functions(brief, code_block(await asker.ask(key, sampling.of(text, _MAX_TOKENS))))


async def fix_functions(
    brief: ServiceBrief,
    asker: Asker,
    prompts: Prompts,
    *,
    key: str,
    functions: str,
    problem: str,
    sampling: Sampling,
) -> str:
    """Return the custom functions with a correction, given what fails."""
    text = prompts["fix_service"].render(goal=brief.goal, functions=functions, tables=_tables(brief), problem=problem)
    return own_functions(brief, code_block(await asker.ask(key, sampling.of(text, _MAX_TOKENS, cold=2))))


async def write_cases(
    brief: ServiceBrief, asker: Asker, prompts: Prompts, *, key: str, sampling: Sampling
) -> list[Case]:
    """Return tests that the model makes up for the custom routes. May be empty."""
    about = ", ".join(f"`{route.method} {route.path}`" for route in brief.custom)
    text = prompts["test_service"].render(goal=brief.goal, routes=_bodies(brief), about=about, example=example(brief))
    answer = code_block(await asker.ask(key, sampling.of(text, 700)))
    cases = from_functions(_unpacked(answer), ["service"])
    return [case for case in cases if "call(" in case.source and case.body not in example(brief)]


def own_functions(brief: ServiceBrief, answer: str) -> str:
    """Keep of an answer what the frame has not: the functions asked for, their helpers and constants, and imports."""
    if not is_python(answer):
        answer = complete_prefix(answer) or answer
    if not is_python(answer):
        return answer
    given = {node.name for node in ast.parse(frame.render(brief, "")).body if isinstance(node, _Named)}
    lines, kept = answer.splitlines(), []
    for node in ast.parse(answer).body:
        is_given = isinstance(node, _Named) and node.name in given
        is_kept = isinstance(node, _Named | ast.Import | ast.ImportFrom | ast.Assign | ast.AnnAssign)
        if is_kept and not is_given:
            first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])
            kept.append("\n".join(lines[first - 1 : node.end_lineno]))
    return "\n\n\n".join(kept) + "\n"


def assemble(brief: ServiceBrief, functions: str) -> str:
    """Write the whole file."""
    if not is_python(functions):
        return frame.render(brief, functions)
    tree = ast.parse(functions)
    imports = [ast.unparse(node) for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    lines = functions.splitlines()
    for node in reversed(tree.body):
        if isinstance(node, ast.Import | ast.ImportFrom):
            del lines[node.lineno - 1 : node.end_lineno]
    source = frame.render(brief, "\n".join(lines))
    new = [line for line in imports if not re.search(rf"^{re.escape(line)}$", source, re.MULTILINE)]
    source = source.replace("import argparse\n", "\n".join([*new, "import argparse\n"]), 1)
    return mend(source, is_program=True)


def flaw_of(brief: ServiceBrief, functions: str) -> str:
    """Say what keeps the functions from being used: no Python, a missing one, one without a body."""
    flaw = find_flaw(assemble(brief, functions), tuple(route.function for route in brief.custom))
    if flaw is not None:
        return flaw.message
    for node in ast.parse(functions).body:
        if isinstance(node, ast.FunctionDef) and any(_is_open(statement) for statement in node.body):
            return f"The function {node.name} is not complete."
    return ""


_Named = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def _is_open(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and node.value.value is ...


def _tables(brief: ServiceBrief) -> str:
    return frame.schema(brief).split('"""')[1].strip()


def _bodies(brief: ServiceBrief) -> str:
    """The routes with the bodies that they take."""
    lines = []
    for line, route in zip(frame.usage(brief).splitlines(), brief.routes, strict=True):
        resource = brief.resource(route.resource)
        fields = route.takes or (resource.fields if resource and route.action in ("create", "change", "store") else ())
        sent = ", ".join(f'"{field.name}": {field.type}' for field in fields if field.name not in route.names)
        lines.append(f"- {line} -> {route.status}" + (f" Body: {{{sent}}}" if sent else ""))
    return "\n".join(lines)


def _unpacked(answer: str) -> str:
    """Give each test the `call` that a model forgets to make."""
    if not is_python(answer):
        answer = complete_prefix(answer) or answer
    if not is_python(answer):
        return answer
    tree = ast.parse(answer)
    begin = ast.parse("call = service(tmp_path)").body[0]
    for node in tree.body:
        if not isinstance(node, ast.FunctionDef):
            continue
        names = {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
        arguments = [argument.arg for argument in node.args.args]
        if "call" in names and "service" not in names:
            node.body.insert(0, begin)
        node.args.args = [a for a in node.args.args if a.arg not in ("call", "service")]
        if "tmp_path" not in [a.arg for a in node.args.args] and (arguments or "call" in names):
            node.args.args.append(ast.arg("tmp_path"))
    return ast.unparse(ast.fix_missing_locations(tree))
