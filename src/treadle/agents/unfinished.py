"""Files of a repository that wait to be written: little more than names are there, and tests say what is wanted."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from treadle.agents.answers import code_block, complete_prefix, is_python
from treadle.agents.ask import Asker, Question
from treadle.agents.coder import Sampling
from treadle.agents.plain_tests import plain_tests
from treadle.agents.prompt import Prompts
from treadle.agents.relevance import Failure, failing_tests, is_test
from treadle.agents.source import find_flaw, mend

MAX_TOKENS = 1200
_MOST_OF_TESTS = 1600
"""Characters of the tests that a model is shown; small models lose the thread in more."""
_ENDS = ("\nimport unittest", "\nclass Test", "\ndef test_", "\nif __name__")
"""Where an answer has gone on to tests, or has copied the given ones."""
_MOST_OF_TEXT = 3000
_SHORT_GOAL = 300
"""A goal of fewer characters may leave to a file what is to be done."""
_NO_MODULE = re.compile(r"No module named '([A-Za-z_]\w*)'")
_INSTRUCTIONS = re.compile(r"(?:^|/)(?:readme|instructions[\w.]*)\.(?:md|txt|rst)$", re.IGNORECASE)
_Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A file to be written, and the tests that say what is wanted."""

    path: str
    source: str
    """What is there; empty if there is no such file."""
    needed: tuple[str, ...]
    """What the tests take from it."""
    tests: str
    """What they demand, as bare statements."""


def find_unfinished(failure: Failure, output: str, texts: Mapping[str, str]) -> Unfinished | None:
    """Return the file that the failing tests want and that nobody wrote yet, or None if there is none, or several."""
    tests = [path for path in texts if is_test(path) and path.endswith(".py")]
    failing = {path for path, _ in failure.tests} | {path for path, _ in failure.frames}
    tests = [path for path in tests if path in failing] or tests
    found: dict[str, list[str]] = {}
    for test in tests:
        for module, names in _imports(texts[test]).items():
            path = _file_of(module, test, texts)
            if path in texts and not is_test(path) and is_unfinished(texts[path]):
                found.setdefault(path, []).extend(names)
            elif not path and module in _NO_MODULE.findall(output) and module not in sys.stdlib_module_names:
                folder = test.rpartition("/")[0] if "tests" not in test else ""
                found.setdefault(f"{folder}/{module}.py".lstrip("/"), []).extend(names)
    if len(found) != 1:
        return None
    ((path, wanted),) = found.items()
    shown = plain_tests([texts[test] for test in tests if path.rpartition("/")[2][:-3] in texts[test]], _MOST_OF_TESTS)
    return Unfinished(path, texts.get(path, ""), tuple(dict.fromkeys(wanted)), shown)


def tests_of(path: str, texts: Mapping[str, str]) -> list[str]:
    """Return the test files that take something from a file."""
    tests = [test for test in texts if is_test(test) and test.endswith(".py")]
    stem = path.rpartition("/")[2].removesuffix(".py")
    return [
        test
        for test in tests
        if any(_file_of(module, test, texts) == path or module == stem for module in _imports(texts[test]))
    ]


def is_unfinished(source: str) -> bool:
    """Tell whether at least half of what a source defines is empty: `pass`, `...`, a docstring, NotImplementedError.

    Exceptions are whole without a body. A source that defines nothing at all is unfinished.
    """
    if not is_python(source):
        return False
    tree = ast.parse(source)
    functions = [node for node in ast.walk(tree) if isinstance(node, _Function)]
    empty = [node for node in functions if _is_empty(node.body)]
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    hollow = [node for node in classes if not node.bases and _is_empty(node.body)]
    if not functions and not classes:
        return not any(isinstance(node, ast.Assign | ast.AnnAssign) and node.value for node in tree.body)
    return 2 * (len(empty) + len(hollow)) >= max(1, len(functions) + len(hollow))


async def complete_file(
    unfinished: Unfinished, goal: str, asker: Asker, prompts: Prompts, *, key: str, sampling: Sampling
) -> str:
    """Return a version of the whole file, independent of those before."""
    text = prompts["complete"].render(
        goal=goal, file=unfinished.path, source=unfinished.source.strip(), tests=unfinished.tests
    )
    return finished(unfinished, code_block(await asker.ask(key, _question(text, sampling))))


async def correct_file(
    unfinished: Unfinished,
    goal: str,
    asker: Asker,
    prompts: Prompts,
    *,
    key: str,
    source: str,
    problem: str,
    sampling: Sampling,
) -> str:
    """Return a corrected version, given what is wrong with the best one so far."""
    text = prompts["fix"].render(goal=goal[:_MOST_OF_TEXT], file=unfinished.path, source=source, problem=problem)
    return finished(unfinished, code_block(await asker.ask(key, _question(text, sampling))))


