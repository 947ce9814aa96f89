"""A plan is written for people, comes back as it was, and its mistakes are told all at once, each with its line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from treadle.domain.plan import Estimate, Plan, PlannedTask
from treadle.errors import ConfigError, NotFound, UsageError
from treadle.services.plan_file import PlanFile, plan_text, read_plan, write_plan

PLAN = Plan(
    goal="Track prices:\n\n- add ITEM\n- list",
    english="",
    intent="Track prices",
    constraints=("no: network", "yes"),
    done=("`list` shows 'all' # of them",),
    assumptions=("prices are in cents",),
    questions=("Which shop?",),
    tasks=(
        PlannedTask(
            "t1",
            "Write prices.py: keep prices",
            files=("prices.py", "test_prices.py"),
            done=("It keeps them",),
            brief={"goal": "prices.py keeps prices.\nIn cents.", "part_of": "Track prices:\n\n- add ITEM\n- list"},
            complexity="simple",
            why="module, examples",
            tier="tiny",
        ),
        PlannedTask("t2", "Guide", "document", "documentation", needs=("t1",), complexity="complex", why="on: off"),
    ),
)


def file_of(folder: Path, text: str) -> Path:
    file = folder / "plan.yaml"
    file.write_text(text)
    return file


def test_plan_comes_back_as_it_was_written(tmp_path: Path) -> None:
    written = PlanFile(PLAN, check="make test", repo="/r", model="m", provider="scripted:x.json", tier="tiny")
    write_plan(written, tmp_path / "a" / "plan.yaml")
    assert read_plan(tmp_path / "a" / "plan.yaml") == written


_texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1, max_size=30).filter(
    lambda text: text == " ".join(text.split())
)


@settings(max_examples=60)
@given(goal=_texts, title=_texts, done=st.lists(_texts, max_size=2), lines=st.lists(_texts, min_size=1, max_size=3))
def test_no_text_is_changed_by_the_file(goal: str, title: str, done: list[str], lines: list[str]) -> None:
    import tempfile

    task = PlannedTask("t1", title, done=tuple(done), brief={"goal": "\n".join(lines), "part_of": goal}, why="x")
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "plan.yaml"
        write_plan(PlanFile(Plan(goal, tasks=(task,), done=tuple(done))), place)
        assert read_plan(place).plan == Plan(goal, tasks=(task,), done=tuple(done))


def test_file_says_what_can_be_changed_and_what_tasks_take() -> None:
    task = PlannedTask("t1", "x", estimate=Estimate(4_500, 225.0, 0.02))
    text = plan_text(PlanFile(Plan("g", tasks=(task,), questions=("Who?",))), Path("p.yaml"))
    assert text.startswith("# A plan of 1 task. Change it, then start it: treadle run p.yaml\n")
    assert "complexity: medium  # about 4,500 tokens, 225 s, $0.0200" in text
    assert "# What should be answered first" in text


def test_task_that_says_nothing_of_its_complexity_is_rated_anew(tmp_path: Path) -> None:
    tasks = read_plan(
        file_of(tmp_path, "goal: g\ntasks:\n- {id: a, title: x}\n- {id: b, title: y, complexity: simple}")
    ).plan.tasks
    assert [task.why for task in tasks] == ["", "the plan says so"]
    assert [task.specialist for task in tasks] == ["code_general"] * 2


MISTAKES = """\
goal: x
taks: []
tasks:
  - id: t1
    title: one
    kind: modul
    needs: [t2]
  - id: t2
    title: two
    needs: [t1]
    files: [../x.py]
  - id: t1
    title: three
  - id: t3
    title: four
    needs: [t9]
    complexity: hard
    tier: huge
    done: [{a: b}]
"""


def test_all_mistakes_are_told_at_once_with_their_lines(tmp_path: Path) -> None:
    file = file_of(tmp_path, MISTAKES)
    with pytest.raises(ConfigError) as refused:
        read_plan(file)
    said = str(refused.value)
    for line, part in (
        (2, "There is no key 'taks' here"),
        (6, "'modul' is not known"),
        (4, "Two tasks are called 't1'"),
        (8, "may not write '../x.py'"),
        (14, "needs 't9', which is no task of the plan"),
        (17, "'hard' is not known"),
        (18, "'huge' is not known"),
        (19, "text is expected"),
    ):
        assert re.search(rf"{re.escape(str(file))}:{line}: .*{re.escape(part)}", said), (line, part)


def test_tasks_that_wait_for_each_other_are_told_with_a_line(tmp_path: Path) -> None:
    file = file_of(tmp_path, "goal: g\ntasks:\n- {id: a, title: x, needs: [b]}\n- {id: b, title: y, needs: [a]}\n")
    with pytest.raises(ConfigError, match=r"plan.yaml:3: Tasks wait for each other: a -> b -> a"):
        read_plan(file)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no goal"),
        ("goal: x", "has no task"),
        ("goal: [", "no YAML"),
        ("- a", "mapping is expected"),
        ("goal: x\ntasks: 3", "mapping is expected"),
        ("goal: x\ntasks: [{id: a}]", "no id or no title"),
    ],
)
def test_file_that_is_no_plan_is_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        read_plan(file_of(tmp_path, text))


def test_missing_file_and_unwritable_place_are_told(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        read_plan(tmp_path / "none.yaml")
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot be written"):
        write_plan(PlanFile(PLAN), tmp_path / "file" / "plan.yaml")
