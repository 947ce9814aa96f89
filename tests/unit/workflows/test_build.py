"""A goal becomes a proved repository, or an honest report."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from builds import build, fenced, make_crew, scripted

from treadle.domain.messages import ModelReply, ModelRequest
from treadle.engine.orchestrator import Orchestrator
from treadle.engine.results import RunOptions
from treadle.errors import RunFailed
from treadle.models.adapters.scripted import ScriptedModel
from treadle.ports.model import OnDelta
from treadle.stores.memory import MemoryStore
from treadle.workflows import build_graph

GOAL = "slug.py with slugify(text) and tests"
GOOD = 'import re\n\n\ndef slugify(text):\n    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")\n'
BAD = "def slugify(text):\n    return text.lower()\n"
OTHER = 'def slugify(text):\n    return "-".join(text.lower().split())\n'
RIGHT = ["slugify('A b') == 'a-b'  # two words", "slugify('') == ''  # nothing", "slugify('x') == 'x'  # one letter"]
TESTS = fenced("".join(f"assert {line}\n" for line in RIGHT))
WRONG = fenced("".join(f"assert {line}\n" for line in [*RIGHT, "slugify('a') == 'b'  # wrong"]))


def run(command: str, folder: Path) -> str:
    """Run what a user would type."""
    return subprocess.run(command, shell=True, cwd=folder, capture_output=True, text=True, check=True).stdout


async def test_goal_becomes_a_repository_with_proved_tests(tmp_path: Path) -> None:
    crew = await make_crew(tmp_path, scripted([fenced(GOOD)], [TESTS]), sandbox="auto")
    state = await build(crew, GOAL, check="python -c \"import slug; assert slug.slugify('É') is not None\"")
    report = state["report"]
    assert (report["solved"], report["tests"], report["rounds"], report["dropped"]) == (True, 3, 0, [])
    assert report["coverage"] == {"slug.py": 1.0}
    out = tmp_path / "out"
    assert sorted(path.name for path in out.iterdir()) == [".git", "README.md", "slug.py", "test_slug.py"]
    assert (out / "slug.py").read_text() == GOOD
    said = run("git log --format=%s%n%b", out)
    assert "Add slug.py" in said
    assert "Treadle-Run: r1\nTreadle-Task: t1\nTreadle-Model: m\n" in said
    assert f"Treadle-Tokens: {state['tokens']}" in said
    assert "Treadle-Prompts: test_assertions@" in said and ", write_module@" in said
    assert "3 tests in test_slug.py failed on a stub of the code and pass on the code." in said
    run(f"{sys.executable} -m pytest -q -p no:cacheprovider -c /dev/null --rootdir=.", out)


async def test_wrong_test_is_dropped_when_two_versions_agree_against_it(tmp_path: Path) -> None:
    crew = await make_crew(tmp_path, scripted([fenced(GOOD), fenced(OTHER)], [WRONG]))
    state = await build(crew, GOAL)
    assert state["report"]["solved"]
    assert [test["name"] for test in state["report"]["dropped"]] == ["test_slugify_wrong"]
    assert "'b'" not in (tmp_path / "out" / "test_slug.py").read_text()


async def test_wrong_code_gives_way_to_a_second_version_that_passes(tmp_path: Path) -> None:
    crew = await make_crew(tmp_path, scripted([fenced(BAD), fenced(GOOD)], [TESTS]))
    state = await build(crew, GOAL)
    assert (state["report"]["solved"], state["report"]["rounds"]) == (True, 1)
    assert (tmp_path / "out" / "slug.py").read_text() == GOOD


async def test_failed_check_is_reflected_on_and_fixed(tmp_path: Path) -> None:
    model = scripted([fenced(OTHER)], [TESTS], [fenced(GOOD)])
    crew = await make_crew(tmp_path, model)
    state = await build(crew, GOAL, check="python -c \"import slug; assert slug.slugify('A!') == 'a', 'mark'\"")
    assert state["report"]["solved"]
    assert any("AssertionError: mark" in request.messages[-1].content for request in model.requests)


async def test_a_check_that_runs_the_tests_is_judged_with_the_tests(tmp_path: Path) -> None:
    crew = await make_crew(tmp_path, scripted([fenced(GOOD)], [TESTS]))
    report = (await build(crew, GOAL, check="python -m pytest -q"))["report"]
    assert report["solved"] and report["rounds"] == 0
    crew = await make_crew(tmp_path / "no", scripted([fenced(GOOD)], [TESTS]), max_rounds=1)
    assert not (await build(crew, GOAL, check="python -m pytest -q && false"))["report"]["solved"]


async def test_failure_leaves_no_repository_and_says_why_and_where(tmp_path: Path) -> None:
    crew = await make_crew(tmp_path, scripted([fenced(BAD)], [TESTS], [fenced(BAD)]), max_rounds=2)
    report = (await build(crew, GOAL, check="false"))["report"]
    assert not report["solved"]
    assert "check fails" in report["reason"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [".treadle"]
    run(report["see"], tmp_path)
    assert (tmp_path / "attempt" / "slug.py").read_text() == BAD


async def test_examples_of_the_goal_are_truth_that_no_agreement_overrules(tmp_path: Path) -> None:
    tests = fenced("assert slugify('A b') == 'a b'\nassert slugify('') == ''\nassert slugify('c D') == 'c d'\n")
    crew = await make_crew(tmp_path, scripted([fenced(BAD), fenced(GOOD)], [tests], [fenced(GOOD)]))
    state = await build(crew, GOAL + ", slugify('A b') == 'a-b'")
    assert state["report"]["solved"]
    assert (tmp_path / "out" / "slug.py").read_text() == GOOD
    assert "'a b'" not in (tmp_path / "out" / "test_slug.py").read_text()


async def test_prose_and_broken_code_are_handled_rounds(tmp_path: Path) -> None:
    model = scripted(["I cannot.", fenced("def slugify(:\n"), fenced(GOOD)], ["No tests today.", TESTS])
    state = await build(await make_crew(tmp_path, model), GOAL)
    assert (state["report"]["solved"], state["report"]["rounds"]) == (True, 2)


async def test_hollow_tests_are_dropped_and_zero_tests_are_no_success(tmp_path: Path) -> None:
    hollow = fenced("try:\n    pass\nfinally:\n    assert callable(slugify) or slugify('')\n")
    crew = await make_crew(tmp_path, scripted([fenced(GOOD)], [hollow]), max_rounds=1)
    report = (await build(crew, GOAL))["report"]
    assert not report["solved"]
    assert "No test" in report["reason"]
    assert not (tmp_path / "out").exists()


async def test_endless_code_ends(tmp_path: Path) -> None:
    endless = "def slugify(text):\n    while True:\n        pass\n"
    crew = await make_crew(
        tmp_path, scripted([fenced(endless), fenced(GOOD)], [TESTS], [fenced(GOOD)]), test_seconds=5.0
    )
    state = await build(crew, GOAL)
    assert state["report"]["solved"]


async def test_paths_of_a_goal_cannot_leave_the_workspace(tmp_path: Path) -> None:
    crew = await make_crew(tmp_path, scripted([fenced(GOOD)], [TESTS]))
    state = await build(crew, "write ../../evil.py with slugify(text)")
    assert not (tmp_path / "evil.py").exists()
    assert not any("/" in file for file in state["report"]["files"])


class Hanging:
    """A model whose process dies at its n-th call: it says that the call began, and never answers."""

    provider = "scripted"

    def __init__(self, inner: ScriptedModel, dies_at: int, run: list[Orchestrator]) -> None:
        self._inner, self._left, self._run = inner, dies_at, run

    async def reply(self, request: ModelRequest, *, on_delta: OnDelta | None = None) -> ModelReply:
        self._left -= 1
        if self._left == 0:
            raise ConnectionError("the power went out")
        return await self._inner.reply(request)

    async def close(self) -> None: ...


async def test_interrupted_build_goes_on_without_asking_again_though_its_files_are_gone(tmp_path: Path) -> None:
    model, store = scripted([fenced(BAD), fenced(GOOD)], [TESTS]), MemoryStore()
    for dies_at in (2, 2, 99):
        crew = await make_crew(tmp_path, Hanging(model, dies_at, []))
        orchestrator = Orchestrator(store)
        if await _is_new(store):
            await orchestrator.start(build_graph(crew), {"goal": GOAL}, options=RunOptions(run_id="r1"))
        else:
            orchestrator.add_graph(build_graph(crew))
            await orchestrator.retry("r1")
        try:
            state = await orchestrator.wait("r1")
        except RunFailed as error:
            assert "power" in str(error)
        shutil.rmtree(crew.workspace.folder)
    assert state["report"]["solved"]
    assert len({request.digest() for request in model.requests}) == len(model.requests) == 3


async def _is_new(store: MemoryStore) -> bool:
    return not await store.runs()


async def test_version_that_comes_with_the_tests_is_a_second_one_for_nothing(tmp_path: Path) -> None:
    model = scripted([fenced(BAD)], [fenced(GOOD + "\n" + "".join(f"assert {line}\n" for line in RIGHT))])
    state = await build(await make_crew(tmp_path, model), GOAL)
    assert (state["report"]["solved"], state["report"]["rounds"], len(model.requests)) == (True, 0, 2)
    assert (tmp_path / "out" / "slug.py").read_text() == GOOD


async def test_no_tests_are_written_for_code_that_fails_the_examples(tmp_path: Path) -> None:
    model = scripted([fenced(BAD)], [TESTS], [fenced(BAD)])
    report = (await build(await make_crew(tmp_path, model, max_rounds=2), GOAL + ", slugify('A b') == 'a-b'"))["report"]
    assert not report["solved"]
    assert not any("Write 6 asserts" in request.messages[-1].content for request in model.requests)
