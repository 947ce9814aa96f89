"""Where prompts of the user's are found, and what `treadle prompts` says of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from treadle.cli.main import run
from treadle.errors import ConfigError
from treadle.services.prompts import load_prompts, prompts_dir
from treadle.settings import load_settings

OWN = "---\nname: write_skeleton\nversion: 2\ninputs: [skeleton]\n---\nGo on with this:\n{{skeleton}}\n"


def own_prompt(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "mine.md").write_text(OWN)
    return folder


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PROMPTS_DIR", raising=False)
    return tmp_path


def test_prompts_are_found_where_the_variable_says_or_else_in_the_project(project: Path) -> None:
    assert prompts_dir(load_settings(project, environ={})) is None
    in_project = own_prompt(project / ".treadle" / "prompts")
    assert prompts_dir(load_settings(project, environ={})) == in_project
    elsewhere = own_prompt(project / "elsewhere")
    for name in ("PROMPTS_DIR", "TREADLE_PROMPTS_DIR"):
        assert prompts_dir(load_settings(project, environ={name: str(elsewhere)})) == elsewhere
    (project / "treadle.toml").write_text('[prompts]\ndir = "elsewhere"\n')
    assert load_prompts(load_settings(project, environ={}))["write_skeleton"].version == "2"


def test_folder_that_is_not_there_is_told_with_who_named_it(project: Path) -> None:
    with pytest.raises(ConfigError, match=r"PROMPTS_DIR in the environment.*nowhere"):
        load_prompts(load_settings(project, environ={"PROMPTS_DIR": "nowhere"}))


def test_list_says_which_are_yours(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own_prompt(project / ".treadle" / "prompts")
    assert run(["prompts", "list", "--json"]) == 0
    found = {line["name"]: line for line in map(json.loads, capsys.readouterr().out.splitlines())}
    assert found["fix"]["shipped"] and not found["write_skeleton"]["shipped"]
    assert found["write_skeleton"]["file"].endswith("mine.md")
    assert run(["prompts", "list"]) == 0
    assert "yours, replaces" in capsys.readouterr().out


def test_show_prints_the_file(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own_prompt(project / ".treadle" / "prompts")
    assert run(["prompts", "show", "write_skeleton"]) == 0
    assert capsys.readouterr().out == OWN
    assert run(["prompts", "show", "write_skeletn"]) == 2
    assert "write_skeleton" in capsys.readouterr().err


def test_render_takes_pairs_and_objects(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    inputs = ["-i", "goal=a=b", "--input", '{"file": "x.py", "interface": "f()"}']
    assert run(["prompts", "render", "write_module", *inputs]) == 0
    said = capsys.readouterr().out
    assert said.startswith("Write the complete file `x.py` for this goal:\n\na=b\n")
    for wrong, why in (("[1]", "an object is expected"), ("x", "neither KEY=VALUE nor JSON"), ("goal=x", "interface")):
        assert run(["prompts", "render", "write_module", "-i", wrong]) == 2
        assert why in capsys.readouterr().err


def test_diff_is_between_the_shipped_prompt_and_yours(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own_prompt(project / ".treadle" / "prompts")
    assert run(["prompts", "diff", "write_skeleton"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert "+Go on with this:" in said and "-Complete this Python function:" in said
    assert run(["prompts", "diff", "fix"]) == 0
    assert not capsys.readouterr().out


def test_mistakes_in_a_prompt_of_yours_stop_a_build_before_it_begins(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = own_prompt(project / ".treadle" / "prompts")
    (folder / "mine.md").write_text(OWN.replace("{{skeleton}}", "{{skeletn}}"))
    (project / "s.yaml").write_text("[]")
    assert run(["build", "f(x)", "--provider", "scripted:s.yaml", "--store", "memory://"]) == 2
    assert "skeletn" in capsys.readouterr().err
    assert run(["validate"]) == 2
    assert "skeletn" in capsys.readouterr().err
    assert not [place for place in project.iterdir() if place.name not in (".treadle", "s.yaml")]
