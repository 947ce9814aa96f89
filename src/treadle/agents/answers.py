"""Reading what models answer: code out of prose. Lenient, because small models are."""

from __future__ import annotations

import ast
import re

_FENCE = re.compile(
    r"^[ \t]*(?:```|~~~)[ \t]*([\w+.-]*)[^\n]*\n(.*?)(?:^[ \t]*(?:```|~~~)[ \t]*$|\Z)", re.MULTILINE | re.DOTALL
)
_SHELL = {"sh", "bash", "shell", "console", "text", "txt", "output", "json"}


def code_block(text: str) -> str:
    """Return the code of an answer: the longest fenced block that is not shell, or the whole text if nothing is fenced.

    A fence left open by an answer that was cut off ends with the text. The code may still be wrong Python.
    """
    blocks = [(language.lower(), body) for language, body in _FENCE.findall(text)]
    python = [body for language, body in blocks if language not in _SHELL]
    if python:
        return _dedent(max(python, key=len))
    return _dedent(_without_prose(text))


def complete_prefix(source: str) -> str:
    """Return the longest run of whole lines from the start that is valid Python: what a cut-off answer finished."""
    lines = source.splitlines()
    for end in range(len(lines), 0, -1):
        if end < len(lines) and lines[end][:1] in (" ", "\t", ")", "]", "}"):
            continue  # in the middle of a statement
        part = "\n".join(lines[:end])
        if is_python(part):
            return part + "\n"
    return ""


def is_python(source: str) -> bool:
    """Tell whether this parses as a Python module."""
    try:
        ast.parse(source)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return False
    return True


def _without_prose(text: str) -> str:
    """Drop the lines before the first that looks like code, and what no longer parses behind it."""
    lines = text.strip().splitlines()
    code = re.compile(r"(?:from\s+\S+\s+import\b|import\s+\w|def\s+\w|async\s+def|class\s+\w|@\w|assert\b|#|\"\"\")")
    start = next((number for number, line in enumerate(lines) if code.match(line.lstrip())), None)
    if start is None:
        return ""
    rest = "\n".join(lines[start:])
    return rest if is_python(rest) else complete_prefix(rest) or rest


def _dedent(source: str) -> str:
    """Remove the indentation that all lines share, and blank lines at both ends."""
    lines = source.replace("\r\n", "\n").expandtabs(4).strip("\n").splitlines()
    margin = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
    return "\n".join(line[margin:].rstrip() for line in lines) + "\n" if lines else ""
