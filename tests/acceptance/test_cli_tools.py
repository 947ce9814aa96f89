"""`treadle tools list | show | call` as users run them."""

from __future__ import annotations

import json
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
from commandline import Commands


def test_a_tool_is_found_looked_at_and_called(treadle: Commands) -> None:
    listed = {view["name"]: view for view in treadle("tools", "list", "--json").lines}
    assert listed["bash"]["enabled"] and listed["read_file"]["effects"] == "none"
    assert "path (string), content (string)" in treadle("tools", "show", "write_file").out
    (treadle.folder / "copy").mkdir()
    written = treadle("tools", "call", "write_file", '{"path": "a", "content": "hi\\n"}', "--folder", "copy")
    assert (written.code, (treadle.folder / "copy" / "a").read_text()) == (0, "hi\n")
    assert "changed a" in written.err
    ran = treadle("tools", "call", "bash", '{"command": "cat copy/a; exit 3"}', "--json")
    assert (ran.code, ran.json["exit_code"], ran.json["text"]) == (1, 3, "hi\n[exit code 3]")


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("call", "raed_file"), 2, "Did you mean 'read_file'?"),
        (("call", "read_file", "{}"), 2, "'path' is a required property"),
        (("call", "read_file", "path=a"), 2, "is no JSON"),
        (("call", "ls_dir", '{"pth": "a"}'), 2, "it has no argument 'pth'"),
        (("call", "read_file", '{"path": "a"}', "--folder", "absent"), 4, "is not a folder"),
        (("show", "nothing"), 2, "There is no tool 'nothing'"),
    ],
)
def test_wrong_use_is_told_with_a_way_out(treadle: Commands, arguments: tuple[str, ...], code: int, told: str) -> None:
    done = treadle("tools", *arguments)
    assert done.code == code and told in done.err and "hint: " in done.err and done.out == ""


def test_settings_limit_the_tools_and_may_name_no_other(treadle: Commands) -> None:
    treadle.write("treadle.toml", '[tools]\nenabled = ["read_file", "done"]\n[tools.agents]\nwriter = ["done"]\n')
    enabled = [view["name"] for view in treadle("tools", "list", "--json").lines if view["enabled"]]
    assert enabled == ["read_file", "done"]
    of_one = treadle("tools", "list", "--agent", "writer", "--json").lines
    assert [view["name"] for view in of_one if view["enabled"]] == ["done"]
    assert "says nothing of 'reader'" in treadle("tools", "list", "--agent", "reader").err
    assert "names 'writer', which is no agent of this project" in treadle("validate").err
    by_hand = treadle("tools", "call", "write_file", '{"path": "a", "content": ""}')
    assert by_hand.code == 0 and "No agent has write_file" in by_hand.err
    assert "No agent" not in treadle("tools", "call", "read_file", '{"path": "a"}').err
    wrong = treadle("tools", "list", TREADLE_TOOLS_ENABLED="read_file, dnoe")
    assert wrong.code == 2 and "Did you mean 'done'?" in wrong.err
    said = treadle("validate", TREADLE_TOOLS_ENABLED="read_file, dnoe")
    assert said.code == 2 and "There is no tool 'dnoe'" in said.err + said.out


GET = "python -c \"import urllib.request as u; print(u.urlopen('http://127.0.0.1:PORT/').status)\""


@pytest.mark.usefixtures("sandboxed")
def test_command_reaches_hosts_that_are_allowed_and_tells_of_others(treadle: Commands) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), SimpleHTTPRequestHandler) as server:
        threading.Thread(target=server.serve_forever).start()
        port = str(server.server_port)
        call = json.dumps({"command": GET.replace("PORT", port)})
        allowed = treadle("tools", "call", "bash", call, "--allow-host", f"127.0.0.1:{port}", "--json")
        assert allowed.json["text"].startswith("200\n"), allowed.json
        assert allowed.json["data"]["network"][0]["received"] > 0
        other = treadle("tools", "call", "bash", call, "--allow-host", "127.0.0.1:1", "--json").json
        assert f"[network: 127.0.0.1:{port} is not among the hosts that may be reached" in other["text"]
        assert treadle("tools", "call", "bash", call).code == 1
        server.shutdown()
