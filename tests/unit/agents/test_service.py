"""A service works, and its generated tests can fail. Run for real, over sockets and a database file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.unit.agents.fakes import FakeContext
from tests.unit.agents.test_review_rules import diff_of

from treadle.agents import specialists
from treadle.agents.ask import Asker
from treadle.agents.desk import Desk, Made
from treadle.agents.diffs import read_diff
from treadle.agents.prompt import Prompts
from treadle.agents.review_rules import find_faults
from treadle.agents.service.brief import make_service_brief
from treadle.agents.service.cases import cases_by_rule, header
from treadle.agents.service.functions import assemble, own_function
from treadle.agents.service.shape import ServiceBrief
from treadle.agents.testcases import render_tests
from treadle.agents.trial import Outcome
from treadle.agents.workbench import FolderWorkbench
from treadle.domain.messages import ModelRequest
from treadle.domain.plan import PlannedTask
from treadle.errors import UnknownName
from treadle.models.adapters.scripted import ScriptedModel
from treadle.sandboxes.choose import open_sandbox, probe

NOTES = (
    "HTTP service notes_api.py: POST /notes {title, body, stars (integer, at least 1), pinned} creates a note, the "
    "title is unique; GET /notes, GET /notes/{id}, PUT /notes/{id}, DELETE /notes/{id}"
)
BANK = (
    "HTTP service bank.py: POST /accounts {owner, balance (number, default 0)}, GET /accounts/{id}, "
    "POST /accounts/{id}/withdraw {amount} takes the amount off the balance and returns the account, unless there is "
    "less (409)"
)
WITHDRAW = """def withdraw_account(db, account_id, body):
    account = fetch(db, "accounts", account_id)
    amount = one_checked("amount", {"type": float, "required": True}, body.get("amount"))
    if amount > account["balance"]:
        raise ApiError(409, "not enough")
    return change(db, "accounts", account_id, {"balance": account["balance"] - amount})
"""
CRASHING = WITHDRAW.replace('account["balance"] - amount', 'account["blance"] - amount')
TEST = """def test_withdraw_account(tmp_path):
    call = service(tmp_path)
    status, account = call("POST", "/accounts", {"owner": "ann", "balance": 10})
    status, value = call("POST", f"/accounts/{account['id']}/withdraw", {"amount": 4})
    assert (status, value["balance"]) == (200, 6)
