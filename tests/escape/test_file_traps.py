"""Commands inside the sandbox set traps for the file tools outside it; the host is looked at afterwards.

The file tools must hold on every backend, also on `none`, where the command itself could do anything.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from treadle.errors import SandboxUnavailable
from treadle.ports.sandbox import Limits
from treadle.ports.tool import ToolContext, ToolResult
from treadle.sandboxes.choose import open_sandbox
from treadle.tools import BUILT_IN, ToolRegistry, call_tool

SECRET = "top secret of the host\n"
LIMITS = Limits(wall_seconds=20.0)


@dataclass
class Stage:
    """A workspace with a sandbox over it, beside a folder of the host that nobody may touch."""

    context: ToolContext
    host: Path
    registry: ToolRegistry

    async def inside(self, command: str) -> None:
        """Run a command of the attacker's. `$HOST` is the folder that it is after."""
        await self.context.sandbox.exec(["sh", "-c", command], limits=LIMITS, env={"HOST": str(self.host)})

    async def use(self, tool: str, /, **args: Any) -> ToolResult:
        return await call_tool(self.registry.get(tool), args, self.context)

    def state(self) -> dict[str, tuple[object, ...]]:
        """All that can be told of the host's folder but times of access."""
        found = {}
        for path in [self.host, *sorted(self.host.rglob("*"))]:
            status = path.lstat()
            content = path.read_bytes() if stat.S_ISREG(status.st_mode) else b""
            found[str(path)] = (status.st_mode, status.st_uid, status.st_mtime_ns, status.st_nlink, content)
        return found


@pytest.fixture(params=["bubblewrap", "landlock", "docker", "none"])
async def stage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stage]:
    workspace, host = tmp_path / "workspace", tmp_path / "host"
    workspace.mkdir()
    (host / "sub").mkdir(parents=True)
    (host / "secret").write_text(SECRET)
    (host / "sub" / "secret").write_text(SECRET)
    try:
        sandbox = await open_sandbox(workspace, backend=request.param, limits=LIMITS)
    except SandboxUnavailable as error:
        pytest.skip(f"{request.param} does not work here: {error}")
    registry = ToolRegistry()
    registry.add(*BUILT_IN)
    made = Stage(ToolContext(sandbox, LIMITS), host, registry)
    before = made.state()
    yield made
    await sandbox.close()
    assert made.state() == before


async def every_tool(stage: Stage, path: str, *, searching: bool) -> list[ToolResult]:
    """Use every tool that takes a path on this one."""
    patch = f"--- a/{path}\n+++ b/{path}\n@@ -1 +1 @@\n-{SECRET}+planted\n"
    made = f"--- /dev/null\n+++ b/{path}\n@@ -0,0 +1 @@\n+planted\n"
    found = [await stage.use("search", pattern="secret", path=path)] if searching else []
    return [
        *found,
        await stage.use("read_file", path=path),
        await stage.use("ls_dir", path=path, depth=3),
        await stage.use("edit_file", path=path, changes=[{"old": SECRET, "new": "planted\n"}]),
        await stage.use("apply_patch", patch=patch),
        await stage.use("apply_patch", patch=made),
        await stage.use("write_file", path=path, content="planted\n"),
        await stage.use("rm_file", path=path),
    ]


TRAPS = {
    "link_to_a_file": ("ln -s $HOST/secret trap", "trap"),
    "link_to_a_folder": ("ln -s $HOST trap", "trap/secret"),
    "link_to_a_folder_for_a_new_file": ("ln -s $HOST trap", "trap/planted"),
    "link_to_a_folder_deep_down": ("mkdir -p a/b && ln -s $HOST a/b/trap", "a/b/trap/sub/secret"),
    "link_to_a_link": ("ln -s $HOST one && ln -s one trap", "trap/secret"),
    "relative_link": ("ln -s ../host trap", "trap/secret"),
    "link_to_the_root": ("ln -s / trap", "trap/etc/passwd"),
    "link_to_proc": ("ln -s /proc/self trap", "trap/environ"),
    "link_to_the_folder_of_proc": ("ln -s /proc/self/cwd trap", "trap/../host/secret"),
    "dangling_link": ("ln -s $HOST/planted trap", "trap"),
    "link_to_itself": ("ln -s trap trap", "trap/x"),
    "dots": ("mkdir a", "a/../../host/secret"),
    "dots_alone": ("true", "../host/secret"),
    "dots_with_backslashes": ("true", "..\\host\\secret"),
    "absolute": ("true", "/etc/passwd"),
    "home": ("true", "~/.bashrc"),
    "nul": ("true", "a\0b"),
    "newline": ("true", "a\n../host/secret"),
    "git_config": ("true", ".git/config"),
    "git_hooks": ("true", ".git/hooks/pre-commit"),
    "git_in_capitals": ("true", ".GIT/config"),
    "git_with_a_dot": ("true", ".git./config"),
    "git_by_its_short_name": ("true", "GIT~1/config"),
    "git_with_a_character_that_is_ignored": ("true", ".g\u200dit/config"),
    "git_of_a_nested_repository": ("mkdir -p sub", "sub/.git/config"),
    "stream_of_a_file": ("true", "file:stream"),
    "pipe": ("mkfifo trap", "trap"),
    "folder": ("mkdir trap", "trap"),
    "file_as_a_folder": ("echo x > trap", "trap/x"),
    "long_name": ("true", "x" * 5000),
    "deep_path": ("true", "a/" * 500 + "x"),
}


