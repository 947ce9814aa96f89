"""`treadle validate` as users see it: every mistake at once, what tiers use, who answers, and never a key."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from commandline import Commands

EXAMPLES = Path(__file__).parents[2] / "examples"
CANARY = "sk-canary-93ab71"

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


@contextmanager
def server(answers: dict[str, tuple[int, str, object]]) -> Iterator[tuple[int, list[str]]]:
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
    thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield listening.server_port, keys
    finally:
        listening.shutdown()
        thread.join()
        listening.server_close()


TAGS = {"models": [{"name": "a:1b"}, {"name": "b:2b"}]}
GOOD: dict[str, tuple[int, str, object]] = {
    "/api/tags": (200, "application/json", TAGS),
    "/v1/models": (200, "application/json", {"data": [{"id": "c"}]}),
}


@pytest.mark.parametrize("name", ["servers.yaml", "servers_laptop.yaml"])
def test_the_examples_are_valid_and_nobody_is_asked(treadle: Commands, name: str) -> None:
    done = treadle("validate", str(EXAMPLES / name), "--json")
    assert done.code == 0, done.err
    shown = json.loads(done.out)
    assert shown["ok"] and shown["problems"] == [] and shown["unreachable"] == []
    assert [view["tier"] for view in shown["tiers"]] == ["tiny", "small", "large", "frontier"]


def test_what_each_tier_would_use_is_shown_and_why(treadle: Commands) -> None:
    shutil.copy(EXAMPLES / "servers.yaml", treadle.folder)
    done = treadle("validate")
    rows = [line.split() for line in done.out.splitlines()]
    assert done.code == 0
    assert ["small", "*", "gemma3:12b", "(ollama)", "gemma3:27b", "first", "of", "its", "tier"] in rows
    assert "claude-sonnet-4: ANTHROPIC_API_KEY is not set" in done.out
    assert "epyc_server at 192.168.1.11: vllm, ollama" in done.out and "redis at 192.168.1.44:6379" in done.out


def test_every_file_is_checked_at_once(treadle: Commands) -> None:
    text = (EXAMPLES / "servers.yaml").read_text().replace("gpus: [2x RTX 5060", "gpu: [2x RTX 5060")
    (treadle.folder / "servers.yaml").write_text(text.partition("# May as well")[0])
    (treadle.folder / "routing_config.yaml").write_text("tiers: {small: ['gemma3:13b']}\nescalation: {small: tiny}\n")
    (treadle.folder / "treadle.toml").write_text("[model]\ncontxt = 1\n")
    (treadle.folder / ".env").write_text("TREADLE_TEIR=small\n")
    done = treadle("validate")
    assert done.code == 2
    for part in ("'context'", "TREADLE_TIER", "'gpus'", "'gemma3:12b'", "The tier 'tiny' has no models"):
        assert part in done.err, part
    problems = json.loads(treadle("validate", "--json").out)["problems"]
    places = {(Path(problem["file"]).name, problem["line"]) for problem in problems}
    assert places == {
        ("treadle.toml", 2),
        (".env", 0),
        ("servers.yaml", 13),
        ("routing_config.yaml", 1),
        ("routing_config.yaml", 2),
    }


def test_named_files_are_checked_wherever_they_lie(treadle: Commands) -> None:
    (treadle.folder / "wrong.toml").write_text("[modle]\n")
    assert "wrong.toml:1: there is no section 'modle'" in treadle("validate", "wrong.toml").err
    (treadle.folder / "r.yaml").write_text("tiers: {large: [gpt-oss:20b]}\nescalation: {}\n")
    done = treadle("validate", str(EXAMPLES / "servers.yaml"), "r.yaml")
    assert done.code == 2 and "Routing is given twice" in done.err
    assert treadle("validate", "nowhere.yaml").code == 3


def test_live_asks_every_server_and_finds_what_is_missing(treadle: Commands) -> None:
    (treadle.folder / ".env").write_text(f"COMPANY_KEY={CANARY}\n")
    with server(GOOD) as (port, keys):
        (treadle.folder / "servers.yaml").write_text(INVENTORY.format(port=port))
        done = treadle("validate", "--live")
        assert (done.code, f"Bearer {CANARY}" in keys) == (0, True), done.err
        GOOD_WITHOUT_A = {**GOOD, "/api/tags": (200, "application/json", {"models": [{"name": "b:2b"}]})}
    with server(GOOD_WITHOUT_A) as (port, _):
        (treadle.folder / "servers.yaml").write_text(INVENTORY.format(port=port))
        done = treadle("validate", "--live", "--json")
        shown = json.loads(done.out)
        assert done.code == 5 and "here.ollama does not have 'a:1b'" in shown["unreachable"][0]["what"]
        assert next(view for view in shown["tiers"] if view["tier"] == "small")["model"] == "b:2b"


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
def test_live_says_what_is_wrong_with_a_server_and_never_a_key(
    treadle: Commands, answers: dict[str, tuple[int, str, object]], told: str
) -> None:
    (treadle.folder / ".env").write_text(f"COMPANY_KEY={CANARY}\n")
    with server(answers) as (port, _):
        (treadle.folder / "servers.yaml").write_text(INVENTORY.format(port=port))
        done = treadle("validate", "--live")
    assert done.code == 5 and told.format(port=port) in done.err
    assert CANARY not in done.out + done.err


def test_servers_that_are_gone_are_all_told(treadle: Commands) -> None:
    (treadle.folder / "servers.yaml").write_text(INVENTORY.format(port=9) + "infrastructure: {redis: '127.0.0.1:9'}\n")
    done = treadle("validate", "--live")
    assert done.code == 5
    for part in ("here.ollama: it does not answer", "redis: it does not answer", "No model of tier 'small'"):
        assert part in done.err
    assert "COMPANY_KEY is not set" in done.out


def test_a_password_of_the_store_is_not_shown(treadle: Commands) -> None:
    url = f"postgresql://me:{CANARY}@127.0.0.1:9/runs"
    for command in (("validate",), ("validate", "--json"), ("doctor",)):
        done = treadle(*command, TREADLE_STORE_URL=url)
        assert CANARY not in done.out + done.err


def chat(handler: BaseHTTPRequestHandler, key: str) -> None:
    """Refuse the key, and repeat it, as some servers do."""
    handler.send_response(401)
    handler.end_headers()
    handler.wfile.write(json.dumps({"error": {"message": f"Incorrect API key provided: {key}"}}).encode())


def test_a_key_reaches_its_server_and_no_output_event_log_or_file(
    treadle: Commands, sandboxed: None, everything: Callable[[], bytes]
) -> None:
    (treadle.folder / ".env").write_text(f"COMPANY_KEY={CANARY}\n")
    seen: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            seen.append(self.headers.get("Authorization", ""))
            chat(self, CANARY)

        def log_message(self, format: str, *args: object) -> None:
            pass

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        (treadle.folder / "servers.yaml").write_text(INVENTORY.format(port=listening.server_port))
        done = treadle("build", "add(a, b)", "--out", "made", "--tier", "large", "--json", TREADLE_DEBUG="1")
    finally:
        listening.shutdown()
        thread.join()
        listening.server_close()
    assert done.code != 0 and f"Bearer {CANARY}" in seen
    assert "COMPANY_KEY" in done.err
    shown = [done, treadle("logs"), treadle("events"), treadle("debug"), treadle("status"), treadle("doctor")]
    assert not [line for item in shown for line in (item.out + item.err).splitlines() if CANARY in line]
    assert CANARY.encode() not in everything()


@pytest.fixture
def everything(treadle: Commands) -> Callable[[], bytes]:
    """All bytes of all files in the project and the home, but for the file with the key."""

    def read() -> bytes:
        places = [treadle.folder, Path(treadle.env["HOME"])]
        files = [Path(at) / name for place in places for at, _, names in os.walk(place) for name in names]
        return b"".join(file.read_bytes() for file in files if file.name != ".env" and file.is_file())

    return read
