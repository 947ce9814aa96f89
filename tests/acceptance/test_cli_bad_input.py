"""Each mistake is answered with one line, a hint and a documented exit code; never a traceback, and nothing is made."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from commandline import Commands, Done

from treadle.cli.main import run


@pytest.fixture
def here(treadle: Commands, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """The same command line, in this process: there are many mistakes, and each is found at once."""
    for name in [name for name in os.environ if name not in treadle.env]:
        monkeypatch.delenv(name)
    for name, value in treadle.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(treadle.folder)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "graphs", raising=False)

    def call(*arguments: str) -> Done:
        code = run(arguments)
        captured = capsys.readouterr()
        sys.modules.pop("graphs", None)
        return Done(code, captured.out, captured.err)

    return call


def assert_refused(done: Done, code: int, message: str) -> None:
    """One `error:` line with the message, one hint at most, and the exit code."""
    assert done.code == code, done.err
    errors = [line for line in done.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and message in errors[0], done.err
    assert "Traceback" not in done.err and done.out == ""


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["frobnicate"], 2, "No such command 'frobnicate'"),
        (["run", "--bogus", "x"], 2, "No such option: --bogus"),
        (["run"], 2, "Missing argument 'TARGET'"),
        (["run", "nowhere:graph"], 3, "no module 'nowhere'"),
        (["run", "nowhere.py:graph"], 3, "no file"),
        (["run", "graphs:plane"], 2, "no graph 'graphs:plane'"),
        (["run", "graphs:chain"], 2, "graphs:chain"),
        (["run", "graphs:plain", "--state", "{"], 2, "--state is no JSON"),
        (["run", "graphs:plain", "--state", "[]"], 2, "an object was expected"),
        (["run", "graphs:plain", "--state", "@none"], 2, "cannot be read"),
        (["run", "graphs:plain", "--state", '{"m": 1}'], 2, "no state key 'm'"),
        (["run", "graphs:plain", "--store", "mongo://x"], 2, "no store for 'mongo://x'"),
        (["status"], 3, "no run here yet"),
        (["status", "abc"], 3, "No run begins with 'abc'"),
        (["cancel"], 3, "no run here yet"),
        (["worker"], 2, "needs a store that other machines reach"),
        (["models", "pull", "qwen3.5-coder:0.5b"], 2, "no model"),
        (["models", "rm", "nothing"], 2, "no model"),
        (["answer"], 2, "answer is missing"),
    ],
)
def test_a_wrong_command_line_is_refused(
    treadle: Commands, here: Callable[..., Done], arguments: list[str], code: int, message: str
) -> None:
    assert_refused(here(*arguments), code, message)
    assert not (treadle.folder / ".treadle").exists() or arguments[1] == "graphs:plain"


def test_a_mistyped_command_is_corrected(treadle: Commands) -> None:
    assert "hint: Did you mean 'status'?" in treadle("statsu").err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([""], 2, "goal is empty"),
        (["   "], 2, "goal is empty"),
        (["x", "--out", "graphs.py"], 2, "is not a folder"),
        (["x", "--out", "full"], 2, "is not empty"),
        (["x", "--out", "/proc/x"], 2, "cannot be written"),
        (["x", "--out", "a", "--repo", "b"], 2, "both given"),
        (["x", "--repo", "full"], 2, "not a git repository"),
        (["x", "--repo", "nowhere"], 2, "is not a folder"),
        (["x", "--model", "qwen2.5-codr:0.5b"], 2, "no model 'qwen2.5-codr:0.5b'"),
        (["x", "--model", "nowhere.gguf"], 5, "cannot be read"),
        (["x", "--model", "text.gguf"], 5, "is not a GGUF file"),
        (["x", "--provider", "ollama"], 5, "Ollama does not answer"),
        (["x", "--provider", "openai"], 2, "without openai_base_url"),
        (["x", "--provider", "acme"], 2, "'acme'"),
        (["x", "--sandbox", "gvisor"], 2, "'gvisor'"),
        (["x", "--allow-host", "https://pypi.org/"], 2, "no host that can be allowed"),
        (["x", "--allow-host", "pypi.org", "--sandbox", "none"], 4, "can hold commands to the allowed hosts"),
        (["x", "--budget-tokens", "0"], 2, "0"),
        (["x", "--provider", "scripted:none.json"], 2, "no script"),
    ],
)
def test_a_build_that_cannot_work_makes_nothing(
    treadle: Commands, here: Callable[..., Done], arguments: list[str], code: int, message: str
) -> None:
    (treadle.folder / "full").mkdir()
    (treadle.folder / "full" / "file").touch()
    (treadle.folder / "text.gguf").write_text("no model")
    before = sorted(treadle.folder.rglob("*"))
    assert_refused(here("build", *arguments), code, message)
    assert [path for path in sorted(treadle.folder.rglob("*")) if "__pycache__" not in path.parts] == before


@pytest.mark.slow
@pytest.mark.usefixtures("sandboxed")
def test_a_truncated_model_file_of_ones_own_ends_the_build_with_the_code_of_model_files(treadle: Commands) -> None:
    (treadle.folder / "cut.gguf").write_bytes(b"GGUF" + struct.pack("<IQQQ", 3, 1, 1, 20) + b"general.archi")
    done = treadle("build", "add(a, b)", "--out", "made", "--model", "./cut.gguf")
    assert_refused(done, 5, "could not be loaded")
    assert "hint: The file is damaged" in done.err and not (treadle.folder / "made").exists()


def test_a_wrong_setting_names_its_file_and_the_nearest_name(treadle: Commands) -> None:
    (treadle.folder / "treadle.toml").write_text("[model]\nprovidr = 'ollama'\n")
    done = treadle("validate")
    assert_refused(done, 2, "treadle.toml")
    assert "'provider'" in done.err


def test_a_repository_in_the_middle_of_a_merge_is_left_alone(treadle: Commands) -> None:
    repo = make_repository(treadle.folder / "repo")
    (repo / ".git" / "MERGE_HEAD").write_text("0" * 40)
    assert_refused(treadle("build", "x", "--repo", "repo"), 2, "in the middle of a merge")


def test_a_repository_where_nothing_can_show_success_is_refused_before_anything_is_made(treadle: Commands) -> None:
    repo = make_repository(treadle.folder / "repo")
    done = treadle("build", "x", "--repo", "repo")
    assert_refused(done, 2, "has no tests, and there is no --check")
    assert "hint: Give --check CMD" in done.err and sorted(path.name for path in repo.iterdir()) == [".git"]


def test_a_state_file_that_is_no_utf8_is_refused(treadle: Commands) -> None:
    (treadle.folder / "state.json").write_bytes(b"\xff\xfe")
    assert_refused(treadle("run", "graphs:plain", "--state", "@state.json"), 2, "cannot be read")


def test_an_internal_error_is_one_line_unless_debugging(treadle: Commands) -> None:
    (treadle.folder / "broken.py").write_text("raise RuntimeError('on import')\n")
    assert_refused(treadle("run", "broken:graph"), 2, "RuntimeError: on import")
    assert "Traceback" in treadle("run", "broken:graph", TREADLE_DEBUG="1").err


def test_validate_shows_every_setting_and_where_it_comes_from(treadle: Commands) -> None:
    shown = json.loads(treadle("validate", "--json").out)["settings"]
    assert shown["model.ollama_url"]["from"].startswith("TREADLE_OLLAMA_URL")


def make_repository(folder: Path) -> Path:
    folder.mkdir()
    for arguments in (
        ["init", "-q"],
        ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "--allow-empty", "-m", "x"],
    ):
        subprocess.run(["git", *arguments], cwd=folder, check=True)
    return folder
