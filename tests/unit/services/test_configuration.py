"""The configuration as a whole: what is wrong in which file, what tiers would use, and what servers say to it."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from treadle.errors import NotFound
from treadle.services.configuration import Checked, check

EXAMPLES = Path(__file__).parents[3] / "examples"
CANARY = "sk-canary-93ab71"
TAGS = {"models": [{"name": "a:1b"}, {"name": "b:2b"}]}
Answers = dict[str, tuple[int, str, object]]
GOOD: Answers = {
    "/api/tags": (200, "application/json", TAGS),
    "/v1/models": (200, "application/json", {"data": [{"id": "c"}]}),
}
INVENTORY = """
servers:
  here:
    address: 127.0.0.1
    services:
      ollama: {{port: {port}, models: ['a:1b', 'b:2b']}}
providers:
  company: {{kind: openai, url: 'http://127.0.0.1:{port}/v1', api_key_env: COMPANY_KEY, models: [c]}}
routing:
  tiers: {{small: ['a:1b', 'b:2b'], large: [c]}}
  escalation: {{small: large}}
"""


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a key in its `.env`, and no settings of whoever runs the tests."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    (tmp_path / "treadle.toml").write_text("")
    (tmp_path / ".env").write_text(f"COMPANY_KEY={CANARY}\n")
    return tmp_path


@contextmanager
def server(answers: Answers) -> Iterator[tuple[int, list[str]]]:
    """A server on loopback; the list is what it was sent as keys."""
    keys: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            keys.append(self.headers.get("Authorization", ""))
            status, kind, body = answers.get(self.path, (404, "text/plain", "nothing"))
            data = (body if isinstance(body, str) else json.dumps(body)).encode()
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            pass

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listening.daemon_threads = False  # closing waits for them
    thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield listening.server_port, keys
    finally:
        listening.shutdown()
        thread.join()
        listening.server_close()


async def live(folder: Path, answers: Answers) -> tuple[Checked, int, list[str]]:
    with server(answers) as (port, keys):
        (folder / "servers.yaml").write_text(INVENTORY.format(port=port))
        return await check(folder, live=True), port, keys


async def test_every_file_is_checked_at_once(project: Path) -> None:
    text = (EXAMPLES / "servers.yaml").read_text().replace("gpus: [2x RTX 5060", "gpu: [2x RTX 5060")
    (project / "servers.yaml").write_text(text.partition("# May as well")[0])
    (project / "routing_config.yaml").write_text("tiers: {small: ['gemma3:13b']}\nescalation: {small: tiny}\n")
    (project / "treadle.toml").write_text("[model]\ncontxt = 1\n")
    (project / ".env").write_text("TREADLE_TEIR=small\n")
    found = await check(project)
    places = [(Path(problem.file.split(" in ")[-1]).name, problem.line) for problem in found.problems]
    assert places == [
        ("treadle.toml", 2),
        (".env", 0),
        ("servers.yaml", 13),
        ("routing_config.yaml", 1),
        ("routing_config.yaml", 2),
    ]
    assert all(problem.hint for problem in found.problems) and found.tiers == ()


async def test_a_wrong_setting_does_not_hide_where_the_inventory_lies(project: Path) -> None:
    (project / "config").mkdir()
    (project / "config" / "s.yaml").write_text("servrs: {}\n")
    (project / ".env").write_text("SERVERS_CONFIG_PATH=config/s.yaml\nTREADLE_TEIR=small\n")
    assert [problem.hint for problem in (await check(project)).problems] == [
        "Did you mean 'TREADLE_TIER'?",
        "Did you mean 'servers'?",
    ]


async def test_named_files_are_checked_and_no_others(project: Path) -> None:
    (project / "treadle.toml").write_text("[modle]\n")
    (project / "wrong.toml").write_text("[modell]\n")
    assert "'modell'" in str((await check(project, [project / "wrong.toml"])).problems)
    assert (await check(project, [EXAMPLES / "servers.yaml"])).problems == ()
    with pytest.raises(NotFound, match=r"nowhere\.yaml"):
        await check(project, [project / "nowhere.yaml"])


async def test_a_routing_file_alone_is_about_the_servers_of_the_project(project: Path) -> None:
    text = (EXAMPLES / "servers.yaml").read_text().partition("# May as well")[0]
    (project / "servers.yaml").write_text(text)
    (project / "r.yaml").write_text("tiers: {large: [gpt-oss:20b]}\nescalation: {}\n")
    found = await check(project, [project / "r.yaml"])
    assert found.problems == () and [view.model for view in found.tiers] == ["", "", "gpt-oss:20b", ""]


async def test_agent_pools_are_checked_against_the_inventory(project: Path) -> None:
    shutil.copy(EXAMPLES / "servers.yaml", project)
    (project / "pool.toml").write_text('[pools.simple]\nmodels = ["gemma3:5b", "gemma3:12b"]\n')
    (problem,) = (await check(project)).problems
    assert (problem.key, problem.hint) == ("pools.simple", "Did you mean 'gemma3:4b'?")
    (project / "pool.toml").write_text("[pools.simple]\nmodel = []\n")
    (problem,) = (await check(project, [project / "pool.toml"])).problems
    assert "pool.toml" in str(problem) and problem.hint == "Did you mean 'models'?"


async def test_each_tier_says_what_it_would_use_and_why(project: Path) -> None:
    shutil.copy(EXAMPLES / "servers.yaml", project)
    found = await check(project)
    small, frontier = found.tiers[1], found.tiers[3]
    assert (small.model, small.provider, small.then, small.is_default) == (
        "gemma3:12b",
        "ollama",
        ("gemma3:27b",),
        True,
    )
    assert (frontier.model, frontier.why) == ("", "claude-sonnet-4: ANTHROPIC_API_KEY is not set")
    (project / ".env").write_text(f"ANTHROPIC_API_KEY={CANARY}\n")
    found = await check(project)
    assert found.tiers[3].model == "claude-sonnet-4" and CANARY not in repr(found)


async def test_every_server_is_asked_and_what_is_missing_is_found(project: Path) -> None:
    found, _, keys = await live(project, GOOD)
    assert found.unreachable == () and f"Bearer {CANARY}" in keys
    only_b: Answers = {**GOOD, "/api/tags": (200, "application/json", {"models": [{"name": "b:2b"}]})}
    found, port, _ = await live(project, only_b)
    assert [p.what for p in found.unreachable] == [f"here.ollama does not have 'a:1b' at http://127.0.0.1:{port}."]
    assert (found.tiers[1].model, found.tiers[1].why) == ("b:2b", "not a:1b: here.ollama does not have it")


@pytest.mark.parametrize(
    ("answers", "told"),
    [
        ({}, "does not answer at http://127.0.0.1:{port} as a server of kind ollama (status 404)"),
        ({"/api/tags": (200, "text/html", "<html>hello</html>")}, "with text/html, and not as a server of kind ollama"),
        ({"/api/tags": (200, "application/json", {"models": 5})}, "not as a server of kind ollama"),
        ({**GOOD, "/v1/models": (401, "text/plain", "wrong key " + CANARY)}, "refuses the key in COMPANY_KEY"),
        ({**GOOD, "/v1/models": (200, "application/json", [])}, "No model of tier 'large' can be used"),
    ],
)
async def test_what_is_wrong_with_a_server_is_said_without_the_key(project: Path, answers: Answers, told: str) -> None:
    found, port, _ = await live(project, answers)
    assert told.format(port=port) in str([problem.what for problem in found.unreachable])
    assert CANARY not in repr(found)


async def test_servers_that_are_gone_are_all_told_and_one_without_a_key_is_not_asked(project: Path) -> None:
    (project / ".env").unlink()
    text = INVENTORY.format(port=9) + "infrastructure: {redis: '127.0.0.1:9'}\n"
    (project / "servers.yaml").write_text(text)
    found = await check(project, live=True)
    told = " ".join(problem.what for problem in found.unreachable)
    for part in ("here.ollama: it does not answer", "redis: it does not answer", "No model of tier 'small'"):
        assert part in told
    assert "company: " not in told and "company cannot be used: COMPANY_KEY is not set." in found.notes


async def test_a_server_that_never_answers_is_given_up(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    monkeypatch.setattr("treadle.services.configuration.LIVE_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        (project / "servers.yaml").write_text(INVENTORY.format(port=deaf.getsockname()[1]))
        found = await check(project, live=True)
    assert "in time" in found.unreachable[0].what
