"""The code-runner server, by the SDK's client: what is limited, what is thrown away, and calls that are called off."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from mcp import Client

from treadle.mcp.code_runner import code_runner_server
from treadle.mcp.transport import serving_http
from treadle.sandboxes.choose import probe
from treadle.services.code_runner import CodeRunner
from treadle.settings import SandboxSettings, Settings


@asynccontextmanager
async def serving(folder: Path, limits: SandboxSettings | None = None) -> AsyncIterator[Client]:
    if not any(found.ok for found in await probe() if found.name != "none"):
        pytest.skip("no sandbox works here")
    settings = Settings(folder, sandbox=limits or SandboxSettings())
    async with CodeRunner(settings, folder) as runner, Client(code_runner_server(runner)) as client:
        yield client


async def call(client: Client, tool: str, **args: Any) -> Any:
    result = await client.call_tool(tool, args)
    assert not result.is_error, result.content
    return result.structured_content


async def test_what_a_call_brings_is_thrown_away(tmp_path: Path) -> None:
    async with serving(tmp_path) as client:
        ran = await call(client, "run_command", command="cat a/b.txt; touch made", files={"a/b.txt": "here"})
        assert (ran["stdout"], ran["changed"], [*tmp_path.iterdir()]) == ("here", ["made"], [])
        gone = await call(client, "run_command", command="ls a")
        assert gone["exit_code"] != 0


async def test_long_output_is_told_head_and_tail_and_without_escapes(tmp_path: Path) -> None:
    async with serving(tmp_path) as client:
        ran = await call(client, "run_snippet", code="print('\\x1b[31mfirst', 'x' * 300_000, 'last')")
        assert ran["truncated"] and ran["stdout"].startswith("first x") and ran["stdout"].endswith("x last\n")
        assert len(ran["stdout"]) < 61_000


async def test_who_wrote_too_much_is_told_so(tmp_path: Path) -> None:
    async with serving(tmp_path, SandboxSettings(files=20)) as client:
        code = "for n in range(500): open(f'f{n}', 'w')\nimport time; time.sleep(60)"
        ran = await client.call_tool("run_snippet", {"code": code})
        assert ran.structured_content and ran.structured_content["disk_full"]
        assert ran.structured_content["exit_code"] == 122 and "added more to its folder" in str(ran.content)


async def test_what_is_too_long_or_no_text_is_refused(tmp_path: Path) -> None:
    async with serving(tmp_path) as client:
        for tool, name in (("run_snippet", "code"), ("run_command", "command")):
            for text, why in (("#" * 100_001, "too many"), ("echo\0", "NUL")):
                result = await client.call_tool(tool, {name: text})
                assert result.is_error and why in str(result.content)


async def test_a_call_that_is_called_off_leaves_no_process(tmp_path: Path) -> None:
    async with (
        CodeRunner(Settings(tmp_path), tmp_path) as runner,
        serving_http(code_runner_server(runner), host="127.0.0.1", port=0) as url,
        Client(url) as client,
    ):
        running = asyncio.ensure_future(call(client, "run_command", command="touch began; sleep 86397"))
        await until((tmp_path / "began").exists)
        running.cancel()
        await asyncio.wait([running])
        await until(lambda: not is_running("sleep\0" + "86397"))
        assert (await call(client, "run_snippet", code="print(1)"))["stdout"] == "1\n"


def is_running(words: str) -> bool:
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if file.read_bytes().startswith(words.encode()):
                return True
        except OSError:
            continue
    return False


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not holds():  # noqa: ASYNC110  # another process does it
            await asyncio.sleep(0.02)
