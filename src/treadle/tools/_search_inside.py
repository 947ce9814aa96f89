"""Searches the files of a folder. Runs inside the sandbox, by itself: a pattern of a model may take for ever.

Reads what to search for from stdin, as JSON, and writes lines of JSON. Imports nothing but the standard library.
"""

from __future__ import annotations

import fnmatch
import json
import os
import re
import sys
from collections.abc import Iterator
from typing import Any

LARGEST = 8 * 1024 * 1024
"""Bytes of a file. Larger ones are named and not searched."""
SKIPPED = {".git", ".hg", ".svn", "node_modules", ".venv", "venv", "__pycache__", ".mypy_cache", ".ruff_cache"}
SKIPPED |= {".pytest_cache", ".hypothesis", ".tox", ".nox"}
_LONGEST = 300

Rule = tuple[re.Pattern[str], bool, bool]
"""A pattern of an ignore file; whether it takes back an earlier one; whether it is for folders only."""


def search(asked: dict[str, Any], write: Any) -> None:
    """Search as asked: `pattern`, `path`, `glob`, `ignore_case`, `context`, `limit`. Writes one object per finding."""
    pattern = re.compile(asked["pattern"], re.IGNORECASE if asked["ignore_case"] else 0)
    left = int(asked["limit"])
    check(asked["path"])
    for path in walk(asked["path"]):
        if asked["glob"] and not fits(path, asked["glob"]):
            continue
        try:
            with open(path, "rb") as file:
                size = os.fstat(file.fileno()).st_size
                data = file.read(size) if size <= LARGEST else b""
        except OSError:
            continue
        if size > LARGEST:
            write({"too_large": path})
        if b"\0" in data[:8192]:
            continue
        for finding in find(pattern, data.decode("utf-8", "replace"), int(asked["context"])):
            if left == 0:
                write({"more": True})
                return
            left -= 1
            write({"path": path, **finding})


def check(path: str) -> None:
    """End with a word about it if a path is not there, or goes through a symbolic link."""
    parts = path.split("/")
    for number in range(1, len(parts) + 1):
        part = "/".join(parts[:number])
        if os.path.islink(part):
            sys.exit(f"{part!r} is a symbolic link")
        if not os.path.exists(part):
            sys.exit(f"there is no {part!r}")


def find(pattern: re.Pattern[str], text: str, context: int) -> Iterator[dict[str, Any]]:
    """The lines that a pattern is found in, with lines around them."""
    text = text.replace("\r\n", "\n")
    if not may_have(pattern, text):
        return
    lines = text.removesuffix("\n").split("\n")
    for number, line in enumerate(lines, start=1):
        if pattern.search(line):
            first = max(number - context, 1)
            around = lines[first - 1 : number + context]
            yield {"line": number, "first": first, "lines": [one[:_LONGEST] for one in around]}


def may_have(pattern: re.Pattern[str], text: str) -> bool:
    """Whether a line of a text may have a pattern: to look at all of them together is quicker."""
    if re.search(r"\\[AZ]|\(\?<?!|\(\?\(", pattern.pattern):  # these see what stands beyond a line
        return True
    return re.compile(pattern.pattern, pattern.flags | re.MULTILINE).search(text) is not None


def walk(top: str) -> Iterator[str]:
    """The files of a folder in order, without those that an ignore file names, and without symbolic links."""
    if os.path.isfile(top):
        yield os.path.normpath(top)
        return
    rules: list[tuple[str, list[Rule]]] = []
    for folder, folders, files in os.walk(top):
        folder = os.path.normpath(folder)
        own = [(where, found) for where, found in rules if where == "." or f"{folder}/".startswith(f"{where}/")]
        if ".gitignore" in files:
            own.append((folder, read_rules(os.path.join(folder, ".gitignore"))))
            rules.append(own[-1])
        folders[:] = sorted(
            name
            for name in folders
            if name not in SKIPPED
            and not os.path.islink(os.path.join(folder, name))
            and not is_ignored(place(folder, name), True, own)
        )
        for name in sorted(files):
            path = place(folder, name)
            if os.path.isfile(path) and not os.path.islink(path) and not is_ignored(path, False, own):
                yield path


def place(folder: str, name: str) -> str:
    """The path of something in a folder, without `./` before it."""
    return name if folder == "." else f"{folder}/{name}"


def fits(path: str, glob: str) -> bool:
    """Whether a path has the form of a glob, or has not where it begins with `!`: of its name alone, without a folder.

    `{a,b}` stands for either.
    """
    if glob.startswith("!"):
        return not fits(path, glob[1:])
    return any(_fits(path, one) for one in either(glob))


def _fits(path: str, glob: str) -> bool:
    if "/" not in glob:
        return fnmatch.fnmatch(os.path.basename(path), glob)
    return re.fullmatch(translated(glob.lstrip("/")), path) is not None


def either(glob: str) -> list[str]:
    """The globs that one with braces stands for; a model's thousandth is left out."""
    waiting, found = [glob], list[str]()
    while waiting and len(waiting) + len(found) < 1000:
        one = waiting.pop()
        braces = re.search(r"\{([^{}]*,[^{}]*)\}", one)
        if braces is None:
            found.append(one)
        else:
            waiting += [one[: braces.start()] + part + one[braces.end() :] for part in braces[1].split(",")]
    return found


def read_rules(file: str) -> list[Rule]:
    """The rules of a .gitignore."""
    try:
        with open(file, encoding="utf-8", errors="replace") as opened:
            lines = opened.read(200_000).splitlines()
    except OSError:
        return []
    rules = []
    for line in lines:
        line = line.rstrip()
        if not line or line.startswith("#"):
            continue
        takes_back = line.startswith("!")
        line = line.removeprefix("!").removeprefix("\\")
        folders_only = line.endswith("/")
        line = line.rstrip("/")
        anchored = "/" in line
        form = translated(line.lstrip("/"))
        rules.append((re.compile(form if anchored else f"(?:.*/)?{form}"), takes_back, folders_only))
    return rules


def is_ignored(path: str, is_folder: bool, rules: list[tuple[str, list[Rule]]]) -> bool:
    """Whether the last rule that speaks of a path leaves it out."""
    ignored = False
    for where, found in rules:
        relative = path if where == "." else path[len(where) + 1 :]
        for form, takes_back, folders_only in found:
            if (is_folder or not folders_only) and form.fullmatch(relative):
                ignored = not takes_back
    return ignored


def translated(glob: str) -> str:
    """A glob with `**` as a regular expression."""
    form, at = "", 0
    while at < len(glob):
        if glob.startswith("**/", at):
            form, at = form + "(?:.*/)?", at + 3
        elif glob.startswith("**", at):
            form, at = form + ".*", at + 2
        elif glob[at] == "*":
            form, at = form + "[^/]*", at + 1
        elif glob[at] == "?":
            form, at = form + "[^/]", at + 1
        elif glob[at] == "[" and "]" in glob[at + 2 :]:
            end = glob.index("]", at + 2)
            inner = glob[at + 1 : end].replace("\\", "\\\\").replace("[", "\\[")
            one = "[" + ("^" + inner[1:] if inner[0] in "!^" else inner) + "]"
            form, at = form + (one if is_form(one) else re.escape(glob[at : end + 1])), end + 1
        else:
            form, at = form + re.escape(glob[at]), at + 1
    return form


def is_form(text: str) -> bool:
    """Whether it is a regular expression: `[z-a]` is none."""
    try:
        re.compile(text)
    except re.error:
        return False
    return True


if __name__ == "__main__":
    search(json.load(sys.stdin), lambda value: print(json.dumps(value)))
