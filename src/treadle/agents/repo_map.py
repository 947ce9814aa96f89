"""A map of a repository: which files and symbols a goal is about, found by names and by who imports whom.

Python is parsed; of other languages the lines that define something are read. Nothing here asks a model.
"""

from __future__ import annotations

import ast
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from treadle.agents.relevance import is_test

_PATH, _NAME, _TEXT, _BODY = 4.0, 3.0, 1.5, 0.5
"""What a word counts for in the path, in a name that is defined, in a string or comment, and anywhere else."""
_EXACT, _NAMED_FILE, _COMMAND, _OPTION_BONUS = 8.0, 100.0, 6.0, 20.0
_ERRORS = 0.4
"""A file of errors is named by many goals, and changed by few."""
_TO_IMPORTED, _FROM_IMPORTED, _FROM_TESTS = 0.15, 0.1, 0.3
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")
_SAYS_OPTION = re.compile(r"(?<![\w-])--[a-z][\w-]*|\b(?:sub-?commands?|flags?|command[- ]line options?)\b", re.I)
_SAYS_COMMAND = re.compile(r"\b(?:commands?|command[- ]line|cli|options?)\b|\bpython3? -m \w", re.I)
_PARSES_OPTIONS = re.compile(r"\b(?:add_argument|add_parser|ArgumentParser|OptionParser|click\.|typer\.|sys\.argv)")
_ERROR = re.compile(r"\(\w*(?:Error|Exception|Warning)\)")
_DEFINED = re.compile(
    r"^[ \t]*(?:(?:export|default|pub(?:\(\w+\))?|public|private|static|async|const)\s+)*"
    r"(?:function|func|fn|def|class|struct|interface|type|enum|trait|module|sub|let|var|const)\s+(?:\([^)]*\)\s*)?(\w+)",
    re.MULTILINE,
)
_IMPORTS = re.compile(
    r"^\s*(?:import|from|use|require|include|#include|source|const .*require|export .* from)\b.*$", re.M
)
_FILLER = """
a an and as at be by can do for from given have if in into is it its let make may must of on or should so such that the
then there this to when which with without would add new also existing function method class module file code python
repository project support implement change please return take get use
"""
_Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


@dataclass(frozen=True, slots=True)
class Symbol:
    """A function, class or method; methods as `Class.method`."""

    name: str
    signature: str
    words: Mapping[str, float]
    is_interface: bool
    """Whether it reads the command line."""
    is_class: bool = False


@dataclass(frozen=True, slots=True)
class Ranked:
    """A file that a goal may be about, and the symbols in it, the likeliest first."""

    path: str
    score: float
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _File:
    path: str
    symbols: tuple[Symbol, ...]
    words: Mapping[str, float]
    is_interface: bool


