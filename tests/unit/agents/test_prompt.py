"""Prompts are strict, so that a misspelt name is seen at once, and what they say is what is sent."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from treadle.agents.prompt import SHIPPED, Prompt, Prompts, parse_prompt
from treadle.errors import ConfigError, UnknownName
from treadle.models.wrappers.almost_json import schema_flaw

VALUES = (
    "plain",
    "\n\ncode:\n    x = {{ y }}\n{% if %} {# c #}\n\n",
    "a\r\nb\r\n",
    "  led in",
    "<&>'\"",
    "",
    "日本語 ü\u2028x\n",
)


def file_of(folder: Path, front: str, body: str) -> Path:
    file = folder / "x.md"
    file.write_text(f"---\n{front}\n---\n{body}")
    return file


def put_in(prompt: Prompt, values: dict[str, str]) -> str:
    """What a prompt without conditions and loops has to become: values in their places, nothing else changed."""
    return re.sub(r"\{\{\s*(\w+)\s*\}\}", lambda match: values[match[1]].strip("\n"), prompt.body).strip()


def test_every_shipped_prompt_renders_with_its_declared_inputs() -> None:
    for prompt in Prompts.load().by_name.values():
        text = prompt.render(**{name: f"<{name}>" for name in prompt.inputs})
        assert "{{" not in text
        assert prompt.description
        assert prompt.file == SHIPPED / f"{prompt.name}.md"
        assert not schema_flaw(prompt.output or {})


def test_rendering_changes_no_byte_of_text_or_values() -> None:
    plain = [prompt for prompt in Prompts.load().by_name.values() if "{%" not in prompt.body and "|" not in prompt.body]
    assert len(plain) >= 10
    for prompt in plain:
        for turn in range(len(VALUES)):
            values = {name: VALUES[(turn + i) % len(VALUES)] for i, name in enumerate(prompt.inputs)}
            assert prompt.render(**values) == put_in(prompt, values)


def test_value_is_put_in_as_it_is() -> None:
    prompt = Prompts.load()["write_skeleton"]
    assert "a {{goal}} {% x %} \\1 $x" in prompt.render(skeleton="a {{goal}} {% x %} \\1 $x")


def test_missing_and_superfluous_values_are_refused() -> None:
    prompt = Prompts.load()["write_skeleton"]
    with pytest.raises(ConfigError, match="goal, skeleton"):
        prompt.render(goal="x")


def test_conditions_and_loops_are_those_of_jinja(tmp_path: Path) -> None:
    body = "{% for file in files %}\n- {{ file }}\n{% endfor %}\n{% if note %}\nNote: {{ note }}\n{% endif %}\nEnd\n"
    prompt = parse_prompt(file_of(tmp_path, "inputs: [files, note]", body))
    assert prompt.render(files=["a.py", "b.py"], note="") == "- a.py\n- b.py\nEnd"
    assert prompt.render(files=[], note="x") == "Note: x\nEnd"


def test_own_prompt_takes_the_place_of_a_shipped_one(tmp_path: Path) -> None:
    file_of(tmp_path, "name: write_skeleton\nversion: 9\ninputs: skeleton", "Complete {{ skeleton }}!\n")
    own = Prompts.load(tmp_path)
    assert own["write_skeleton"].render(skeleton="it") == "Complete it!"
    assert own["write_skeleton"].version == "9"
    assert own.shipped["write_skeleton"].file.parent == SHIPPED
    assert own.digest() != Prompts.load().digest()
    assert own.digest(["fix"]) == Prompts.load().digest(["fix"])


def test_own_prompt_with_other_inputs_is_refused_before_anything_is_asked(tmp_path: Path) -> None:
    file_of(tmp_path, "name: fix\ninputs: [goal]", "Fix {{ goal }}!\n")
    with pytest.raises(ConfigError, match="'fix' takes goal") as refused:
        Prompts.load(tmp_path)
    assert refused.value.problems[0].file == str(tmp_path / "x.md")
    assert "is given: goal, file, source, problem" in refused.value.hint


def test_digest_is_of_the_exact_text(tmp_path: Path) -> None:
    digests = {parse_prompt(file_of(tmp_path, "version: 1", text)).digest for text in ("a", "a\n", "b")}
    assert len(digests) == 3


def test_front_matter_tells_tiers_and_the_schema_of_the_answer(tmp_path: Path) -> None:
    front = "tiers: [tiny, small]\noutput:\n  type: object\n  properties: {n: {type: integer}}"
    prompt = parse_prompt(file_of(tmp_path, front, "Say a number."))
    assert (prompt.name, prompt.tiers) == ("x", ("tiny", "small"))
    assert prompt.output == {"type": "object", "properties": {"n": {"type": "integer"}}}


@pytest.mark.parametrize(
    ("front", "body", "said", "line"),
    [
        ("name: x\ninputs: [a]", "{{b}}\n", "differ: a, b", 0),
        ("name: x\ninputs: [a]", "{{ a }\n", "no template", 5),
        ("name: x\ninptus: [a]", "text", "'inptus'.*inputs", 3),
        ("name: [", "text", "no YAML", 0),
        ("tiers: [huge]", "text", "'huge'", 2),
        ("output: {type: 3}", "text", "no JSON Schema", 2),
        ("output: 3", "text", "a JSON Schema is expected", 2),
        ("name: x", "{% include 'other.md' %}", "reads another template", 0),
    ],
)
def test_prompt_out_of_form_is_refused_with_its_line(
    tmp_path: Path, front: str, body: str, said: str, line: int
) -> None:
    file = file_of(tmp_path, front, body)
    with pytest.raises(ConfigError) as refused:
        parse_prompt(file)
    assert re.search(said, f"{refused.value} {refused.value.hint}", re.DOTALL)
    assert refused.value.problems[0].file == str(file)
    assert not line or refused.value.problems[0].line == line


def test_file_without_front_matter_is_refused(tmp_path: Path) -> None:
    for raw, said in ((b"no front matter", "front matter"), (b"---\nname: \xff\n---\n", "UTF-8")):
        (tmp_path / "x.md").write_bytes(raw)
        with pytest.raises(ConfigError, match=said):
            parse_prompt(tmp_path / "x.md")


def test_all_mistakes_of_a_folder_are_told_at_once(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.md").write_text("---\nname: same\n---\n{{x}}")
    with pytest.raises(ConfigError) as refused:
        Prompts.load(tmp_path)
    assert len(refused.value.problems) == 3


def test_template_reaches_nothing_but_its_inputs(tmp_path: Path) -> None:
    body = "{{ goal.__class__.__mro__[1].__subclasses__() }}"
    prompt = parse_prompt(file_of(tmp_path, "inputs: [goal]", body))
    with pytest.raises(ConfigError, match="cannot be rendered"):
        prompt.render(goal="x")


def test_unknown_prompt_names_the_nearest() -> None:
    with pytest.raises(UnknownName):
        Prompts.load()["write_modul"]
