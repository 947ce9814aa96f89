"""What is wrong with a document about code: names, commands, options and files that are not there. Rules only."""

from __future__ import annotations

import ast
import builtins
import json
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

_FENCE = re.compile(r"^[ \t]*(?:```|~~~)[ \t]*([\w+.-]*)[^\n]*\n(.*?)(?:^[ \t]*(?:```|~~~)[ \t]*$|\Z)", re.M | re.S)
_SHELL = frozenset(["sh", "bash", "shell", "console", "zsh"])
_SPAN = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)[^)]*\)|!\[[^\]]*\]\(([^)\s]+)[^)]*\)")
_HEADING = re.compile(r"^#{1,6}\s+(.+?)\s*#*\s*$", re.MULTILINE)
_CALL = re.compile(r"^([A-Za-z_][\w.]*)\(.*\)$", re.DOTALL)
_FILE = re.compile(r"^[\w./-]+\.(?:py|md|toml|json|yaml|yml|txt|html|css|js|sh|cfg|ini|c|h|db|csv)$")
_LEFT = re.compile(r"\bTODO:|\bTBD\b|\blorem ipsum\b|\[(?:your|insert|describe)[^\]]*\](?!\()", re.IGNORECASE)
_MADE_WHEN_RUN = (".db", ".csv", ".json", ".txt")


@dataclass(frozen=True, slots=True)
class Facts:
    """What is true of some files: what a document about them may name."""

    files: frozenset[str]
    names: frozenset[str]
    """Functions, classes, methods, parameters and attributes, by their own names."""
    modules: frozenset[str]
    words: frozenset[str]
    """Texts that the code holds, such as the names of commands and options."""

    @classmethod
    def of(cls, files: Mapping[str, str]) -> Facts:
        names: set[str] = set()
        words: set[str] = set()
        for path, text in files.items():
            if path.endswith(".py"):
                found = _python(text)
                names |= found[0]
                words |= found[1]
            else:
                words |= set(re.findall(r"[\w-]+", text))
        modules = {path.removesuffix(".py").replace("/", ".") for path in files if path.endswith(".py")}
        modules |= {module.removesuffix(".__init__") for module in modules}
        return cls(frozenset(files), frozenset(names), frozenset(modules), frozenset(words))


def find_problems(text: str, facts: Facts, *, own: str = "") -> list[str]:
    """List what a Markdown document says that is not so. `own` is its path, for links relative to it."""
    found = list(_of_form(text))
    prose = _FENCE.sub("", text)
    for language, body in _FENCE.findall(text):
        found += _of_block(language.lower(), body, facts)
    for span in _SPAN.findall(prose):
        found += _of_span(span.strip(), facts)
    found += _of_links(text, facts, own)
    return list(dict.fromkeys(found))


def _of_form(text: str) -> Iterator[str]:
    if not text.lstrip().startswith("# "):
        yield "the document does not begin with a heading of the first level"
    if len(re.findall(r"^\s*(?:```|~~~)", text, re.MULTILINE)) % 2:
        yield "a code block is not closed"
    if match := _LEFT.search(_FENCE.sub("", text)):
        yield f"{match[0]!r} is left in the document"


def _of_block(language: str, body: str, facts: Facts) -> Iterator[str]:
    if language in ("python", "py"):
        yield from _of_python(body, facts)
    elif language in _SHELL:
        for line in body.splitlines():
            yield from _of_command(line.strip().removeprefix("$ ").strip(), facts)
    elif language == "json":
        try:
            json.loads(body)
        except ValueError as error:
            yield f"a json block does not parse: {error}"


