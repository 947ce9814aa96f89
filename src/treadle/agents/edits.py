"""Reading an answer that changes files: edit blocks, whole definitions, or whole files. Which of them, it shows itself.

An answer may touch only what it was shown, and files that it may add. Whatever else it names is refused.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace

from treadle.agents.answers import code_block, complete_prefix, is_python
from treadle.agents.repo_map import module_of, parsed
from treadle.agents.source import missing_imports, unbound
from treadle.agents.splice import splice
from treadle.errors import Refused
from treadle.tools.edits import Change, make_changes
from treadle.tools.text import FileText

UNCHANGED = "The answer changes nothing."
_BLOCK = re.compile(
    r"(?:^(?P<path>[^\s`<>]+)[ \t]*\n)?(?:^```[^\n]*\n)?(?:^(?P<inner>[^\s`<>]+)[ \t]*\n)?"
    r"^<{5,}[ ]*SEARCH[^\n]*\n(?P<old>.*?)^={5,}[ \t]*\n(?P<new>.*?)^>{5,}[ ]*REPLACE",
    re.MULTILINE | re.DOTALL,
)
_FENCED = re.compile(
    r"(?P<before>[^\n]*)\n+[ \t]*```[ \t]*(?P<language>[\w+.-]*)[^\n]*\n(?P<body>.*?)(?:^[ \t]*```[ \t]*$|\Z)",
    re.MULTILINE | re.DOTALL,
)
_PATH = re.compile(r"(?<![\w/])((?:[\w.-]+/)*[\w-]+\.\w{1,5})(?!\w)")
_Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


@dataclass(frozen=True, slots=True)
class Room:
    """What a change may touch."""

    texts: Mapping[str, str]
    """The files that the model was shown, in full."""
    primary: str
    """Where new definitions go that name no file."""
    may_add: Collection[str] = ()
    """Paths of new files; a folder ends with `/`."""
    modules: Collection[str] = ()
    """Modules of the repository; what others are imported is not looked at."""

    def allows(self, path: str) -> bool:
        return path in self.texts or any(
            path == new or (new.endswith("/") and path.startswith(new)) for new in self.may_add
        )


@dataclass(frozen=True, slots=True)
class Edit:
    """The new texts of the files that change, or why the answer cannot be used."""

    files: Mapping[str, str] = field(default_factory=dict)
    flaw: str = ""


def read_edit(answer: str, room: Room) -> Edit:
    """Turn an answer into new texts. Line ends and a missing newline at the end of a file stay as they were."""
    edit = _from_blocks(answer, room) if _BLOCK.search(answer) else _from_code(answer, room)
    if edit.flaw:
        return edit
    files = {path: _in_form_of(room.texts.get(path), text) for path, text in edit.files.items()}
    files = {path: text for path, text in files.items() if text != room.texts.get(path)}
    return _checked(replace(edit, files=files), room)


def _from_blocks(answer: str, room: Room) -> Edit:
    """Apply search-and-replace blocks one after the other."""
    files: dict[str, str] = {}
    path = room.primary
    for match in _BLOCK.finditer(answer):
        named = match["path"] or match["inner"] or ""
        path = _clean(named) if _PATH.fullmatch(_clean(named)) or "/" in named else path
        if not room.allows(path):
            return Edit(flaw=f"The answer changes {path}, which is not part of this task.")
        before = files.get(path, room.texts.get(path, "")).replace("\r\n", "\n")
        after = _replaced(before, match["old"], match["new"])
        if after is None:
            first = (match["old"].strip().splitlines() or ["(nothing)"])[0]
            return Edit(flaw=f"The text to search for is not in {path}, or more than once: {first}")
        files[path] = after
    return Edit(files)


def _clean(named: str) -> str:
    return named.strip("`*:#\"' ").removeprefix("./")


def _replaced(text: str, old: str, new: str) -> str | None:
    """Replace the one place where `old` stands, as `edit_file` does; None: there is none, or more than one."""
    if not old.strip():
        return new if not text.strip() else None
    try:
        file, _ = make_changes(FileText(text), [Change(old, new)])
    except Refused:
        return text if old == new else None
    return file.text


def _from_code(answer: str, room: Room) -> Edit:
    """Put definitions to where they are defined already, and new ones where the answer says, or into the first file."""
    files: dict[str, str] = {}
    blocks = list(_blocks(answer, room))
    if not any(body.strip() for _, body in blocks):
        return Edit(flaw="The answer holds no code.")
    for path, body in blocks:
        if not room.allows(path):
            return Edit(flaw=f"The answer changes {path}, which is not part of this task.")
        if not path.endswith(".py"):
            files[path] = body
            continue
        source = body if is_python(body) else complete_prefix(body)
        if not source.strip():
            return Edit(flaw=_wrong_syntax(body))
        if path not in room.texts:
            files[path] = source
            continue
        for place, part in _placed(source, path, room).items():
            before = files.get(place, room.texts[place])
            try:
                files[place] = splice(before.replace("\r\n", "\n"), part)
            except SyntaxError as error:
                return Edit(flaw=f"SyntaxError: {error.msg}")
    return Edit(files)


def _blocks(answer: str, room: Room) -> Iterator[tuple[str, str]]:
    """The code blocks of an answer, each with the file that it is for."""
    found = [
        m
        for m in _FENCED.finditer("\n" + answer)
        if m["language"].lower() not in ("sh", "bash", "shell", "console", "text")
    ]
    if len(found) <= 1:
        body = code_block(answer) if room.primary.endswith(".py") or not found else found[0]["body"]
        before = found[0]["before"] if found else ""
        yield _file_of(before, body, room) or room.primary, body
        return
    for match in found:
        body = match["body"]
        yield _file_of(match["before"], body, room) or room.primary, body


def _file_of(before: str, body: str, room: Room) -> str:
    """Find the path that stands above a code block, or in its first line as a comment."""
    first = body.lstrip().partition("\n")[0]
    for text in (first if first.startswith(("#", "//", '"""')) else "", before):
        for path in _PATH.findall(text):
            known = [p for p in (*room.texts, *room.may_add) if p == path or p.endswith("/" + path)]
            if known or ("/" in path and text is not before):
                return known[0] if known else path
    return ""


