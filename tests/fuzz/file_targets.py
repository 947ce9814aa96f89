"""Targets that need a workspace: paths, operations on files, and calls of tools, among hostile links."""

from __future__ import annotations

import asyncio
import functools
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
from tests.fuzz.inputs import json_of, text_of, texts_of, value_of

from treadle.domain.messages import ToolDefinition
from treadle.domain.paths import clean_path
from treadle.errors import NotFound, Refused
from treadle.ports.sandbox import Limits
from treadle.ports.tool import ToolContext, ToolResult
from treadle.sandboxes._files import WorkspaceFiles
from treadle.sandboxes.unconfined import UnconfinedSandbox
from treadle.tools import BUILT_IN, call_tool
from treadle.tools.arguments import problems_of, signature, without_nulls

SECRET = "kept by the host"
NAMES = [
    "a",
    "b",
    "out",
    "in",
    "file",
    "secret",
    "x.py",
    "new",
    "..",
    ".",
    ".git",
    ".GIT ",
    "/workspace",
    "é",
    "\udce9",
]
WORDS = ["path", "content", "changes", "patch", "old", "new", "all", "depth", "start", "lines", "one\n", "file", "a/b"]
TOOLS = [tool for tool in BUILT_IN if tool.name not in ("bash", "run_tests", "search")]
"""Those that start no process."""
RUNNER = asyncio.Runner()
"""One event loop for all inputs: making one takes longer than a call."""
_MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


@contextmanager
def hostile_workspace() -> Iterator[tuple[Path, Path]]:
    """A workspace with links out of it, and a folder of the host, which must be as it was in the end."""
    root = tempfile.mkdtemp(prefix="treadle-fuzz-", dir=_MEMORY)
    try:
        workspace, host = Path(root, "workspace"), Path(root, "host")
        (workspace / "a" / "b").mkdir(parents=True)
        (workspace / ".git").mkdir()
        (workspace / ".git" / "config").write_text("[core]\n")
        host.mkdir()
        (host / "secret").write_text(SECRET)
        (workspace / "file").write_text("one\ntwo\n")
        (workspace / "out").symlink_to(host)
        (workspace / "a" / "out").symlink_to(host / "secret")
        (workspace / "a" / "new").symlink_to(host / "new")
        (workspace / "in").symlink_to("a")
        yield workspace, host
        assert os.listdir(host) == ["secret"] and (host / "secret").read_text() == SECRET
        assert sorted(os.listdir(root)) == ["host", "workspace"]
        assert os.listdir(workspace / ".git") == ["config"] and (workspace / ".git/config").read_text() == "[core]\n"
    finally:
        shutil.rmtree(root)


def paths(data: Any) -> None:
    """Operations on files, while someone swaps folders for links out of the workspace and back."""
    with hostile_workspace() as (workspace, host):
        files = WorkspaceFiles(workspace)
        for _ in range(data.ConsumeIntInRange(1, 6)):
            if data.ConsumeIntInRange(0, 3) == 0:
                _swap(data, workspace, host)
            operation = data.PickValueInList(["read", "write", "write", "remove", "list", "stamps"])
            path = _path(data)
            do = getattr(files, operation)
            if operation != "stamps":
                do = functools.partial(do, path, *([b"x"] if operation == "write" else []))
            with suppress(Refused, NotFound):
                assert SECRET not in str(RUNNER.run(do()))


def _path(data: Any) -> str:
    if data.ConsumeBool():
        return str(data.ConsumeUnicode(20))
    return "/".join(data.PickValueInList(NAMES) for _ in range(data.ConsumeIntInRange(1, 4)))


def _swap(data: Any, workspace: Path, host: Path) -> None:
    """What code in the workspace can do to it meanwhile: move, link, remove."""
    place = workspace.joinpath(*(data.PickValueInList(["a", "b", "file", "new"]) for _ in range(2)))
    target = data.PickValueInList([host, host / "secret", "..", "../../host", "/", "."])
    with suppress(OSError):
        if place.is_symlink() or place.is_file():
            place.unlink()
        elif place.is_dir():
            place.rename(place.with_name("moved"))
        place.symlink_to(target)


def clean_paths(data: Any) -> None:
    """What is clean stays so, and stays inside."""
    try:
        clean = clean_path(text_of(data))
    except Refused:
        return
    assert clean == clean_path(clean)
    assert not set(clean.split("/")) & {"", ".", "..", ".git"} and not os.path.isabs(clean)
    assert os.path.normpath(os.path.join("/w", clean)).startswith("/w/")


def calls(data: Any) -> None:
    """Any call of a tool of ours is answered, reaches nothing outside, and changes nothing if it is an error."""
    tool = data.PickValueInList(TOOLS)
    args = _arguments(data, tool.definition)
    with hostile_workspace() as (workspace, _):
        before = _snapshot(workspace)
        context = ToolContext(UnconfinedSandbox(workspace, limits=Limits(), controllers=None))
        result = RUNNER.run(call_tool(tool, args, context))
        assert isinstance(result, ToolResult) and len(result.text) <= context.shown
        assert SECRET not in result.text
        msgspec.json.encode(result)
        after = _snapshot(workspace)
        changed = {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}
        assert changed <= set(result.changed), (changed, result.changed)
        assert not result.is_error or not changed


def _arguments(data: Any, definition: ToolDefinition) -> Any:
    """JSON as it stands in the input; or values for the tool's own arguments."""
    if data.ConsumeBool():
        return json_of(text_of(data))
    names = list(definition.parameters["properties"])
    chosen = [name for name in names if data.ConsumeIntInRange(0, 3)]
    found = {name: _path(data) if name == "path" else value_of(data, WORDS) for name in chosen}
    for name, text in zip([name for name in ("patch", "content") if name in found], texts_of(data, 2), strict=False):
        found[name] = text
    return found


def _snapshot(workspace: Path) -> dict[str, bytes | str]:
    """What lies in the workspace, by path."""
    found: dict[str, bytes | str] = {}
    for folder, folders, files in os.walk(workspace):
        for name in [*folders, *files]:
            path = Path(folder, name)
            shown = str(path.relative_to(workspace)).encode(errors="replace").decode()
            if path.is_symlink():
                found[shown] = os.readlink(path)
            elif path.is_file():
                found[shown] = path.read_bytes()
    return found


def arguments(data: Any) -> None:
    """What a schema of any kind says of any value is words, and what it lets pass is what it says."""
    schema_text, args_text = texts_of(data, 2)
    schema, args = json_of(schema_text), json_of(args_text)
    if not isinstance(schema, dict):
        schema = data.PickValueInList([tool.definition.parameters for tool in BUILT_IN])
    definition = ToolDefinition("a_tool", "It does.", schema)
    problems = problems_of(without_nulls(args, schema), definition)
    assert isinstance(problems, str) and isinstance(signature(definition), str)
