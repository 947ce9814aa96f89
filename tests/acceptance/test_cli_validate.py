"""`treadle validate` as users see it, and that no key is seen anywhere."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from commandline import Commands

EXAMPLES = Path(__file__).parents[2] / "examples"
CANARY = "sk-canary-93ab71"


@pytest.mark.parametrize("name", ["servers.yaml", "servers_laptop.yaml"])
def test_the_examples_are_valid_and_nobody_is_asked(treadle: Commands, name: str) -> None:
    done = treadle("validate", str(EXAMPLES / name), "--json")
    assert done.code == 0, done.err
    shown = json.loads(done.out)
    assert shown["ok"] and shown["problems"] == [] and shown["unreachable"] == []
    assert [view["tier"] for view in shown["tiers"]] == ["tiny", "small", "large", "frontier"]


def test_what_each_tier_would_use_is_shown_and_why(treadle: Commands) -> None:
    (treadle.folder / "servers.yaml").write_text((EXAMPLES / "servers.yaml").read_text())
    done = treadle("validate")
    rows = [line.split() for line in done.out.splitlines()]
    assert done.code == 0
    assert ["small", "*", "gemma3:12b", "(ollama)", "gemma3:27b", "first", "of", "its", "tier"] in rows
    assert "claude-sonnet-4: ANTHROPIC_API_KEY is not set" in done.out
    assert "epyc_server at 192.168.1.11: vllm, ollama" in done.out and "redis at 192.168.1.44:6379" in done.out


def test_all_mistakes_are_told_and_the_exit_code_is_2(treadle: Commands) -> None:
    (treadle.folder / "servers.yaml").write_text("servers: {a: {adress: b}}\nroutng: {}\n")
    done = treadle("validate")
    assert done.code == 2 and "2 problems" not in done.err and "3 problems" in done.err
    assert "servers.yaml:2: routng: There is no key 'routng' here. Did you mean 'routing'?" in done.err
    assert len(json.loads(treadle("validate", "--json").out)["problems"]) == 3


def test_what_does_not_answer_ends_with_5(treadle: Commands) -> None:
    (treadle.folder / "servers.yaml").write_text("infrastructure: {redis: '127.0.0.1:9'}\n")
    done = treadle("validate", "--live")
    assert done.code == 5 and "redis: it does not answer at 127.0.0.1:9" in done.err


def test_a_password_of_the_store_is_not_shown(treadle: Commands) -> None:
    url = f"postgresql://me:{CANARY}@127.0.0.1:9/runs"
    for command in ("validate", "doctor"):
        done = treadle(command, TREADLE_STORE_URL=url)
        assert "postgresql://me@127.0.0.1:9/runs" in done.out and CANARY not in done.out + done.err


@pytest.fixture
def repeating() -> Iterator[tuple[int, list[str]]]:
    """A server that refuses every key and repeats it, as some do; and the keys that it saw."""
    seen: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            seen.append(self.headers.get("Authorization", ""))
            self.send_response(401)
            self.end_headers()
            self.wfile.write(json.dumps({"error": {"message": f"Incorrect API key: {CANARY}"}}).encode())

        do_GET = do_POST

        def log_message(self, format: str, *args: object) -> None:
            pass

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listening.daemon_threads = False  # closing waits for them
    thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield listening.server_port, seen
    listening.shutdown()
    thread.join()
    listening.server_close()


@pytest.fixture
def everything(treadle: Commands) -> Callable[[], bytes]:
    """All bytes of all files in the project and the home, but for the file with the key."""

    def read() -> bytes:
        places = [treadle.folder, Path(treadle.env["HOME"])]
        files = [Path(at) / name for place in places for at, _, names in os.walk(place) for name in names]
        return b"".join(file.read_bytes() for file in files if file.name != ".env" and file.is_file())

    return read


@pytest.mark.usefixtures("sandboxed")
def test_a_key_reaches_its_server_and_no_output_event_log_or_file(
    treadle: Commands, repeating: tuple[int, list[str]], everything: Callable[[], bytes]
) -> None:
    port, seen = repeating
    (treadle.folder / ".env").write_text(f"COMPANY_KEY={CANARY}\n")
    (treadle.folder / "servers.yaml").write_text(
        f"providers:\n  company: {{kind: openai, url: 'http://127.0.0.1:{port}/v1', api_key_env: COMPANY_KEY}}\n"
        "models: {c: {service: company}}\nrouting: {tiers: {large: [c]}, escalation: {}}\n"
    )
    built = treadle("build", "add(a, b)", "--out", "made", "--tier", "large", "--json", TREADLE_DEBUG="1")
    assert built.code != 0 and f"Bearer {CANARY}" in seen
    assert "COMPANY_KEY" in built.err
    commands = [("events",), ("debug",), ("status",), ("doctor",), ("validate", "--live")]
    shown = [built, *(treadle(*command) for command in commands)]
    assert not [line for item in shown for line in (item.out + item.err).splitlines() if CANARY in line]
    assert CANARY.encode() not in everything()