def _of_python(body: str, facts: Facts) -> Iterator[str]:
    source = "\n".join(line[4:] for line in body.splitlines() if line.startswith((">>> ", "... "))) or body
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError) as error:
        yield f"a python block does not parse: {error}"
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            if node.module in facts.modules:
                missing = [a.name for a in node.names if a.name not in facts.names and a.name != "*"]
                yield from (f"a python block imports {name}, which {node.module} does not have" for name in missing)
            elif not _is_known_module(node.module, facts):
                yield f"a python block imports from {node.module}, which is not there"
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if not _is_known_module(alias.name, facts):
                    yield f"a python block imports {alias.name}, which is not there"


def _is_known_module(name: str, facts: Facts) -> bool:
    top = name.split(".")[0]
    return name in facts.modules or top in sys.stdlib_module_names or top in ("pytest",)


def _of_command(line: str, facts: Facts) -> Iterator[str]:
    """A command that runs a file of the project: the file, its sub-command and its options must be there."""
    words = line.split()
    if not words or words[0].startswith("#"):
        return
    at = 1 if re.fullmatch(r"python3?(?:\.\d+)?", words[0]) else 0
    if at >= len(words) or (at and words[at].startswith("-")):
        return
    program = words[at].removeprefix("./")
    if not program.endswith((".py", ".sh")):
        return
    if program not in facts.files:
        yield f"`{line}` runs {program}, which is not there"
        return
    for number, word in enumerate(words[at + 1 :]):
        option = word.split("=")[0]
        if option.startswith("--") and option != "--help" and option not in facts.words:
            yield f"`{line}` gives {option}, which {program} does not take"
        elif number == 0 and re.fullmatch(r"[a-z][a-z-]+", word) and word not in facts.words:
            yield f"`{line}` gives {word!r}, which {program} does not know"


def _of_span(span: str, facts: Facts) -> Iterator[str]:
    if _FILE.match(span):
        if span.removeprefix("./") not in facts.files and not span.endswith(_MADE_WHEN_RUN) and span not in facts.words:
            yield f"`{span}` is named, and there is no such file"
    elif match := _CALL.match(span):
        name = match[1].rpartition(".")[2]
        if name not in facts.names and not hasattr(builtins, name) and not _is_of_library(match[1]):
            yield f"`{span}` is named, and there is no {name}"
    elif re.match(r"(?:python3?\s|\./)", span):
        yield from _of_command(span, facts)
    elif re.fullmatch(r"--[\w-]+", span) and span not in facts.words and span != "--help":
        yield f"`{span}` is named, and nothing takes it"


def _is_of_library(dotted: str) -> bool:
    return dotted.split(".")[0] in sys.stdlib_module_names and "." in dotted


def _of_links(text: str, facts: Facts, own: str) -> Iterator[str]:
    anchors = {_anchor(title) for title in _HEADING.findall(_FENCE.sub("", text))}
    folder = own.rpartition("/")[0]
    for groups in _LINK.findall(text):
        path, _, anchor = next(filter(None, groups)).partition("#")
        if re.match(r"[a-z]+:", path):
            continue
        if not path and anchor not in anchors:
            yield f"a link goes to #{anchor}, and there is no such heading"
        elif path and _resolved(folder, path) not in facts.files:
            yield f"a link goes to {path}, and there is no such file"


def _resolved(folder: str, path: str) -> str:
    parts = [part for part in folder.split("/") if part]
    for part in path.split("/"):
        if part == "..":
            parts = parts[:-1]
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)


def _anchor(title: str) -> str:
    plain = re.sub(r"[`*_]|\[([^\]]*)\]\([^)]*\)", r"\1", title)
    return re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")


def _python(text: str) -> tuple[set[str], set[str]]:
    """The names that a source defines, and the texts that it holds."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError):
        return set(), set(re.findall(r"[\w-]+", text))
    names: set[str] = set()
    words: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.arg):
            names.add(node.arg)
        elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
            names.add(node.id if isinstance(node, ast.Name) else node.attr)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            words |= {node.value, *re.findall(r"--[\w-]+|[\w.-]+", node.value)} if len(node.value) < 4000 else set()
    return names, words
