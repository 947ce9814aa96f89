"""Targets that are texts: edits, patches, calls of tools in what models write, their answers, reports of test runs."""

from __future__ import annotations

import asyncio
import difflib
import re
from contextlib import suppress
from typing import Any

from tests.fuzz.inputs import json_of, text_of, texts_of

from treadle.agents.answers import code_block, complete_prefix, is_python
from treadle.agents.diffs import read_diff
from treadle.agents.edits import Room, read_edit
from treadle.domain.messages import ModelReply, ModelRequest
from treadle.errors import BrokenAnswer, Refused
from treadle.models.wrappers.almost_json import json_value, problem_with
from treadle.models.wrappers.lenient import Lenient
from treadle.tools import BUILT_IN, _search_inside
from treadle.tools.edits import Change, make_changes
from treadle.tools.output import head_and_tail, printable
from treadle.tools.pages import text_of_html
from treadle.tools.patches import apply, read_patch
from treadle.tools.reports import (
    essence,
    read_any,
    read_cargo,
    read_go,
    read_jest,
    read_junit,
    read_started,
    read_tap,
    read_unittest,
)
from treadle.tools.text import FileText, decode
from treadle.tools.web import findings

TOOLS = {tool.name: tool.definition for tool in BUILT_IN}
RUNNER = asyncio.Runner()
TAGS = ("<tool_call>", "<function_call>", "<tool>", "<function=", "[TOOL_CALLS]", "<|python_tag|>")
CODECS = ["utf-8", "utf-8-sig", "utf-16", "latin-1"]


def edits(data: Any) -> None:
    """An edit changes lines of the places that it tells of, and no byte of others; or it is refused."""
    all, windows, codec = data.ConsumeBool(), data.ConsumeBool(), data.PickValueInList(CODECS)
    mangled, first, count = data.ConsumeIntInRange(0, 6), data.ConsumeIntInRange(0, 20), data.ConsumeIntInRange(1, 5)
    text, old, new = texts_of(data, 3)
    raw = text.replace("\n", "\r\n") if windows else text
    try:
        file = decode(raw.encode(codec, "replace"), "f")
    except Refused:
        return
    assert decode(file.encode(), "f") == file
    if mangled:
        old = _mangled("".join(file.text.splitlines(keepends=True)[first : first + count]), mangled)
    try:
        after, (made,) = make_changes(file, [Change(old, new, all)])
        data_after = after.encode()
    except Refused:
        return
    assert all or len(made.lines) == 1
    assert (after.encoding, after.mark) == (file.encoding, file.mark) and data_after.startswith(file.mark)
    assert str(made)
    first, last = made.lines[0][0], made.lines[-1][1]
    lines = file.raw.split("\n")
    assert after.raw.startswith("".join(f"{line}\n" for line in lines[: first - 1]))
    if made.how != "exact":  # whole lines
        assert after.raw.endswith("\n".join(lines[last:]))
    elif not all and not made.without and "\r" not in old + new and not file.mark:
        start = file.text.index(old)
        assert after.text == file.text[:start] + new + file.text[start + len(old) :]
    if file.raw.count("\n") == file.raw.count("\r\n") > 0 and "\r" not in new + old:
        assert after.raw.count("\n") == after.raw.count("\r\n")
    elif "\r" not in file.raw + new:
        assert "\r" not in after.raw


def _mangled(text: str, how: int) -> str:
    """A piece of a file as models quote it."""
    ways = {
        2: lambda line: line.rstrip(),
        3: lambda line: line.strip(),
        4: lambda line: line.replace("\t", "    "),
        5: lambda line: line.replace('"', "\N{RIGHT DOUBLE QUOTATION MARK}").replace("-", "\N{EN DASH}"),
        6: lambda line: "  " + line[:-1],
    }
    return "\n".join(map(ways.get(how, str), text.split("\n")))


def patches(data: Any) -> None:
    """Any text is applied or refused; a diff of two texts makes one of the other."""
    context, shift = data.ConsumeIntInRange(0, 3), data.ConsumeIntInRange(-2, 2)
    is_diff = data.ConsumeBool()
    text, other = texts_of(data, 2)
    if not is_diff:
        with suppress(Refused):
            for one in read_patch(other):
                apply(FileText(text), one)
        return
    old, new = text.replace("\r", ""), other.replace("\r", "")
    diff = ""
    for line in difflib.unified_diff(_lines(old), _lines(new), "a/f", "b/f", n=context):
        diff += line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"
    if not diff:
        return
    (one,) = read_patch(diff)
    assert apply(FileText(old), one).raw == new
    for hunk in one.hunks:
        hunk.start = None if hunk.start is None else max(0, hunk.start + shift)
    with suppress(Refused):
        apply(FileText(old), one)