def _placed(source: str, path: str, room: Room) -> dict[str, str]:
    """Divide the definitions of a block among the files that define them already."""
    homes = {p: _defined(text) for p, text in room.texts.items() if p.endswith(".py")}
    tree, lines = ast.parse(source), source.splitlines()
    parts: dict[str, list[str]] = {}
    for node in tree.body:
        name = node.name if isinstance(node, _Definition) else ""
        elsewhere = [home for home, names in homes.items() if name in names]
        place = path if not name or name in homes.get(path, ()) or len(elsewhere) != 1 else elsewhere[0]
        start = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])
        parts.setdefault(place, []).append("\n".join(lines[start - 1 : node.end_lineno]))
    imports = [ast.unparse(node) for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    kept = {place: "\n\n".join(texts) for place, texts in parts.items()}
    return {
        place: "\n".join([line for line in imports if place != path and _is_used(line, text)])
        + "\n"
        + _sound(text, place, path, room)
        for place, text in kept.items()
    }


def _sound(text: str, place: str, path: str, room: Room) -> str:
    """Leave out imports that nothing in an answer needs, and those of a file from itself."""
    lines = []
    for line in text.splitlines():
        own = re.match(r"(?:from|import)\s+([\w.]+)", line)
        if own and own[1] in (module_of(place), module_of(place).rpartition(".")[2]) and place.endswith(".py"):
            continue
        if own and not _is_used(line, text.replace(line, "")):
            continue
        lines.append(line)
    return "\n".join(lines) + "\n"


def _is_used(line: str, text: str) -> bool:
    names = [alias.asname or alias.name.split(".")[0] for n in parsed(line).body for alias in getattr(n, "names", [])]
    return any(re.search(rf"\b{re.escape(name)}\b", text) for name in names) or "__future__" in line


def _defined(text: str) -> set[str]:
    return {node.name for node in parsed(text).body if isinstance(node, _Definition)}


def _checked(edit: Edit, room: Room) -> Edit:
    """Look at the new texts without running them; imports of the standard library that they lack are added."""
    files = dict(edit.files)
    for path, text in edit.files.items():
        if not path.endswith(".py"):
            continue
        if not is_python(text):
            return replace(edit, flaw=_wrong_syntax(text))
        needed = missing_imports(text)
        if needed:
            files[path] = _in_form_of(room.texts.get(path), splice(text.replace("\r\n", "\n"), needed))
        flaw, before = unbound(files[path]), room.texts.get(path, "")
        if flaw and not (is_python(before) and unbound(before)):
            return replace(edit, files=files, flaw=flaw.message)
        if ast.dump(parsed(files[path])) == ast.dump(parsed(room.texts.get(path, ""))):
            del files[path]
    return Edit(files, "" if files else UNCHANGED)


def _wrong_syntax(body: str) -> str:
    try:
        ast.parse(body)
    except SyntaxError as error:
        return f"SyntaxError: {error.msg} in line {error.lineno}"
    except ValueError as error:
        return f"The answer is no Python: {error}"
    return "The answer is no Python."


def _in_form_of(before: str | None, text: str) -> str:
    if before is None:
        return text
    text = text.replace("\r\n", "\n")
    if before and not before.endswith("\n"):
        text = text.rstrip("\n")
    return text.replace("\n", "\r\n") if "\r\n" in before else text
