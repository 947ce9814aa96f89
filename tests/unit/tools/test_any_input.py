"""Whatever a model sends: no tool crashes, and nothing outside the workspace is read or changed."""

from __future__ import annotations

import asyncio
import functools
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from treadle.domain.paths import clean_path
from treadle.errors import NotFound, Refused
from treadle.ports.sandbox import Limits
from treadle.ports.tool import ToolContext, ToolResult
from treadle.sandboxes._files import WorkspaceFiles
from treadle.sandboxes.unconfined import UnconfinedSandbox
from treadle.tools import BUILT_IN, call_tool
from treadle.tools.output import head_and_tail, printable
from treadle.tools.pages import text_of_html
from treadle.tools.web import findings

RUNNER = asyncio.Runner()
"""One event loop for all examples: making one takes longer than a call."""

SECRET = "kept by the host"
NO_COMMAND = [tool for tool in BUILT_IN if tool.name not in ("bash", "run_tests", "search")]
"""Those that start nothing: an example takes well under a millisecond."""

PARTS = st.sampled_from(
    [
        "a",
        "b",
        "out",
        "file",
        "..",
        ".",
        "",
        ".git",
        "secret",
        "../host",
        "out/secret",
        "/",
        "~",
        "a\\..",
        "\0",
        "/workspace",
    ]
)
ODD = st.text(st.characters() | st.sampled_from(" ~\ud800\udc80"), max_size=12)
PATHS = st.lists(PARTS, max_size=6).map("/".join) | ODD
TEXTS = st.text(alphabet="ab \n\r\t+-@/\\,1é\0", max_size=40)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS | PATHS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
CHANGES = st.lists(st.fixed_dictionaries({"old": TEXTS, "new": TEXTS}, optional={"all": st.booleans()}), max_size=3)
PATCHES = st.builds("--- a/{0}\n+++ b/{1}\n@@ -1 +1 @@\n{2}\n".format, PATHS, PATHS, TEXTS) | TEXTS
NAMES = {"path": PATHS, "content": TEXTS, "changes": CHANGES, "patch": PATCHES, "depth": st.integers(-1, 30)}
ARGUMENTS = st.fixed_dictionaries({}, optional=NAMES) | st.dictionaries(st.sampled_from([*NAMES, "start", "x"]), JSON)


@contextmanager
def folders() -> Iterator[tuple[Path, Path]]:
    """A workspace with traps in it, and a folder of the host, which must be as it was in the end."""
    with tempfile.TemporaryDirectory() as root:
        workspace, host = Path(root, "workspace"), Path(root, "host")
        (workspace / "a" / "b").mkdir(parents=True)
        host.mkdir()
        (host / "secret").write_text(SECRET)
        (workspace / "file").write_text("one\ntwo\n")
        (workspace / "out").symlink_to(host)
        (workspace / "a" / "out").symlink_to(host / "secret")
        yield workspace, host
        assert os.listdir(host) == ["secret"] and (host / "secret").read_text() == SECRET
        assert sorted(os.listdir(root)) == ["host", "workspace"] and not (workspace / ".git").exists()


@given(st.sampled_from(NO_COMMAND), ARGUMENTS | JSON)
@settings(max_examples=40, deadline=None)
def test_any_call_is_answered_and_reaches_nothing_outside(tool: Any, args: Any) -> None:
    with folders() as (workspace, _):
        context = ToolContext(sandbox_over(workspace))
        result = RUNNER.run(call_tool(tool, args, context))
        assert isinstance(result, ToolResult) and len(result.text) <= context.shown
        assert SECRET not in result.text
        assert not result.is_error or not result.changed


@given(PATHS, st.sampled_from(["read", "write", "remove", "list"]))
@settings(max_examples=40, deadline=None)
def test_any_path_is_refused_or_stays_inside(path: str, operation: str) -> None:
    with folders() as (workspace, _):
        files = WorkspaceFiles(workspace)
        do = functools.partial(files.write, data=b"x") if operation == "write" else getattr(files, operation)
        try:
            found = RUNNER.run(do(path))
        except (Refused, NotFound):
            return
        assert SECRET not in str(found)


@given(PATHS)
def test_clean_path_is_clean_and_stays_so(path: str) -> None:
    try:
        clean = clean_path(path)
    except Refused:
        return
    assert clean == clean_path(clean)
    assert not set(clean.split("/")) & {"", ".", "..", ".git"} and not os.path.isabs(clean)


@given(st.text(alphabet="a\x1b[]0;m\x07\\\r\n\x9b\ud800", max_size=60), st.integers(0, 80))
def test_shown_text_is_bounded_and_has_nothing_for_terminals(text: str, limit: int) -> None:
    clean = printable(text)
    assert not {char for char in clean if (ord(char) < 32 and char not in "\n\t") or 127 <= ord(char) < 160}
    clean.encode()
    assert len(head_and_tail(clean, limit)) <= limit


@given(JSON, st.text(alphabet="<>/abscriptlih1 &;#!-\"'=", max_size=80))
def test_any_answer_of_the_web_is_read(answer: Any, html: str) -> None:
    assert isinstance(findings(answer), list) and isinstance(text_of_html(html), str)


def sandbox_over(workspace: Path) -> UnconfinedSandbox:
    return UnconfinedSandbox(workspace, limits=Limits(), controllers=None)
