"""Each specialist hands back files that were checked, says what was not, and ends."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.unit.agents.fakes import FakeContext
from tests.unit.agents.test_page_rules import PAGE

from treadle.agents import specialists
from treadle.agents.ask import Asker
from treadle.agents.desk import Desk, Made
from treadle.agents.prompt import Prompts
from treadle.agents.workbench import FolderWorkbench
from treadle.domain.messages import Image, ModelRequest
from treadle.domain.plan import PlannedTask
from treadle.errors import ConfigError
from treadle.models.adapters.scripted import ScriptedModel
from treadle.sandboxes.choose import open_sandbox

SOUND = PAGE.replace("about.html", "#menu").replace('<img src="cup.png" alt="A cup">', "")


class Working:
    """A desk with a model that gives its answers in turn; the last one stays."""

    def __init__(self, bench: FolderWorkbench) -> None:
        self.bench = bench
        self.ctx = FakeContext()
        self.answers: list[str] = []
        self.model = ScriptedModel(self.answer)

    def answer(self, request: ModelRequest) -> str:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    async def __call__(self, task: PlannedTask, goal: str, *answers: str, **fields: Any) -> Made:
        self.answers = list(answers)
        asker = Asker(self.ctx, self.model, "m")  # type: ignore[arg-type]
        desk = Desk(self.ctx, asker, Prompts.load(), self.bench, goal, **fields)  # type: ignore[arg-type]
        return await specialists.work(task, desk)


@pytest.fixture
async def working(tmp_path: Path) -> Working:
    return Working(FolderWorkbench(await open_sandbox(tmp_path, backend="none")))


def task(kind: str = "module", **fields: Any) -> PlannedTask:
    return PlannedTask("t1", "Make it", kind=kind, **fields)  # type: ignore[arg-type]


def test_everyone_names_prompts_that_are_there() -> None:
    prompts = Prompts.load()
    for specialist in specialists.all_specialists().values():
        assert prompts.digest(specialist.prompts)


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"kind": "service"}, "service"),
        ({"kind": "page"}, "ui_design"),
        ({"kind": "document"}, "documentation"),
        ({"specialist": "code_embedded"}, "code_embedded"),
        ({"specialist": "code_vision"}, "code_vision"),
        ({"files": ("run.sh",)}, "code_general"),
        ({"files": ("a.py",)}, None),
        ({"kind": "change"}, None),
    ],
)
def test_work_finds_its_specialist(fields: Mapping[str, Any], name: str | None) -> None:
    found = specialists.maker_of(task(**{"kind": "module", **fields}))
    assert (found and found.name) == name


async def test_a_page_is_corrected_until_the_rules_find_nothing(working: Working) -> None:
    broken = SOUND.replace('<label for="name">Name</label>', "")
    made = await working(task("page", files=("index.html",)), 'Say "Tea house"', f"```html\n{broken}```", SOUND)
    assert (made.problem, list(made.files)) == ("", ["index.html"])
    assert "a form control (name) has no <label>" in working.model.requests[1].messages[-1].content
    assert any("was not looked at: the model 'm' does not see" in said for said in made.checked)


async def test_a_page_leaves_its_styles_where_the_task_wants_them(working: Working) -> None:
    made = await working(task("page", files=("site/index.html", "site/style.css")), "A tea house", SOUND)
    assert sorted(made.files) == ["site/index.html", "site/style.css"]
    assert '<link rel="stylesheet" href="style.css">' in made.files["site/index.html"]
    assert made.problem == ""


async def test_a_page_that_stays_wrong_says_what_is_wrong(working: Working) -> None:
    made = await working(task("page"), 'Say "Coffee"', SOUND, rounds=1)
    assert "does not say 'Coffee'" in made.problem
    assert len(working.model.requests) == 2


FILES = {"shop.py": "def price(cents):\n    ...\n"}


async def test_a_document_with_an_untruth_goes_back(working: Working) -> None:
    wrong = "# Shop\n\nCall `discount(5)`.\n"
    made = await working(task("document"), "Document it", wrong, "# Shop\n\nCall `price(5)`.\n", files=FILES)
    assert made.files == {"README.md": "# Shop\n\nCall `price(5)`.\n"}
    assert "there is no discount" in working.model.requests[1].messages[-1].content


async def test_what_stays_untrue_in_a_document_is_cut_out(working: Working) -> None:
    text = "# Shop\n\nPrices are in cents. Call `price(5)` to see one.\n\n"
    text += "Call `discount(5)`.\n\n```python\nimport nothing\n\nx = 1\n```\n"
    made = await working(task("document"), "Document it", text, rounds=1, files=FILES)
    assert made.problem == ""
    assert made.files["README.md"] == "# Shop\n\nPrices are in cents. Call `price(5)` to see one.\n"
    assert any("2 sentences and blocks" in said for said in made.checked)


async def test_c_is_compiled_and_malloc_refused(working: Working) -> None:
    bad, leaky = "int f(void) { return x; }\n", "#include <stdlib.h>\nvoid *f(void) { return malloc(4); }\n"
    good = "#include <stdint.h>\nuint8_t f(void) { return 1; }\n"
    answers = [f"```c\n{code}```" for code in (bad, leaky, good)]
    made = await working(task(specialist="code_embedded", files=("f.c",)), "C code for an STM32", *answers)
    assert (made.problem, made.files["f.c"]) == ("", good)
    shown = [request.messages[-1].content for request in working.model.requests]
    assert "malloc is not for a small device" in shown[-1]
    assert "the code was not run on a device" in made.checked
    if not any("was not checked" in said for said in made.checked):
        assert "undeclared" in shown[1]


async def test_a_header_of_the_vendor_is_no_mistake(working: Working) -> None:
    code = '#include "board_vendor.h"\nvoid f(void) {}\n'
    made = await working(task(specialist="code_embedded", files=("f.c",)), "firmware", f"```c\n{code}```")
    assert made.problem == ""
    assert any("was not checked" in said for said in made.checked)


async def test_micropython_has_only_its_own_modules(working: Working) -> None:
    good = "import machine\nPIN = 2\nled = machine.Pin(PIN)\n"
    answers = ["```python\nimport RPi.GPIO\n```", f"```python\n{good}```"]
    made = await working(task(specialist="code_embedded", files=("main.py",)), "MicroPython blink", *answers)
    assert made.files["main.py"] == good
    assert "there is no module RPi in MicroPython" in working.model.requests[1].messages[-1].content


IMAGES = {"a/plan.png": Image("image/png", b"\x89PNG"), "other.png": Image("image/png", b"x")}


async def test_pictures_are_shown_to_a_model_that_sees_and_told_on(working: Working) -> None:
    seeing = task("page", specialist="code_vision", files=("index.html",))
    made = await working(seeing, "Make plan.png a page", "A sign: Tea house", SOUND, images=IMAGES, sees=True)
    assert made.problem == ""
    first, second = working.model.requests
    assert first.messages[-1].images == (IMAGES["a/plan.png"],)
    assert "What a/plan.png shows:\nA sign: Tea house" in second.messages[-1].content
    assert b"sha256:" in working.ctx.journal["see.0"][0]  # the journal holds no pictures


@pytest.mark.parametrize(("images", "said"), [({}, "there is none among its files"), (IMAGES, "does not see")])
async def test_without_pictures_or_eyes_nothing_is_asked(working: Working, images: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        await working(task("page", specialist="code_vision"), "Make plan.png", "x", images=images)
    assert working.model.requests == []


async def test_why_work_was_sent_back_is_told_to_whoever_makes_it_again(working: Working) -> None:
    await working(task("page"), "A tea house", SOUND, problem="The menu is missing.")
    assert "An earlier version was sent back:\n\nThe menu is missing." in working.model.requests[0].messages[-1].content
