"""The coordinator returns only what passes together, and says who could not be in it, and why."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from fakes import FakeContext

from treadle.agents.ask import Asker
from treadle.agents.merge_plan import Branch, Merged, first_bad, in_order
from treadle.agents.merger import merge_all
from treadle.agents.prompt import Prompts
from treadle.models.adapters.embedded import EmbeddedModel
from treadle.models.adapters.scripted import ScriptedModel
from treadle.settings import load_settings
from treadle.workspace import CommitNote, History, Workspace

BASE = "LIMIT = 1\n\n\ndef first():\n    return 1\n"


def function(name: str, value: object) -> str:
    return f"\n\ndef {name}():\n    return {value}\n"


class Job:
    """A run with branches, whose tests are what tasks expect of `m.py` and of its other files."""

    def __init__(self, workspace: Workspace, base: str) -> None:
        self.workspace = workspace
        self.base = base
        self.history = History(workspace.snapshots, "run-1")
        self.expected: dict[str, str] = {}
        self.proved: list[tuple[str, ...]] = []
        self.journal: dict[str, tuple[bytes, bytes]] = {}
        self.model: Any = ScriptedModel([])

    @classmethod
    async def begin(cls, folder: Path, files: dict[str, str | None] | None = None) -> Job:
        workspace = await Workspace.open(folder, "run-1")
        tree = await workspace.write(await workspace.empty(), files or {"m.py": BASE, "n.py": "N = 1\n"})
        return cls(workspace, await History(workspace.snapshots, "run-1").begin(tree))

    async def branch(
        self, task: str, files: dict[str, str | None], expected: str = "True", needs: Sequence[str] = ()
    ) -> Branch:
        """What a task made on top of the base, and an expression over all names that its tests come down to."""
        tree = await self.workspace.write(await self.history.tree(self.base), files)
        self.expected[task] = expected
        note = CommitNote("run-1", f"Do {task}", when=100 + len(self.expected))
        commit = await self.history.commit(tree, note, [self.base], branch=task)
        return Branch(task, commit, f"What {task} does", tuple(needs))

    async def prove(self, tree: str, tasks: Sequence[str]) -> str:
        self.proved.append(tuple(tasks))
        scope: dict[str, Any] = {}
        for path in await self.workspace.snapshots.files(tree):
            if path.endswith(".py"):
                try:
                    exec(await self.workspace.read(tree, path) or "", scope)
                except SyntaxError as error:
                    return str(error)
        for task in tasks:
            try:
                if not eval(self.expected[task], scope):
                    return f"The tests of {task} fail."
            except NameError as error:
                return f"The tests of {task} fail: {error}"
        return ""

    async def merge(
        self, branches: Sequence[Branch], *, ask: bool = True, taken: Sequence[str] = (), name: str = "m"
    ) -> Merged:
        ctx: Any = FakeContext(journal=self.journal)
        asker = Asker(ctx, self.model, name) if ask else None
        prompts = Prompts.load()
        return await merge_all(
            branches,
            self.base,
            history=self.history,
            ctx=ctx,
            prompts=prompts,
            prove=self.prove,
            asker=asker,
            taken=taken,
        )

    async def text(self, merged: Merged, path: str = "m.py") -> str:
        return await self.workspace.read(merged.tree, path) or ""


@pytest.fixture
async def job(tmp_path: Path) -> Job:
    return await Job.begin(tmp_path)


async def test_functions_of_three_tasks_in_one_file_come_together_without_a_model(job: Job) -> None:
    branches = [await job.branch(f"t{n}", {"m.py": BASE + function(f"f{n}", n)}, f"f{n}() == {n}") for n in (1, 2, 3)]
    merged = await job.merge(branches, ask=False)
    assert merged.merged == ("t1", "t2", "t3") and not merged.left
    assert [(one.task, one.by, one.path) for one in merged.conflicts] == [
        ("t2", "rule", "m.py"),
        ("t3", "rule", "m.py"),
    ]
    log = await job.history.log(merged.commit)
    assert [len(recorded.parents) for recorded in log] == [0, 1, 1, 2, 1, 2]
    assert "Treadle-Task: t3\nTreadle-Merge: rule" in log[-1].message and log[-1].when == 103


async def test_one_branch_is_taken_as_it_is_and_unproved(job: Job) -> None:
    branch = await job.branch("t1", {"m.py": "A = 1\n"})
    merged = await job.merge([branch])
    assert (merged.commit, merged.merged, job.proved) == (branch.commit, ("t1",), [])
    assert (await job.merge([])).commit == job.base


async def test_a_model_combines_what_rules_cannot_and_only_what_passes_counts(job: Job) -> None:
    one = await job.branch("t1", {"m.py": BASE.replace("return 1", "return 1 + 1")}, "first() % 10 == 2")
    two = await job.branch("t2", {"m.py": BASE.replace("return 1", "return 1 * 10")}, "first() >= 10")
    job.model = ScriptedModel(
        ["```python\n    return (\n```", "```python\n    return 1\n```", "```\n    return 12\n```"]
    )
    merged = await job.merge([one, two])
    assert "return 12\n" in await job.text(merged) and merged.conflicts[0].by == "model"
    asked = [request.messages[-1].content for request in job.model.requests]
    assert len(asked) == 3 and "What t1 does" in asked[0] and "return 1 * 10" in asked[0]
    assert "cannot be read" in asked[1] and "The tests of t1 fail." in asked[2]
    said = (await job.history.log(merged.commit))[-1].message
    assert "Treadle-Model: m\nTreadle-Prompts: merge_hunk@" in said and "Treadle-Merge: model" in said


async def test_after_a_crash_no_question_and_no_proof_is_repeated(job: Job) -> None:
    one = await job.branch("t1", {"m.py": BASE.replace("return 1", "return 2")}, "first() > 1")
    two = await job.branch("t2", {"m.py": BASE.replace("return 1", "return 3")}, "first() > 2")
    job.model = ScriptedModel(["```python\n    return 1\n```", RuntimeError("killed")])
    with pytest.raises(RuntimeError, match="killed"):
        await job.merge([one, two])
    proved = len(job.proved)
    job.model = ScriptedModel(["```python\n    return 3\n```"])
    first = await job.merge([one, two])
    assert len(job.model.requests) == 1 and len(job.proved) == proved + 1
    assert await job.merge([one, two]) == first and len(job.proved) == proved + 1


async def test_without_an_answer_versions_are_tried_until_one_passes(job: Job) -> None:
    one = await job.branch("t1", {"m.py": BASE.replace("return 1", "return 5")}, "first() > 4")
    two = await job.branch("t2", {"m.py": BASE.replace("return 1", "return 9")}, "first() > 8")
    merged = await job.merge([one, two], ask=False)
    assert "return 9\n" in await job.text(merged)
    assert [(one.by, one.said) for one in merged.conflicts] == [("guess", "swapped")]


async def test_words_of_both_sides_are_put_together_and_proved(job: Job) -> None:
    one = await job.branch("t1", {"m.py": BASE.replace("return 1", "return 1 + 1")}, "first() > 2")
    two = await job.branch("t2", {"m.py": BASE.replace("return 1", "return 1 * 10")}, "first() == 11")
    merged = await job.merge([one, two])
    assert "return 1 * 10 + 1\n" in await job.text(merged) or "return 1 + 1 * 10\n" in await job.text(merged)
    assert merged.conflicts[0].by == "guess" and not job.model.requests
    assert "Treadle-Merge: guess" in (await job.history.log(merged.commit))[-1].message


async def test_two_tasks_that_undo_each_other_are_named(job: Job) -> None:
    one = await job.branch("t1", {"m.py": BASE.replace("LIMIT = 1", "LIMIT = 5")}, "LIMIT == 5")
    two = await job.branch("t2", {"m.py": BASE.replace("LIMIT = 1", "LIMIT = 9")}, "LIMIT == 9")
    job.model = ScriptedModel(lambda request: "```python\nLIMIT = 7\n```")
    merged = await job.merge([one, two])
    assert (merged.merged, merged.culprit, merged.left[0].clash) == (("t1",), "t2", ("t1",))
    assert "t2 and t1 change the same part of m.py" in merged.problem and "tests of" in merged.problem
    assert Merged.of(merged.plain()) == merged


async def test_a_task_done_again_on_top_must_not_undo_what_is_there(job: Job) -> None:
    one = await job.branch("t1", {"m.py": BASE.replace("LIMIT = 1", "LIMIT = 5")}, "LIMIT == 5")
    job.base = (await job.merge([one])).commit
    two = await job.branch("t2", {"m.py": BASE.replace("LIMIT = 1", "LIMIT = 9")}, "LIMIT == 9")
    three = await job.branch("t3", {"n.py": "N = 3\n"}, "N == 3")
    merged = await job.merge([two, three], taken=["t1"])
    assert (merged.merged, merged.culprit, merged.left[0].clash) == (("t3",), "t2", ("t1",))
    assert merged.problem == "t2 passes by itself, and fails together with t1: The tests of t1 fail."


async def test_what_breaks_without_a_conflict_is_found_by_bisection(job: Job) -> None:
    branches = [await job.branch(f"t{n}", {f"f{n}.py": f"F{n} = {n}\n"}, f"F{n} == {n}") for n in range(1, 7)]
    branches[1] = await job.branch("t2", {"a2.py": "A = 2\n"}, "A == 2")
    branches[4] = await job.branch("t5", {"z5.py": "A = 5\n"}, "A == 5")
    merged = await job.merge(branches, ask=False)
    assert merged.merged == ("t1", "t2", "t3", "t4", "t6")
    assert (merged.culprit, merged.left[0].clash) == ("t5", ("t2",))
    assert "passes by itself, and fails together with t2" in merged.problem
    assert len(job.proved) <= 10


async def test_a_branch_that_fails_by_itself_is_not_blamed_on_others(job: Job) -> None:
    branches = [await job.branch(f"t{n}", {f"f{n}.py": f"F{n} = {n}\n"}, f"F{n} == {n}") for n in (1, 2)]
    branches.append(await job.branch("t3", {"f3.py": "F3 = 0\n"}, "F3 == 3"))
    merged = await job.merge(branches, ask=False)
    assert (merged.merged, merged.culprit, merged.left[0].clash) == (("t1", "t2"), "t3", ())


async def test_a_conflict_is_not_blamed_for_what_was_broken_before_it(job: Job) -> None:
    one = await job.branch("t1", {"a.py": "A = 1\n"}, "A == 1")
    two = await job.branch("t2", {"b.py": "A = 2\n", "m.py": BASE + function("f", 1)}, "A == 2")
    three = await job.branch("t3", {"m.py": BASE + function("g", 2)}, "g() == 2")
    merged = await job.merge([one, two, three], ask=False)
    assert merged.merged == ("t1", "t3") and [left.task for left in merged.left] == ["t2"]


async def test_what_is_no_text_is_left_out_with_the_reason(job: Job) -> None:
    one = await job.branch("t1", {"logo.bin": "\0one"})
    two = await job.branch("t2", {"logo.bin": "\0two"})
    three = await job.branch("t3", {"n.py": "N = 3\n"}, "N == 3", needs=["t2"])
    merged = await job.merge([one, three, two], ask=False)
    assert merged.merged == ("t1",) and [left.task for left in merged.left] == ["t2", "t3"]
    assert "logo.bin cannot be merged: it is not text" in merged.problem
    assert merged.left[1].problem == "It needs t2, which is not there."


async def test_a_file_that_one_side_removed_and_the_other_changed_is_kept_if_that_passes(job: Job) -> None:
    one = await job.branch("t1", {"n.py": None}, "LIMIT == 1")
    two = await job.branch("t2", {"n.py": "N = 2\n"}, "N == 2")
    merged = await job.merge([one, two], ask=False)
    assert await job.text(merged, "n.py") == "N = 2\n" and merged.conflicts[0].kind == "modify/delete"
    one = await job.branch("t1", {"n.py": None}, "'N' not in globals()")
    three = await job.branch("t3", {"n.py": "N = 2\n"}, "True")
    job.journal.clear()
    merged = await job.merge([one, three], ask=False)
    assert "n.py" not in await job.workspace.snapshots.files(merged.tree)


def test_branches_are_merged_in_the_order_of_their_needs() -> None:
    branches = [Branch("c", "", needs=("b",)), Branch("a", "", needs=("z",)), Branch("b", "", needs=("a",))]
    assert [branch.task for branch in in_order(branches)] == ["a", "b", "c"]
    circle = [Branch("a", "", needs=("b",)), Branch("b", "", needs=("a",))]
    assert len(in_order(circle)) == 2


async def test_bisection_asks_few_questions() -> None:
    for bad in range(16):
        asked = []

        async def is_bad(number: int) -> bool:
            asked.append(number)  # noqa: B023  # called within the loop only
            return number >= bad  # noqa: B023

        assert await first_bad(16, is_bad) == bad and len(asked) <= 4


@pytest.mark.model
@pytest.mark.slow
async def test_a_small_real_model_settles_what_it_can_and_spoils_nothing(tmp_path: Path) -> None:
    old = "def powers(items):\n    out = []\n    for item in items:\n        out.append(item * item)\n    return out\n"
    job = await Job.begin(tmp_path, {"m.py": old})
    anew = "def powers(items):\n    return tuple(item * item for item in items)\n"
    one = await job.branch("t1", {"m.py": anew}, "powers([1, 2]) == (1, 4)")
    two = await job.branch("t2", {"m.py": old.replace("in items:", "in items or []:")}, "not powers(None)")
    job.model = EmbeddedModel(load_settings(tmp_path).model)
    try:
        merged = await job.merge([one, two], name="qwen2.5-coder:0.5b")
    finally:
        await job.model.close()
    assert not await job.prove(merged.tree, merged.merged)
    assert merged.merged == ("t1", "t2") or (merged.merged, merged.culprit) == (("t1",), "t2")
