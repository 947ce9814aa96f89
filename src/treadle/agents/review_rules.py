"""What a reviewer sees in a change without a model: rules that are right nearly always, over the diff and the files."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from treadle.agents.diffs import FileDiff
from treadle.agents.examples import Example
from treadle.agents.source import functions

_TEST_FILE = re.compile(r"(?:^|/)(?:test_[^/]*|[^/]*_test|conftest)\.py$|(?:^|/)tests?/")
_LEFT = re.compile(
    r"#\s*(?:(?:TODO|FIXME|XXX|HACK)\b(?! (?:list|app|item|file|task))"
    r"|(?i:your code here|implement(?: this| me)?\b|\.\.\.))"
)
_CONFLICT = re.compile(r"^(?:<{7}|>{7}) ")
_DEBUG = re.compile(
    r"\bbreakpoint\(\)|\bpdb\.set_trace\(|\bimport i?pdb\b|\bprint\(\s*f?[\"'](?i:debug\b|xxx|here[\"'])"
)
_SKIPPED = re.compile(r"@pytest\.mark\.(?:skip|xfail)\b|@unittest\.skip\b|\bassert True\b")
_LEAVING = re.compile(r"\bpytest\.(?:skip|xfail)\(")
"""In a new test it says under which conditions; put into one that was there, it makes that one weaker."""
_SECRETS = (
    ("a private key", re.compile(r"-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----")),
    (
        "an access key",
        re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\bgh[pousr]_[A-Za-z0-9]{30,}\b|\bsk-[A-Za-z0-9_-]{24,}"),
    ),
    (
        "a password or token in the code",
        re.compile(r"\b(?:password|passwd|secret|api_?key|token)\w*\s*=\s*[\"'](?=[^\"'\s]{8,}[\"'])(?=\S*\d)", re.I),
    ),
)
_PLACEHOLDER = re.compile(r"example|change.?me|dummy|placeholder|xxxx|<[^>]+>|\$\{|test", re.IGNORECASE)
_RISKY = re.compile(
    r"(?<![\w.])(?:eval|exec)\(|\bos\.system\(|shell\s*=\s*True|\bpickle\.loads?\(|\bverify\s*=\s*False"
)
_Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a rule sees."""

    rule: str
    """Its short name: `forbidden_file`, `weakened_test`, `unfinished`, ..."""
    text: str
    """What is wrong and where, so that whoever made it can mend it."""
    is_sure: bool = True
    """It sends the change back. Otherwise it is a doubt, to be noted, or to be shown to a model that can judge."""

    def __str__(self) -> str:
        return self.text


def find_faults(
    diffs: Sequence[FileDiff],
    sources: Mapping[str, str],
    *,
    may_touch: Sequence[str] = (),
    examples: Sequence[Example] = (),
    goal: str = "",
) -> list[Finding]:
    """Apply every rule to a change.

    `sources` holds the changed files as they are now, `may_touch` the paths that the task may write (empty: any), and
    `examples` the calls with known results. `goal` is looked at for what it asks for in so many words.
    """
    found = [*_forbidden(diffs, may_touch), *_weakened(diffs)]
    for diff in diffs:
        found += _in_lines(diff, goal)
        if diff.path.endswith(".py") and diff.path in sources and not diff.is_gone:
            found += _in_source(diff, sources[diff.path], examples)
    return list({finding.text: finding for finding in found}.values())


def is_test_file(path: str) -> bool:
    """Tell whether a path is that of tests, by the conventions of pytest."""
    return bool(_TEST_FILE.search(path))


def is_allowed(path: str, may_touch: Sequence[str]) -> bool:
    """Tell whether a task may write a path: one of its own, one in a folder of its own, or the tests of one."""
    if not may_touch:
        return True
    name = path.rpartition("/")[2]
    tests_of = {f"test_{allowed.rpartition('/')[2]}" for allowed in may_touch}
    return any(path == own or (own.endswith("/") and path.startswith(own)) for own in may_touch) or name in tests_of


def _forbidden(diffs: Iterable[FileDiff], may_touch: Sequence[str]) -> Iterator[Finding]:
    for diff in diffs:
        for path in filter(None, (diff.path, diff.before)):
            if not is_allowed(path, may_touch):
                yield Finding("forbidden_file", f"{path} was changed; the task may only write {', '.join(may_touch)}.")
        if diff.is_binary:
            yield Finding("binary", f"{diff.path} is binary and was not read.", is_sure=False)


def _weakened(diffs: Sequence[FileDiff]) -> Iterator[Finding]:
    """Tests that went or were made to pass always. What moved within a file, or to another one, is still there."""
    everywhere = {line.strip() for diff in diffs for line in diff.added.values()}
    for diff in (diff for diff in diffs if is_test_file(diff.path)):
        if diff.is_gone:
            yield Finding("weakened_test", f"The tests in {diff.path} were deleted.")
            continue
        gone = [line.strip() for line in diff.removed if line.strip() not in everywhere]
        lost, come = _counted(gone), _counted(diff.added.values())
        if lost["def"] > come["def"] or lost["assert"] > come["assert"]:
            first = next(line for line in gone if re.match(r"(?:async )?def test|assert\b|with pytest\.raises", line))
            yield Finding("weakened_test", f"{diff.path} checks less than before: `{first}` went.")
        for number, line in diff.added.items():
            if _SKIPPED.search(line) or (not diff.is_new and _LEAVING.search(line)):
                yield Finding("weakened_test", f"{diff.path}:{number} checks nothing: `{line.strip()}`.")