@pytest.mark.timeout(120)
async def test_no_trap_leads_any_tool_out(stage: Stage) -> None:
    workspace, before = stage.context.sandbox.workspace, stage.state()
    for name, (command, path) in TRAPS.items():
        if command != "true":
            await stage.inside(command)
        for result in await every_tool(stage, path, searching="ln " in command):
            assert SECRET.strip() not in result.text and "root:" not in result.text, name
            assert set(result.changed) <= {"trap", "a"}, name
        assert stage.state() == before, name
        assert not (workspace / ".git" / "config").exists(), name
        clear(workspace)


def clear(folder: Path) -> None:
    for entry in folder.iterdir():
        shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()


async def test_tools_do_not_follow_what_a_running_command_swaps(stage: Stage) -> None:
    """The command swaps a folder and a link for as long as the tools are at work."""
    os.mkfifo(stage.context.sandbox.workspace / "begun")
    swap = (
        "mkdir -p real && echo mine > real/secret && ln -s $HOST out && echo > begun\n"
        "while true; do mv real trap 2>/dev/null; mv trap real 2>/dev/null; mv out trap 2>/dev/null;"
        " mv -T trap out 2>/dev/null; done"
    )
    running = asyncio.ensure_future(stage.inside(swap))
    await asyncio.to_thread((stage.context.sandbox.workspace / "begun").read_bytes)
    met = set()
    try:
        for number in range(3000):
            read = await stage.use("read_file", path="trap/secret")
            assert SECRET.strip() not in read.text
            assert SECRET.strip() not in (await stage.use("ls_dir", path="trap")).text
            met.add("link" if "symbolic link" in read.text else read.text)
            if number % 10 == 0:
                await stage.use("edit_file", path="trap/secret", changes=[{"old": SECRET, "new": "planted\n"}])
                await stage.use("rm_file", path="trap/sub/secret")
            if number > 100 and {"link", "mine\n"} <= met:
                break
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert {"link", "mine\n"} <= met, "the race never happened"


async def test_hard_link_gives_no_way_to_change_the_hosts_file(stage: Stage) -> None:
    """Made from outside, for the walls let no command make one."""
    trap = stage.context.sandbox.workspace / "trap"
    os.link(stage.host / "secret", trap)
    try:
        await stage.use("edit_file", path="trap", changes=[{"old": SECRET, "new": "planted\n"}])
        assert trap.read_text() == "planted\n"
        assert (stage.host / "secret").read_text() == SECRET
    finally:
        status = (stage.host / "secret").stat()
        assert status.st_nlink == 1


async def test_report_of_tests_is_no_way_out(stage: Stage) -> None:
    await stage.inside("ln -s $HOST/secret .treadle-results.xml; echo 'def test_a(): pass' > test_a.py")
    result = await stage.use("run_tests")
    assert SECRET.strip() not in result.text


async def test_modules_that_a_command_planted_do_not_run_outside(stage: Stage) -> None:
    planted = f"open({str(stage.host / 'planted')!r}, 'w').close()"
    names = ("sitecustomize.py", "conftest.py", "json.py", "re.py", "evil.pth", ".envrc", ".bashrc")
    for name in names:
        await stage.use("write_file", path=name, content=f"{'import os; ' if name.endswith('pth') else ''}{planted}\n")
    if stage.context.sandbox.name == "none":
        return  # what runs there runs as the user: that is what it says
    for tool, args in (("search", {"pattern": "open"}), ("run_tests", {}), ("bash", {"command": "python -c 1"})):
        await stage.use(tool, **args)