"""
WRONG_TEST = TEST.replace("(200, 6)", "(200, 14)")


def fenced(code: str) -> str:
    return f"```python\n{code}```"


class Making:
    """A specialist with a scripted model and a real folder."""

    def __init__(self, bench: FolderWorkbench) -> None:
        self.bench = bench
        self.ctx = FakeContext()
        self.model = ScriptedModel(self.answer)
        self.code = [WITHDRAW]
        self.test = TEST

    def answer(self, request: ModelRequest) -> str:
        if "Complete this test" in request.messages[-1].content:
            return fenced(self.test)
        return fenced(self.code.pop(0) if len(self.code) > 1 else self.code[0])

    async def __call__(self, goal: str, **fields: Any) -> Made:
        asker = Asker(self.ctx, self.model, "m")  # type: ignore[arg-type]
        desk = Desk(self.ctx, asker, Prompts.load(), self.bench, goal, **fields)  # type: ignore[arg-type]
        return await specialists.work(PlannedTask("t1", "Make it", kind="service"), desk)

    async def brief(self, goal: str) -> ServiceBrief:
        return await make_service_brief(goal, Asker(self.ctx, self.model, "m"), Prompts.load())  # type: ignore[arg-type]

    async def run(self, brief: ServiceBrief, mistakes: Mapping[str, str] | None = None) -> Outcome:
        """Run the tests by rule on a plain service into which mistakes were put."""
        source = assemble(brief, {})
        for right, wrong in (mistakes or {}).items():
            assert right in source
            source = source.replace(right, wrong)
        tests = render_tests(header(brief), cases_by_rule(brief))
        return await self.bench.run_tests({brief.file: source, brief.test_file: tests}, brief.test_file)


@pytest.fixture
async def making(tmp_path: Path) -> Making:
    return Making(FolderWorkbench(await open_sandbox(tmp_path, backend="none"), seconds=60))


async def test_a_plain_service_needs_no_model_and_its_tests_prove_it(making: Making) -> None:
    made = await making(NOTES)
    assert made.problem == ""
    assert making.model.requests == []
    assert sorted(made.files) == ["README.md", "notes_api.py", "test_notes_api.py"]
    names = {case.name for case in made.tests}
    assert {"test_make_note", "test_note_is_kept_over_a_restart", "test_note_low_stars_is_400"} <= names
    diff = "".join(diff_of(path, text) for path, text in made.files.items())
    assert (
        find_faults(read_diff(diff), made.files, may_touch=("notes_api.py", "README.md")) == []
    )  # a review has it pass
    assert {"test_note_same_title_is_409", "test_delete_note", "test_program_serves_over_loopback"} <= names


@pytest.mark.parametrize(
    "broken",
    [
        {'db.execute("COMMIT")': ("pass", "test_note_is_kept_over_a_restart")},
        {
            'raise ApiError(404, f"no such row': ('raise KeyError(f"no such row', "test_unknown_note_is_404"),
            '"minimum": 1': ('"minimum": 0', "test_note_low_stars_is_400"),
            " UNIQUE": ("", "test_note_same_title_is_409"),
            "raise ApiError(405": ("raise ApiError(404", "test_wrong_method_is_405"),
        },
    ],
)
async def test_tests_by_rule_see_what_breaks(making: Making, broken: dict[str, tuple[str, str]]) -> None:
    outcome = await making.run(await making.brief(NOTES), {right: wrong for right, (wrong, _) in broken.items()})
    assert {test for _, test in broken.values()} <= set(outcome.failed)


async def test_what_is_not_plain_is_written_tested_and_corrected(making: Making) -> None:
    making.code = [CRASHING, WITHDRAW]
    made = await making(BANK)
    assert made.problem == ""
    assert [case.name for case in made.tests if case.origin == "model"] == ["test_withdraw_account"]
    fix = next(r.messages[-1].content for r in making.model.requests if "That is wrong" in r.messages[-1].content)
    assert "KeyError: 'blance'" in fix
    assert "def do_GET" not in fix  # the frame is none of the model's business
    asked = len(making.model.requests)
    assert (await making(BANK)).as_dict() == made.as_dict()  # entered again: nothing is asked or run twice
    assert len(making.model.requests) == asked


async def test_a_row_is_answered_as_it_is_after_the_change(making: Making) -> None:
    brief = await making.brief(BANK)
    [route] = brief.custom
    stale = WITHDRAW.replace("return change", "change") + "    return account\n"
    assert "    account = change(db" in own_function(brief, route, "import os\n\n" + stale)


async def test_what_a_route_answers_must_be_what_is_stored_and_sums_are_checked(making: Making) -> None:
    names = [case.name for case in cases_by_rule(await making.brief(BANK))]
    assert "test_withdraw_account_answers_what_is_stored" in names
    assert "test_withdraw_account_changes_balance" in names
    making.code = ['def withdraw_account(db, account_id, body):\n    return {"balance": 5}\n']
    made = await making(BANK, rounds=0)
    assert "test_withdraw_account_answers_what_is_stored" in made.problem


async def test_a_test_that_the_code_fails_for_good_is_dropped_and_that_is_said(making: Making) -> None:
    making.test = WRONG_TEST
    making.code = [WITHDRAW, WITHDRAW.replace("not enough", "too little")]
    made = await making(BANK, rounds=2)
    assert made.problem == ""
    assert [name for name, _ in made.dropped] == ["test_withdraw_account"]
    assert "POST /accounts/{id}/withdraw answers; a test of what it gives was dropped" in made.checked


async def test_a_service_that_never_works_says_why_and_ends(making: Making) -> None:
    making.code = [CRASHING]
    made = await making(BANK, rounds=1)
    assert "KeyError: 'blance'" in made.problem
    assert len(making.model.requests) == 3  # the test, the first version, and one round


async def test_without_sockets_the_generated_tests_still_run(tmp_path: Path) -> None:
    found = {backend.name: backend for backend in await probe()}["landlock"]
    if not found.ok:
        pytest.skip(f"no landlock here: {found.why}")
    making = Making(FolderWorkbench(await open_sandbox(tmp_path, backend="landlock"), seconds=60))
    outcome = await making.run(await making.brief(NOTES))
    assert "test_make_note" in outcome.passed
    assert outcome.failed == {}
    assert "test_program_serves_over_loopback" not in outcome.passed  # skipped, and seen to be


async def test_kinds_with_loops_of_their_own_are_refused(making: Making) -> None:
    desk = Desk(making.ctx, Asker(making.ctx, making.model, "m"), Prompts.load(), making.bench, "x")  # type: ignore[arg-type]
    with pytest.raises(UnknownName, match="module"):
        await specialists.work(PlannedTask("t1", "x", kind="module"), desk)


async def test_sums_that_the_goal_spells_out_need_no_model(making: Making) -> None:
    goal = (
        "HTTP service shop.py: POST /products {name, count (integer)}; GET /products/{id}; "
        "POST /products/{id}/sell {count} takes pieces out of stock and answers the product; "
        "if there are not enough, the answer is 409. "
        "POST /products/{id}/restock {count} adds pieces."
    )
    made = await making(goal)
    assert (made.problem, making.model.requests) == ("", [])
    source = made.files["shop.py"]
    assert 'if product["count"] < count:\n        raise ApiError(409' in source
    assert 'return change(db, "products", product_id, {"count": product["count"] + count})' in source
    assert "test_sell_product_answers_what_is_stored" in {case.name for case in made.tests}


SHORT = (
    'HTTP service short.py: POST /links {"url": "https://..."} answers 201 and {"code": "..."}; the same URL gets '
    "the same code again (then with 200). A url that does not begin with http:// or https:// is answered with 400. "
    'GET /links/CODE answers {"code", "url"}.'
)


@pytest.mark.parametrize(
    ("again", "refused", "failing"),
    [(200, 400, set()), (201, 400, {"test_create_link_same_again"}), (200, 409, {"test_create_link_url_begins_wrong"})],
)
async def test_what_a_goal_says_of_asking_again_and_of_beginnings_is_held(
    making: Making, again: int, refused: int, failing: set[str]
) -> None:
    brief = await making.brief(SHORT)
    code = (
        "def create_link(db, body):\n"
        '    url = one_checked("url", {"type": str, "required": True}, body.get("url"))\n'
        '    if not url.startswith("http"):\n'
        f'        raise ApiError({refused}, "no")\n'
        '    row = db.execute("SELECT code FROM links WHERE url = ?", (url,)).fetchone()\n'
        "    if row:\n"
        f'        return {again}, {{"code": row["code"]}}\n'
        '    insert(db, "links", {"url": url, "code": "c1"})\n'
        '    return {"code": "c1"}\n'
    )
    tests = render_tests(header(brief), cases_by_rule(brief))
    outcome = await making.bench.run_tests(
        {brief.file: assemble(brief, {"create_link": code}), brief.test_file: tests}, brief.test_file
    )
    assert set(outcome.failed) - {"test_create_link_without_url_is_400"} == failing