class RepoMap:
    """What is known of the files of a repository."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        self.files = {path: _read(path, text) for path, text in texts.items()}
        self.imports = {path: _imported(path, text, self.files) for path, text in texts.items()}
        self._mean_length = sum(sum(file.words.values()) for file in self.files.values()) / max(1, len(self.files))

    def rank(self, goal: str) -> list[Ranked]:
        """Rank the files that are no tests; files without any sign are left out. Deterministic."""
        rarity = self._rarity()
        own = {path: self._score(file, goal, rarity) for path, file in self.files.items()}
        total = {path: score + self._from_others(path, own) for path, score in own.items() if not is_test(path)}
        found = [
            Ranked(path, round(score, 3), self._names(self.files[path], goal, rarity))
            for path, score in total.items()
            if score > 0 and self.files[path].words
        ]
        return sorted(found, key=lambda ranked: (-ranked.score, ranked.path))

    def tests_of(self, path: str, goal: str) -> list[str]:
        """List the test files that look at a file, the nearest to the goal first."""
        rarity = self._rarity()
        stem = path.rpartition("/")[2].partition(".")[0]
        looking = [
            test
            for test in self.files
            if is_test(test)
            and not test.endswith("conftest.py")
            and (path in self.imports[test] or stem in test.rpartition("/")[2].partition(".")[0].split("_"))
        ]

        def order(test: str) -> tuple[float, str]:
            is_namesake = test.rpartition("/")[2].partition(".")[0] in (f"test_{stem}", f"{stem}_test")
            return -self._score(self.files[test], goal, rarity) - 20 * is_namesake, test

        return sorted(looking, key=order)

    def render(self, ranked: Iterable[Ranked], *, max_chars: int) -> str:
        """Show signatures, file by file, until the budget is used up."""
        lines: list[str] = []
        size = 0
        for entry in ranked:
            shown = [f"{entry.path}:", *(f"  {symbol.signature}" for symbol in self.files[entry.path].symbols)]
            for line in shown:
                if size + len(line) > max_chars:
                    return "\n".join(lines)
                lines.append(line)
                size += len(line) + 1
        return "\n".join(lines)

    def _rarity(self) -> dict[str, float]:
        counted: Counter[str] = Counter()
        for file in self.files.values():
            counted.update(file.words.keys())
        return {word: math.log(1 + len(self.files) / count) for word, count in counted.items()}

    def _score(self, file: _File, goal: str, rarity: Mapping[str, float]) -> float:
        length = sum(file.words.values()) / max(1.0, self._mean_length)
        score = _matched(file.words, goal, rarity, length)
        score += max((_matched(symbol.words, goal, rarity) for symbol in file.symbols), default=0.0) / 2
        score += _EXACT * min(2, sum(1 for symbol in file.symbols if _is_said(symbol.name, goal)))
        score += 2 * _EXACT * any(_gets_field(symbol.name, goal) for symbol in file.symbols if symbol.is_class)
        score *= _ERRORS if _holds_errors_only(file) else 1.0
        score += _EXACT * any(re.search(rf"\b{symbol.name}\.\w", goal) for symbol in file.symbols if symbol.is_class)
        score += _NAMED_FILE * bool(re.search(rf"(?<![\w/]){re.escape(file.path)}(?!\w)", goal))
        score += _NAMED_FILE / 2 * bool(re.search(rf"(?<![\w/]){re.escape(file.path.rpartition('/')[2])}(?!\w)", goal))
        return score + file.is_interface * _interface_bonus(goal)

    def _from_others(self, path: str, own: Mapping[str, float]) -> float:
        """What a file gets from its neighbours in the import graph: a little of each, most from tests."""
        users = [user for user, used in self.imports.items() if path in used]
        tests = max((own[user] for user in users if is_test(user)), default=0.0)
        code = max((own[user] for user in users if not is_test(user)), default=0.0)
        used = max((own[other] for other in self.imports[path]), default=0.0)
        return _FROM_TESTS * tests + _TO_IMPORTED * code + _FROM_IMPORTED * used if own[path] > 0 else 0.0

    def _names(self, file: _File, goal: str, rarity: Mapping[str, float]) -> tuple[str, ...]:
        for_options = _interface_bonus(goal) / 3
        scored = [
            (
                _matched(symbol.words, goal, rarity)
                + _EXACT * _is_said(symbol.name, goal)
                + for_options * symbol.is_interface,
                symbol.name,
            )
            for symbol in file.symbols
        ]
        best = max((score for score, _ in scored), default=0.0)
        kept = [(score, name) for score, name in scored if score > 0 and 5 * score >= best]
        return tuple(name for _, name in sorted(kept, key=lambda pair: -pair[0]))


def words_of(text: str) -> list[str]:
    """Split a text into the stems of its words; names are taken apart."""
    return [_stem(word.lower()) for word in _WORD.findall(text)]


def module_of(path: str) -> str:
    """Name the module of a Python file as tests import it."""
    plain = path.removeprefix("src/").removesuffix(".py").removesuffix("/__init__")
    return plain.replace("/", ".")


@lru_cache(maxsize=4096)
def _stem(word: str) -> str:
    for end in ("ing", "ies", "ed", "es", "s"):
        if word.endswith(end) and len(word) - len(end) >= 3:
            return word.removesuffix(end) + ("y" if end == "ies" else "")
    return word.removesuffix("e") if len(word) > 4 else word


_FILLER_STEMS = frozenset(_stem(word) for word in _FILLER.split())


def _interface_bonus(goal: str) -> float:
    """What it counts that a file reads the command line."""
    return _OPTION_BONUS if _SAYS_OPTION.search(goal) else _COMMAND if _SAYS_COMMAND.search(goal) else 0.0


def _gets_field(name: str, goal: str) -> bool:
    """Tell whether a goal speaks of a field, method or the like of a class."""
    return bool(
        re.search(rf"\b(?:field|attribute|property|column|method)s?\b[^.]{{0,40}}\b(?:of|in|to|on) {name}\b", goal)
    )


def _holds_errors_only(file: _File) -> bool:
    at_top = [symbol for symbol in file.symbols if "." not in symbol.name]
    return bool(at_top) and all(symbol.is_class and _ERROR.search(symbol.signature) for symbol in at_top)


def _is_said(name: str, goal: str) -> bool:
    """Tell whether a goal names a symbol in so many letters. Plain English words do not count, nor do errors:
    what raises one is changed, not the error.
    """
    last = name.rpartition(".")[2]
    if re.search(r"(?:Error|Exception|Warning)$", last):
        return False
    is_plain = last.isalpha() and last.islower()
    found = re.search(rf"(?<!\w){re.escape(last)}(?!\w)", goal)
    return bool(found) and (not is_plain or bool(re.search(rf"`{last}`|\b{last}\(|\.{last}\b", goal)))


def _matched(words: Mapping[str, float], goal: str, rarity: Mapping[str, float], length: float = 1.0) -> float:
    """Sum up the words of the goal that are there: rare ones count more, repeats less, in a long file least."""
    wanted = set(words_of(goal)) - _FILLER_STEMS
    half = 3.0 * (0.4 + 0.6 * length)
    return 3.0 * sum(rarity.get(w, 0.0) * weight / (weight + half) for w in wanted if (weight := words.get(w, 0)))


def _read(path: str, text: str) -> _File:
    symbols = tuple(_python_symbols(text) if path.endswith(".py") else _other_symbols(text))
    words: Counter[str] = Counter()
    _count(words, path, _PATH)
    for symbol in symbols:
        _count(words, symbol.name.rpartition(".")[2], _NAME)
    _count(words, " ".join(re.findall(r"#.*|//.*|\"[^\"\n]*\"|'[^'\n]*'", text)), _TEXT)
    _count(words, text, _BODY)
    return _File(path, symbols, words, bool(_PARSES_OPTIONS.search(text)))


def _count(words: Counter[str], text: str, weight: float) -> None:
    for word in words_of(text):
        words[word] += weight  # type: ignore[assignment]  # a Counter of floats


def _python_symbols(text: str) -> Iterable[Symbol]:
    lines = text.splitlines()
    for node in parsed(text).body:
        if isinstance(node, _Definition):
            yield _symbol(node, lines)
        if isinstance(node, ast.ClassDef):
            for child in node.body:
                if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                    yield _symbol(child, lines, node.name + ".")


def _symbol(node: _Definition, lines: list[str], owner: str = "") -> Symbol:
    source = "\n".join(lines[node.lineno - 1 : node.end_lineno])
    words: Counter[str] = Counter()
    _count(words, node.name, 2 * _NAME)
    _count(words, " ".join(re.findall(r"#.*|\"[^\"\n]*\"|'[^'\n]*'", source)), _TEXT)
    _count(words, source, _BODY)
    is_class = isinstance(node, ast.ClassDef)
    return Symbol(owner + node.name, owner + signature(node), words, bool(_PARSES_OPTIONS.search(source)), is_class)


def signature(node: _Definition) -> str:
    """Write a definition as one line, with the first line of its docstring."""
    said = (ast.get_docstring(node) or "").strip().partition("\n")[0]
    note = f"  # {said}" if said else ""
    if isinstance(node, ast.ClassDef):
        bases = f"({', '.join(map(ast.unparse, node.bases))})" if node.bases else ""
        return f"class {node.name}{bases}{note}"
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return f"def {node.name}({ast.unparse(node.args)}){returns}{note}"


def _other_symbols(text: str) -> Iterable[Symbol]:
    for match in _DEFINED.finditer(text):
        words: Counter[str] = Counter()
        _count(words, match[1], 2 * _NAME)
        yield Symbol(match[1], match[0].strip(), words, False)


def _imported(path: str, text: str, files: Mapping[str, _File]) -> frozenset[str]:
    """Find the files of the repository that a file imports."""
    if not path.endswith(".py"):
        said = set(re.findall(r"\w+", " ".join(_IMPORTS.findall(text))))
        return frozenset(
            other for other in files if other != path and other.rpartition("/")[2].partition(".")[0] in said
        )
    by_module = {module_of(other): other for other in files if other.endswith(".py")}
    found = set()
    for node in ast.walk(parsed(text)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node, path)
            names = [base, *(f"{base}.{alias.name}".strip(".") for alias in node.names)]
        for name in names:
            found |= {by_module[module] for module in (name, name.rpartition(".")[2]) if module in by_module}
    return frozenset(found - {path})


def _absolute(node: ast.ImportFrom, path: str) -> str:
    """Name the module that a relative import means."""
    if not node.level:
        return node.module or ""
    package = module_of(path).split(".")
    is_package = path.endswith("__init__.py")
    base = package[: len(package) - node.level + is_package]
    return ".".join([*base, *([node.module] if node.module else [])])


def parsed(text: str) -> ast.Module:
    """Parse Python; what is none is an empty module."""
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ast.Module(body=[], type_ignores=[])
