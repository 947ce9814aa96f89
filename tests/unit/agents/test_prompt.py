"""Prompts are strict, so that a misspelt place is seen at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from treadle.agents.prompt import Prompts, parse_prompt
from treadle.errors import ConfigError, UnknownName


def test_every_shipped_prompt_renders_with_its_declared_inputs() -> None:
    for prompt in Prompts.load().by_name.values():
        text = prompt.render(**{name: f"<{name}>" for name in prompt.inputs})
        assert "{{" not in text
        assert all(f"<{name}>" in text for name in prompt.inputs)


def test_value_is_put_in_as_it_is() -> None:
    prompt = Prompts.load()["write_skeleton"]
    assert "a {{goal}} \\1 $x" in prompt.render(skeleton="a {{goal}} \\1 $x")


def test_missing_and_superfluous_values_are_refused() -> None:
    prompt = Prompts.load()["write_skeleton"]
    with pytest.raises(ConfigError, match="goal, skeleton"):
        prompt.render(goal="x")


def test_own_prompt_takes_the_place_of_a_shipped_one(tmp_path: Path) -> None:
    (tmp_path / "x.md").write_text("---\nname: fix\nversion: 9\ninputs: goal\n---\nFix {{ goal }}!\n")
    own = Prompts.load(tmp_path)
    assert own["fix"].render(goal="it") == "Fix it!"
    assert own.digest() != Prompts.load().digest()
    assert own.digest(["write_skeleton"]) == Prompts.load().digest(["write_skeleton"])


def test_prompt_out_of_form_is_refused(tmp_path: Path) -> None:
    for text, said in (("no front matter", "front matter"), ("---\nname: x\ninputs: a\n---\n{{b}}\n", "a, b")):
        (tmp_path / "x.md").write_text(text)
        with pytest.raises(ConfigError, match=said):
            parse_prompt(tmp_path / "x.md")


def test_unknown_prompt_names_the_nearest() -> None:
    with pytest.raises(UnknownName):
        Prompts.load()["write_modul"]