def _counted(lines: Iterable[str]) -> dict[str, int]:
    words = [line.strip() for line in lines]
    return {
        "def": sum(1 for line in words if re.match(r"(?:async )?def test", line)),
        "assert": sum(1 for line in words if re.match(r"assert\b|self\.assert|with pytest\.raises", line)),
    }


def _in_lines(diff: FileDiff, goal: str) -> Iterator[Finding]:
    for number, line in diff.added.items():
        place, said = f"{diff.path}:{number}", line.strip()[:120]
        if _CONFLICT.match(line):
            yield Finding("conflict", f"{place} holds a conflict marker.")
        for what, form in _SECRETS:
            is_sample = is_test_file(diff.path) and what.startswith("a password")
            if form.search(line) and not _PLACEHOLDER.search(line) and not is_sample:
                yield Finding("secret", f"{place} holds {what}. Read it from the environment instead.")
        if not diff.path.endswith(".py"):
            continue
        if _LEFT.search(line):
            yield Finding("unfinished", f"{place} is left to do: `{said}`.")
        if _DEBUG.search(line):
            yield Finding("debug", f"{place} was left from debugging: `{said}`.")
        if _RISKY.search(line) and not is_test_file(diff.path) and not re.search(r"\beval|exec|shell\b", goal):
            yield Finding("risky", f"{place} runs or trusts what it is given: `{said}`.", is_sure=False)


def _in_source(diff: FileDiff, source: str, examples: Sequence[Example]) -> Iterator[Finding]:
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError) as error:
        yield Finding("syntax", f"{diff.path} is no Python: {error}.")
        return
    for name, node, owner in functions(tree):
        if not _touches(diff, node):
            continue
        if _is_empty(node) and not _may_be_empty(node, owner, tree):
            yield Finding("unfinished", f"{diff.path}:{node.lineno}: {name} has no body yet.")
        answered = [example for example in examples if _is_hard_coded(node, example)]
        if len(answered) >= 2 and 2 * len(answered) > sum(1 for e in examples if _called(e)[0] == node.name):
            shown = "; ".join(f"{example.call} gives {example.expected}" for example in answered[:2])
            yield Finding("hard_coded", f"{diff.path}:{node.lineno}: {name} only knows the examples: {shown}.")


def _touches(diff: FileDiff, node: _Function) -> bool:
    return any(node.lineno <= number <= (node.end_lineno or node.lineno) for number in diff.added)


def _is_empty(node: _Function) -> bool:
    """Tell whether a function does nothing yet: a docstring, `pass`, `...`, or NotImplementedError."""
    for statement in node.body:
        is_text = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
        is_refusal = isinstance(statement, ast.Raise) and "NotImplementedError" in ast.unparse(statement)
        if not (is_text or is_refusal or isinstance(statement, ast.Pass)):
            return False
    return True


def _may_be_empty(node: _Function, owner: ast.ClassDef | None, tree: ast.Module) -> bool:
    """Abstract methods and overloads are; so are methods that silence an inherited one, or that others inherit."""
    if any("abstract" in ast.unparse(d) or "overload" in ast.unparse(d) for d in node.decorator_list):
        return True
    if owner is None:
        return False
    inherited = {ast.unparse(base) for other in tree.body if isinstance(other, ast.ClassDef) for base in other.bases}
    return bool(owner.bases) or owner.name in inherited or node.name in ("__init__", "__exit__", "close")


def _called(example: Example) -> tuple[str, list[ast.expr]]:
    call = ast.parse(example.call, mode="eval").body
    if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name)):
        return "", []
    return call.func.id, list(call.args)


def _is_hard_coded(node: _Function, example: Example) -> bool:
    """Tell whether a function compares with the argument of an example, or looks it up, to give its very result.

    Results that a correct function returns as constants too (0, 1, True, nothing) do not count.
    """
    name, arguments = _called(example)
    if name != node.name or not arguments or not _tells(ast.literal_eval(example.expected)):
        return False
    asked = {ast.dump(argument) for argument in arguments} | {ast.dump(ast.Tuple(arguments, ast.Load()))}
    wanted = ast.dump(ast.parse(example.expected, mode="eval").body)
    for part in ast.walk(node):
        if isinstance(part, ast.If | ast.IfExp | ast.match_case):
            test = part.pattern if isinstance(part, ast.match_case) else part.test
            body = part.body if isinstance(part.body, list) else [part.body]
            given = [value for statement in body for value in ast.walk(statement)]
            if _holds(test, asked) and any(ast.dump(value) == wanted for value in given):
                return True
        elif isinstance(part, ast.Dict):
            pairs = zip(part.keys, part.values, strict=True)
            if any(key is not None and ast.dump(key) in asked and ast.dump(value) == wanted for key, value in pairs):
                return True
    return False


def _tells(value: object) -> bool:
    if isinstance(value, str | bytes | list | tuple | dict | set):
        return len(value) > 1
    return isinstance(value, int | float) and not isinstance(value, bool) and (abs(value) >= 10 or value % 1 != 0)


def _holds(node: ast.AST, dumps: set[str]) -> bool:
    return any(ast.dump(child) in dumps for child in ast.walk(node))