def _lines(text: str) -> list[str]:
    lines = text.split("\n")
    return [f"{line}\n" for line in lines[:-1]] + ([lines[-1]] if lines[-1] else [])


class _Says:
    """A model with one answer."""

    def __init__(self, reply: ModelReply, broken: list[tuple[str, str, str]]) -> None:
        self._reply, self._broken = reply, broken

    async def reply(self, request: ModelRequest, *, on_delta: Any = None) -> ModelReply:
        if self._broken:
            raise BrokenAnswer("a call cannot be read", reply=self._reply, broken=self._broken)
        return self._reply


def calls_in_text(data: Any) -> None:
    """Calls that are read from text, or mended, are of known tools, and fit, unless they are in tags."""
    choice = data.PickValueInList(["auto", "required", "none", "bash"])
    has_schema, is_broken, has_tools = data.ConsumeBool(), data.ConsumeBool(), data.ConsumeBool()
    text, name, given = texts_of(data, 3)
    schema = TOOLS["read_file"].parameters if has_schema else None
    request = ModelRequest("m", (), tools=tuple(TOOLS.values()), tool_choice=choice, json_schema=schema)
    inner: Any = _Says(ModelReply(text, "m"), [("1", name, given)] if is_broken else [])
    try:
        reply = RUNNER.run(Lenient(inner, tries=1, has_tools=has_tools).reply(request))
    except BrokenAnswer:
        return
    for call in reply.tool_calls if is_broken or not any(tag in text for tag in TAGS) else ():
        assert problem_with(call.arguments, TOOLS[call.name].parameters) == ""
    if reply.tool_calls and not is_broken:
        assert text.startswith(reply.text)
    if schema and not reply.tool_calls:
        assert problem_with(json_value(reply.text), schema) == ""


ROOM = Room(
    {
        "a.py": "import re\n\n\ndef f(x):\n    return x\n\n\nclass C:\n    y: int = 1\n\n    def g(self):\n        return f(2)\n",  # noqa: E501
        "b/c.py": "VALUE = 1\r\n\r\n\r\ndef h():\r\n\treturn VALUE\r\n",
        "d.txt": "one\ntwo",
    },
    "a.py",
    may_add=("new.py", "more/"),
    modules=("a", "b.c"),
)


def answers(data: Any) -> None:
    """An answer changes only what it may, into Python that parses, or has a flaw that says why not."""
    answer = text_of(data)
    code = code_block(answer)
    prefix = complete_prefix(code)
    assert not prefix or is_python(prefix)
    read_diff(answer)
    edit = read_edit(answer, ROOM)
    assert isinstance(edit.flaw, str) and (edit.flaw or edit.files)
    if edit.flaw:
        return
    for path, text in edit.files.items():
        assert ROOM.allows(path)
        assert not path.endswith(".py") or is_python(text)
        assert text != ROOM.texts.get(path)


def reports(data: Any) -> None:
    """Whatever stands in a report, cases come of it whose names stand in it too."""
    text = text_of(data)
    for read in (read_cargo, read_go, read_unittest):
        for case in read(text):
            assert case.name and case.state in ("passed", "failed", "error", "skipped")
    for case in (*read_tap(text), *read_jest(text), *read_any(text)):
        assert case.state in ("passed", "failed", "error", "skipped") and len(case.told) <= 12 * 210
    with suppress(ValueError):
        read_junit(text)
    list(read_started(text))
    assert len(essence(text)) <= 12 * 210


def shown(data: Any) -> None:
    """What models are shown is bounded and has nothing for terminals, also of pages and answers of the web."""
    limit = data.ConsumeIntInRange(0, 300)
    text = text_of(data)
    clean = printable(text)
    assert not {char for char in clean if (ord(char) < 32 and char not in "\n\t") or 127 <= ord(char) < 160}
    clean.encode()
    assert len(head_and_tail(clean, limit)) <= limit
    assert isinstance(text_of_html(text), str)
    assert isinstance(findings(json_of(text)), list)


def globs(data: Any) -> None:
    """Any glob, and any line of a .gitignore, becomes a regular expression that fits or does not."""
    glob, path = texts_of(data, 2)
    _search_inside.fits(path, glob)
    with suppress(re.error, OverflowError, RecursionError):
        form = re.compile(glob[:20])
        if not re.search(r"[*+?}].*[*+?}]", glob):  # those that take for ever are stopped from outside
            found = [one["line"] for one in _search_inside.find(form, path.replace("\r", ""), 0)]
            lines = path.replace("\r", "").removesuffix("\n").split("\n")
            assert found == [number for number, line in enumerate(lines, start=1) if form.search(line)]
    re.compile(_search_inside.translated(glob))
