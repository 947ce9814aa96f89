"""What agents can do with the files of a workspace and a shell, and what they are told when it goes wrong."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from tests.unit.tools.conftest import Hands

from treadle.errors import SandboxUnavailable


async def test_what_is_written_is_read_again_and_said_to_be_changed(hands: Hands) -> None:
    made = await hands("write_file", path="pkg/a.py", content="x = 1\n")
    assert (made.is_error, made.changed) == (False, ("pkg/a.py",))
    assert (await hands("read_file", path="pkg/a.py")).text == "x = 1\n"
    again = await hands("write_file", path="./pkg/a.py", content="x = 1\n")
    assert (again.is_error, again.changed) == (False, ())
    assert (await hands("write_file", path=".//pkg//b.py", content="")).changed == ("pkg/b.py",)


async def test_half_a_character_in_a_call_can_be_recorded(hands: Hands) -> None:
    made = await hands("write_file", path="a\udce9", content="\ud800")
    assert msgspec.json.encode(made) and made.changed == ("a\N{REPLACEMENT CHARACTER}",)
    assert (hands.folder / made.changed[0]).read_text() == "\N{REPLACEMENT CHARACTER}"


async def test_file_is_no_folder_to_list(hands: Hands) -> None:
    await hands("write_file", path="a.py", content="")
    assert "'a.py' in 'a.py' is a file, not a folder" in (await hands("ls_dir", path="a.py")).text


async def test_workspace_itself_is_no_file(hands: Hands) -> None:
    for path in (".", "a/.."):
        assert (await hands("write_file", path=path, content="")).is_error
    assert "'.' is the folder itself" in (await hands("read_file", path=".")).text


async def test_path_as_the_sandbox_shows_it_is_understood(hands: Hands) -> None:
    await hands("write_file", path="a.py", content="x\n")
    for path in ("/workspace/a.py", f"{hands.folder}/a.py"):
        assert (await hands("read_file", path=path)).text == "x\n"
    assert "a.py" in (await hands("ls_dir", path="/workspace")).text


async def test_long_file_is_read_in_parts_that_say_how_to_go_on(hands: Hands) -> None:
    lines = [f"line {number}\n" for number in range(1, 3001)]
    (hands.folder / "long").write_text("".join(lines))
    text, start = "", 1
    while start <= 3000:
        part = await hands("read_file", path="long", start=start)
        assert len(part.text) <= hands.context.shown
        head, _, body = part.text.partition("\n")
        text += body
        start += body.count("\n")
        assert (f"start={start} shows more" in head) == (start <= 3000)
    assert text == "".join(lines)


async def test_line_that_is_too_long_is_cut(hands: Hands) -> None:
    (hands.folder / "min.js").write_text("x" * 100_000)
    assert "[... the line has 100000 characters]" in (await hands("read_file", path="min.js")).text


async def test_missing_file_is_answered_with_what_may_be_meant(hands: Hands) -> None:
    await hands("write_file", path="src/shop/app.py", content="x\n")
    result = await hands("read_file", path="app.py")
    assert result.is_error and "Did you mean src/shop/app.py?" in result.text


@pytest.mark.parametrize("data", [b"\x7fELF\0\0\0", b"\0" * 10])
async def test_binary_file_is_refused_with_its_size(hands: Hands, data: bytes) -> None:
    (hands.folder / "file").write_bytes(data)
    for result in (
        await hands("read_file", path="file"),
        await hands("edit_file", path="file", changes=[{"old": "a", "new": "b"}]),
    ):
        assert result.is_error and f"binary file of {len(data)} bytes" in result.text
    assert (hands.folder / "file").read_bytes() == data


async def test_huge_file_is_refused_with_what_to_do(hands: Hands) -> None:
    with (hands.folder / "huge").open("wb") as file:
        file.truncate(1 << 34)
    result = await hands("read_file", path="huge")
    assert result.is_error and str(1 << 34) in result.text and "tail" in result.text


async def test_edit_keeps_the_mode_and_reports_a_diff(hands: Hands) -> None:
    script = hands.folder / "run.sh"
    script.write_bytes(b"#!/bin/sh\r\necho one\r\n")
    script.chmod(0o755)
    result = await hands("edit_file", path="run.sh", changes=[{"old": "echo one", "new": "echo two\necho three"}])
    assert script.read_bytes() == b"#!/bin/sh\r\necho two\r\necho three\r\n"
    assert script.stat().st_mode & 0o777 == 0o755
    assert result.changed == ("run.sh",) and "+echo three" in result.data["diff"]


async def test_refused_edit_changes_nothing(hands: Hands) -> None:
    await hands("write_file", path="a", content="x\nx\n")
    result = await hands("edit_file", path="a", changes=[{"old": "x", "new": "y"}])
    assert result.is_error and "2 places" in result.text and result.changed == ()
    assert (hands.folder / "a").read_text() == "x\nx\n"


async def test_what_to_do_stands_below_the_candidates(hands: Hands) -> None:
    await hands("write_file", path="a.py", content="a\nx = 1\nb\nx = 1\n")
    refused = await hands("edit_file", path="a.py", changes=[{"old": "x = 1", "new": "x = 2"}])
    assert refused.text.splitlines()[-1].startswith("Quote more lines around the one that is meant")


async def test_removed_file_is_gone_and_a_folder_is_not_removed(hands: Hands) -> None:
    await hands("write_file", path="d/a", content="x")
    assert (await hands("rm_file", path="d")).is_error
    assert (await hands("rm_file", path="d/a")).changed == ("d/a",)
    assert not (hands.folder / "d" / "a").exists()


async def test_command_tells_output_exit_code_and_every_path_it_changed(hands: Hands) -> None:
    await hands("write_file", path="old", content="x")
    await hands("write_file", path="same", content="x")
    result = await hands("bash", command="echo out; echo err >&2; rm old; mkdir d; echo 1 > d/new; exit 3")
    assert result.text == "out\n[stderr]\nerr\n[exit code 3]"
    assert (result.exit_code, result.is_error, result.changed) == (3, True, ("d/new", "old"))
    assert result.seconds > 0


async def test_command_is_stopped_at_its_time(hands: Hands) -> None:
    result = await hands("bash", command="echo begun; sleep 60", seconds=0.5)
    assert result.exit_code == 124 and "begun" in result.text and "0.5 seconds" in result.text


async def test_limit_that_a_command_or_a_test_ran_into_is_named(hands: Hands) -> None:
    hands.context.limits = replace(hands.context.limits, files=20)
    made = await hands("bash", command="for n in $(seq 500); do : > f$n; done; sleep 60; echo on")
    assert made.exit_code == 122 and "added more to the workspace than it may" in made.text
    tests = "import time\ndef test_it():\n    for n in range(500): open(f'g{n}', 'w')\n    time.sleep(60)\n"
    await hands("write_file", path="test_it.py", content=tests)
    ran = await hands("run_tests", targets=["test_it.py"])
    assert "No test came to its end: it added more to the workspace than it may" in ran.text


async def test_command_reaches_neither_git_nor_the_host(hands: Hands, tmp_path: Path) -> None:
    (hands.folder / ".git").mkdir()
    (hands.folder / ".git" / "config").write_text("[core]\n")
    await hands("bash", command=f"echo bad > .git/config; echo bad > {tmp_path}/planted; ln -s {tmp_path} out")
    assert (hands.folder / ".git" / "config").read_text() == "[core]\n"
    assert not (tmp_path / "planted").exists()
    through = await hands("write_file", path="out/planted", content="bad")
    assert through.is_error and "symbolic link" in through.text
    assert not (tmp_path / "planted").exists()


async def test_long_output_is_shown_head_and_tail_and_kept_whole(hands: Hands) -> None:
    result = await hands("bash", command="seq 1 20000")
    assert len(result.text) <= hands.context.shown
    assert result.text.startswith("1\n2\n") and result.text.endswith("20000\n[exit code 0]")
    assert "left out" in result.text
    assert hands.context.blobs is not None
    whole = (await hands.context.blobs.get_blob(result.full)).decode()
    assert whole.splitlines()[:-1] == [str(number) for number in range(1, 20001)]


async def test_output_that_is_not_kept_whole_is_told(hands: Hands) -> None:
    said = (await hands("bash", command="head -c 3000000 /dev/zero | tr '\\0' x")).text
    assert "the middle was not kept: write it to a file" in said
    assert "not kept" not in (await hands("bash", command="head -c 30000 /dev/zero | tr '\\0' x")).text


async def test_terminal_escapes_do_not_reach_whoever_looks(hands: Hands) -> None:
    command = r"printf '\033[31mred\033[0m \033]0;title\007\033]52;c;AAAA\033\\bell\007 10%%\r100%%\n'"
    assert (await hands("bash", command=command)).text == "100%\n[exit code 0]"


async def test_cancelled_command_leaves_no_process(hands: Hands) -> None:
    begun = hands.folder / "begun"
    os.mkfifo(begun)
    call = asyncio.ensure_future(hands("bash", command="echo > begun; exec sleep 60.17"))
    await asyncio.to_thread(begun.read_bytes)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert not [one for one in Path("/proc").glob("[0-9]*/cmdline") if b"60.17" in content(one)]


def content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError:  # it ended meanwhile
        return b""


async def test_closed_sandbox_is_nobodys_mistake_and_is_raised(hands: Hands) -> None:
    await hands.context.sandbox.close()
    with pytest.raises(SandboxUnavailable):
        await hands("bash", command="true")


async def test_list_of_tasks_is_kept_between_calls(hands: Hands) -> None:
    assert (await hands("task_list")).text == "[the list is empty]"
    await hands("task_list", tasks=[{"title": "write", "state": "done"}, {"title": "test"}])
    assert (await hands("task_list")).text == "[x] write\n[ ] test"
    assert (await hands("task_list", tasks=[{"title": "x", "state": "lost"}])).is_error
    assert len(hands.context.memory["task_list"]) == 2


async def test_done_ends(hands: Hands) -> None:
    result = await hands("done", message="All of it.")
    assert (result.ends, result.text) == (True, "All of it.")


async def test_each_tool_tells_what_it_touches(hands: Hands) -> None:
    tools = hands.registry
    assert tools.get("write_file").resources({"path": "./a//b"}) == {"a/b"}
    assert tools.get("edit_file").resources({"path": "/workspace/a/b"}) == {"a/b"}
    assert tools.get("write_file").resources({"path": "/elsewhere/x"}) == {"*"}
    assert tools.get("bash").resources({"command": "true"}) == {"*"}
    looking = {origin.tool.name for origin in tools if origin.tool.effects == "none"}
    assert looking == {"read_file", "ls_dir", "search", "git_diff", "done"}