def _question(text: str, sampling: Sampling) -> Question:
    return replace(sampling.of(text, MAX_TOKENS), stop=_ENDS)


def finished(unfinished: Unfinished, answer: str) -> str:
    """Make the file of an answer: a cut-off end goes; what the answer left out and was there before stays."""
    if not is_python(answer):
        answer = complete_prefix(answer) or answer
    if not is_python(answer):
        return answer
    have = _bound(ast.parse(answer))
    kept = [
        ast.unparse(node)
        for node in ast.parse(unfinished.source).body
        if not (isinstance(node, ast.Expr)) and not _bound(ast.Module(body=[node], type_ignores=[])) & have
    ]
    return mend("\n\n".join([*kept, _as_used(answer, unfinished.tests)]))


def flaw_of(unfinished: Unfinished, source: str, texts: Mapping[str, str]) -> str:
    """Say what keeps a version from being used, without running it; empty if nothing does."""
    local = {part for path in texts for part in path.removesuffix(".py").split("/")}
    flaw = find_flaw(source, (), frozenset(local))
    if flaw:
        return flaw.message
    missing = [name for name in unfinished.needed if name not in _bound(ast.parse(source))]
    return f"The file does not define {', '.join(missing)}." if missing else ""


def what_is_wanted(goal: str, texts: Mapping[str, str]) -> str:
    """Return the goal, and the instructions that lie beside the code where the goal is too short to be all."""
    if len(goal) >= _SHORT_GOAL:
        return goal
    told = [text.strip() for path, text in sorted(texts.items()) if _INSTRUCTIONS.search(path)]
    return "\n\n".join([goal, *told])[: max(_MOST_OF_TEXT, len(goal))]


def shown_failure(failure: Failure, texts: Mapping[str, str]) -> str:
    """Show the first failing tests and what they say."""
    tests = plain_tests([failing_tests(failure, texts)], _MOST_OF_TESTS)
    return (f"```python\n{tests}\n```\n\n" if tests else "") + f"```\n{failure.essence}\n```"


def _is_empty(body: Sequence[ast.stmt]) -> bool:
    for node in body:
        is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        is_refusal = isinstance(node, ast.Raise) and "NotImplemented" in ast.unparse(node)
        is_nothing = isinstance(node, ast.Return) and (node.value is None or ast.unparse(node.value) == "None")
        if not (is_text or is_refusal or is_nothing or isinstance(node, ast.Pass)):
            return False
    return True


def _imports(source: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for node in ast.walk(ast.parse(source)) if is_python(source) else ():
        if isinstance(node, ast.ImportFrom) and node.module:
            found.setdefault(node.module, []).extend(alias.name for alias in node.names if alias.name != "*")
        elif isinstance(node, ast.Import):
            for alias in node.names:
                found.setdefault(alias.name, [])
    return found


def _file_of(module: str, test: str, texts: Mapping[str, str]) -> str:
    """The file of a module as a test sees it: from the top, from `src`, or beside the test."""
    name = module.replace(".", "/")
    folder = test.rpartition("/")[0]
    for place in (f"{name}.py", f"src/{name}.py", f"{folder}/{name}.py", f"{name}/__init__.py"):
        if place in texts:
            return place
    return ""


def _bound(tree: ast.Module) -> set[str]:
    """The names that a module binds at its top."""
    names: set[str] = set()
    for node in tree.body:
        if isinstance(node, _Function | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
            names |= {child.id for child in ast.walk(node) if isinstance(child, ast.Name)}
    return names


def _as_used(source: str, tests: str) -> str:
    """Make properties of methods that the tests only ever read, and methods of properties that they only ever call."""
    lines, edits = source.splitlines(), []
    for node in (
        child for owner in ast.walk(ast.parse(source)) if isinstance(owner, ast.ClassDef) for child in owner.body
    ):
        if not isinstance(node, ast.FunctionDef) or node.name.startswith("_") or len(node.args.args) != 1:
            continue
        uses = re.findall(rf"\.{node.name}\b(\s*\()?", tests)
        marks = [decorator for decorator in node.decorator_list if ast.unparse(decorator) == "property"]
        indent = " " * node.col_offset
        if uses and not any(uses) and not node.decorator_list and not _calls_itself(source, node.name):
            edits.append((node.lineno - 1, node.lineno - 1, [f"{indent}@property"]))
        elif uses and all(uses) and marks:
            edits.append((marks[0].lineno - 1, marks[0].lineno, []))
    for start, end, text in sorted(edits, reverse=True):
        lines[start:end] = text
    return "\n".join(lines) + "\n"


def _calls_itself(source: str, name: str) -> bool:
    """Whether the code calls the method that is to become a property."""
    return re.search(rf"\.{name}\s*\(", source) is not None
