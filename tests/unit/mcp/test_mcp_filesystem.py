"""The filesystem server, by the SDK's client: what each tool does, and what none does."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from mcp import Client

from treadle.errors import UsageError
from treadle.mcp.filesystem import filesystem_server
from treadle.services.folders import Folders

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


class Files:
    """Calls of the tools, and what they came to."""

    def __init__(self, client: Client, root: Path) -> None:
        self._client = client
        self.root = root

    async def __call__(self, tool: str, **args: Any) -> str:
        """Call a tool that is to succeed; returns its text, which programs are told too."""
        result = await self._client.call_tool(tool, args)
        text = "".join(getattr(block, "text", "") for block in result.content)
        assert not result.is_error, text
        if text:
            assert result.structured_content == {"content": text}
        return text

    async def refused(self, tool: str, **args: Any) -> str:
        """Call a tool that is to refuse; returns what the model is told."""
        result = await self._client.call_tool(tool, args)
        text = "".join(getattr(block, "text", "") for block in result.content)
        assert result.is_error, text
        return text

    async def blocks(self, tool: str, **args: Any) -> Any:
        return (await self._client.call_tool(tool, args)).content


@asynccontextmanager
async def serving(*roots: Path) -> AsyncIterator[Files]:
    for root in roots:
        root.mkdir(exist_ok=True)
    async with Client(filesystem_server(Folders(roots))) as client:
        yield Files(client, roots[0])


async def test_the_tools_have_the_names_and_the_arguments_of_the_reference_server(tmp_path: Path) -> None:
    server = filesystem_server(Folders([tmp_path]))
    tools = {tool.name: tool for tool in await server.list_tools()}
    taken = {name: set(tool.input_schema.get("properties", {})) for name, tool in tools.items()}
    assert taken == {
        "read_file": {"path", "head", "tail"},
        "read_text_file": {"path", "head", "tail"},
        "read_media_file": {"path"},
        "read_multiple_files": {"paths"},
        "write_file": {"path", "content"},
        "edit_file": {"path", "edits", "dryRun"},
        "create_directory": {"path"},
        "list_directory": {"path"},
        "list_directory_with_sizes": {"path", "sortBy"},
        "directory_tree": {"path", "excludePatterns"},
        "move_file": {"source", "destination"},
        "search_files": {"path", "pattern", "excludePatterns"},
        "get_file_info": {"path"},
        "list_allowed_directories": set(),
    }
    changing = {name for name, tool in tools.items() if not tool.annotations.read_only_hint}
    assert changing == {"write_file", "edit_file", "create_directory", "move_file"}
    assert all(tool.output_schema["required"] == ["content"] for tool in tools.values())


async def test_text_is_written_and_read_as_a_whole_and_in_part(tmp_path: Path) -> None:
    async with serving(tmp_path / "root") as files:
        await files("write_file", path="notes/a.txt", content="one\ntwo\nthree")
        absolute = str(files.root / "notes" / "a.txt")
        assert await files("read_text_file", path=absolute) == "one\ntwo\nthree"
        assert await files("read_file", path="notes/a.txt", head=1) == "one\n"
        assert await files("read_text_file", path="notes/a.txt", tail=2) == "two\nthree"
        assert "give one of them" in (await files.refused("read_text_file", path=absolute, head=1, tail=1)).lower()
        both = await files("read_multiple_files", paths=["notes/a.txt", "notes/b.txt"])
        assert both.startswith("notes/a.txt:\none") and "notes/b.txt: Error - There is no" in both


async def test_media_come_as_what_they_are(tmp_path: Path) -> None:
    async with serving(tmp_path / "root") as files:
        (files.root / "dot.png").write_bytes(PIXEL)
        (files.root / "beep.wav").write_bytes(b"RIFF")
        (files.root / "data.bin").write_bytes(b"\0\1")
        (image,) = await files.blocks("read_media_file", path="dot.png")
        assert (image.type, image.mime_type, base64.b64decode(image.data)) == ("image", "image/png", PIXEL)
        (sound,) = await files.blocks("read_media_file", path="beep.wav")
        assert sound.type == "audio"
        (other,) = await files.blocks("read_media_file", path="data.bin")
        assert other.type == "resource" and base64.b64decode(other.resource.blob) == b"\0\1"
        assert "binary file" in await files.refused("read_text_file", path="data.bin")


async def test_an_edit_is_shown_before_it_is_made(tmp_path: Path) -> None:
    async with serving(tmp_path / "root") as files:
        file = files.root / "a.py"
        file.write_bytes(b"def f():\r\n    return 1\r\n")
        edits = [{"oldText": "return 1", "newText": "return 2"}]
        diff = await files("edit_file", path="a.py", edits=edits, dryRun=True)
        assert "-    return 1\n+    return 2\n" in diff and b"return 1" in file.read_bytes()
        assert await files("edit_file", path="a.py", edits=edits) == diff
        assert file.read_bytes() == b"def f():\r\n    return 2\r\n"


async def test_an_edit_that_fits_nowhere_or_twice_changes_nothing(tmp_path: Path) -> None:
    async with serving(tmp_path / "root") as files:
        file = files.root / "a.txt"
        file.write_text("same\nother\nsame\n")
        twice = [{"oldText": "other", "newText": "new"}, {"oldText": "same", "newText": "new"}]
        said = await files.refused("edit_file", path="a.txt", edits=twice)
        assert "fits 2 places" in said and "Quote in oldText" in said and "`all`" not in said
        nowhere = [{"oldText": "not there at all", "newText": "new"}]
        assert "fits no place" in await files.refused("edit_file", path="a.txt", edits=nowhere)
        assert file.read_text() == "same\nother\nsame\n"


async def test_it_is_said_once_that_nothing_was_changed(tmp_path: Path) -> None:
    async with serving(tmp_path / "root") as files:
        await files("write_file", path="a", content="one\n")
        said = await files.refused("edit_file", path="a", edits=[{"oldText": "two", "newText": "2"}])
        assert said.count("Nothing was changed.") == 1 and "Quote in oldText" in said


async def test_folders_are_made_listed_and_searched(tmp_path: Path) -> None:
    async with serving(tmp_path / "root") as files:
        await files("create_directory", path="src/deep")
        await files("create_directory", path="src/deep")
        for name, size in (("src/deep/x.py", 2000), ("src/y.py", 10), ("src/y.txt", 5)):
            await files("write_file", path=name, content="x" * size)
        assert await files("list_directory", path="src") == "[DIR] deep\n[FILE] y.py\n[FILE] y.txt"
        sized = await files("list_directory_with_sizes", path="src", sortBy="size")
        assert [line.split()[1] for line in sized.splitlines()[:3]] == ["y.py", "y.txt", "deep"]
        assert "Total: 2 files, 1 directories\nCombined size: 15 B" in sized
        tree = json.loads(await files("directory_tree", path=".", excludePatterns=["*.txt"]))
        deep = {"name": "deep", "type": "directory", "children": [{"name": "x.py", "type": "file"}]}
        assert tree == [{"name": "src", "type": "directory", "children": [deep, {"name": "y.py", "type": "file"}]}]
        assert await files("search_files", path="src", pattern="*.py") == f"{files.root}/src/y.py"
        found = await files("search_files", path=".", pattern="**/*.{py,txt}", excludePatterns=["deep"])
        assert found == f"{files.root}/src/y.py\n{files.root}/src/y.txt"
        assert await files("search_files", path=".", pattern="*.rs") == "No matches found"
        told = await files("get_file_info", path="src")
        assert "isDirectory: true" in told and "permissions: 755" in told
        assert "isDirectory: true" in await files("get_file_info", path=".")


async def test_moving_replaces_nothing(tmp_path: Path) -> None:
    async with serving(tmp_path / "one", tmp_path / "two") as files:
        await files("write_file", path="a.txt", content="a")
        await files("write_file", path="b.txt", content="b")
        assert "There is" in await files.refused("move_file", source="a.txt", destination="b.txt")
        await files("move_file", source="a.txt", destination=str(tmp_path / "two" / "c.txt"))
        assert (tmp_path / "two" / "c.txt").read_text() == "a" and not (files.root / "a.txt").exists()
        await files("create_directory", path="folder")
        await files("move_file", source="folder", destination="other")
        assert (files.root / "other").is_dir()
        assert await files.refused("move_file", source="other", destination="other/inside")
        assert (await files("list_allowed_directories")).splitlines()[1:] == [
            str(tmp_path / "one"),
            str(tmp_path / "two"),
        ]


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "../secret",
        "a/../../secret",
        "link",
        "linked/secret",
        ".git/config",
        "a/.GIT/config",
        "",
        "~/x",
        "a\0b",
    ],
)
async def test_no_path_leads_out(tmp_path: Path, path: str) -> None:
    (tmp_path / "secret").write_text("secret")
    async with serving(tmp_path / "root") as files:
        (files.root / "a").mkdir()
        (files.root / "fifo").mkdir()
        (files.root / "link").symlink_to(tmp_path / "secret")
        (files.root / "linked").symlink_to(tmp_path)
        for tool, args in (
            ("read_text_file", {"path": path}),
            ("read_media_file", {"path": path}),
            ("write_file", {"path": path, "content": "changed"}),
            ("edit_file", {"path": path, "edits": [{"oldText": "secret", "newText": "changed"}]}),
            ("move_file", {"source": path, "destination": "taken"}),
            ("move_file", {"source": "fifo", "destination": path}),
        ):
            said = await files.refused(tool, **args)
            assert "Traceback" not in said and "secret\n" not in said
        assert (tmp_path / "secret").read_text() == "secret" and not (files.root / "taken").exists()


async def test_a_folder_that_becomes_a_link_is_not_followed(tmp_path: Path) -> None:
    async with serving(tmp_path / "root") as files:
        await files("write_file", path="a/b.txt", content="b")
        os.rename(files.root / "a", files.root / "was")
        (files.root / "a").symlink_to(tmp_path)
        for tool in ("create_directory", "list_directory", "directory_tree"):
            assert "symbolic link" in await files.refused(tool, path="a/c" if tool == "create_directory" else "a")
        assert "[LINK] a" in await files("list_directory", path=".")


@pytest.mark.parametrize(
    ("tool", "args"),
    [
        ("read_text_file", {}),
        ("read_text_file", {"path": 5}),
        ("read_text_file", {"path": "a", "head": 0}),
        ("edit_file", {"path": "a", "edits": []}),
        ("edit_file", {"path": "a", "edits": [{"oldText": "x"}]}),
        ("list_directory_with_sizes", {"path": ".", "sortBy": "age"}),
        ("read_multiple_files", {"paths": []}),
        ("search_files", {"path": "."}),
    ],
)
async def test_wrong_arguments_are_told_to_the_model(tmp_path: Path, tool: str, args: dict[str, Any]) -> None:
    async with serving(tmp_path / "root") as files:
        said = await files.refused(tool, **args)
        assert f"{tool} was not called. Wrong arguments: " in said and "It takes " in said
        assert "pydantic" not in said and "Arguments\n" not in said


def test_what_is_no_folder_is_not_served(tmp_path: Path) -> None:
    for roots in ([], [tmp_path / "none"]):
        with pytest.raises(UsageError):
            Folders(roots)
