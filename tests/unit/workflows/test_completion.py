"""A stub and its tests become a file on which they pass."""

from __future__ import annotations

from pathlib import Path

from builds import build, fenced, make_crew
from test_repair import CHECK, git

from treadle.domain.messages import ModelRequest
from treadle.models.adapters.scripted import ScriptedModel

STUB = 'LIMIT = 3\n\n\ndef shout(text):\n    """Say it loudly."""\n'
TEST = (
    "from loud import LIMIT, shout\n\n\n"
    "def test_upper():\n    assert shout('a') == 'A'\n\n\n"
    "def test_mark():\n    assert shout('a!') == 'A!' * LIMIT\n"
)
HALF = "def shout(text):\n    return text.upper()\n"
WHOLE = "def shout(text):\n    return text.upper() * (LIMIT if '!' in text else 1)\n"
GOAL = "`shout` makes a text loud; with a mark, LIMIT times."


def folder_with(tmp_path: Path, files: dict[str, str]) -> Path:
    folder = tmp_path / "exercise"
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_text(text)
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "Start")
    return folder


async def test_stub_is_written_whole_and_tests_are_shown_from_the_start(tmp_path: Path) -> None:
    repo = folder_with(tmp_path, {"loud.py": STUB, "loud_test.py": TEST})
    model = ScriptedModel([fenced("def loud(text):\n    return 1\n"), fenced(HALF), fenced(WHOLE)])
    report = (await build(await make_crew(tmp_path, model, repo=repo), GOAL, CHECK))["report"]
    assert (report["solved"], report["files"]) == (True, ["loud.py"])
    shown = [request.messages[-1].content for request in model.requests]
    assert "assert shout(" in shown[0] and shown[0] == shown[1]
    assert "It is wrong:" in shown[2] and "return text.upper()" in shown[2]
    assert "LIMIT = 3" in git(repo, "show", "treadle/r1:loud.py")
    assert git(repo, "show", "treadle/r1:loud_test.py") == TEST.strip()


async def test_module_that_only_its_test_knows_is_made(tmp_path: Path) -> None:
    repo = folder_with(tmp_path, {"loud_test.py": TEST.replace("LIMIT, ", "").replace("* LIMIT", "* 3")})
    model = ScriptedModel([fenced(WHOLE.replace("LIMIT", "3"))])
    report = (await build(await make_crew(tmp_path, model, repo=repo), "make the tests pass"))["report"]
    assert (report["solved"], report["files"]) == (True, ["loud.py"])


async def test_version_that_cannot_even_be_imported_is_no_progress(tmp_path: Path) -> None:
    repo = folder_with(tmp_path, {"loud.py": STUB, "loud_test.py": TEST})
    broken = "LIMIT = 3\nprompt = LIMIT['x']\n\n\ndef shout(text):\n    return text\n"

    def answer(request: ModelRequest) -> str:
        assert "It is wrong" not in request.messages[-1].content
        return fenced(broken + f"# {request.seed}\n")

    crew = await make_crew(tmp_path, ScriptedModel(answer), repo=repo, max_rounds=3)
    report = (await build(crew, GOAL, CHECK))["report"]
    assert not report["solved"]
    assert report["rounds"] == 3


async def test_two_versions_that_each_solve_a_part_make_a_whole(tmp_path: Path) -> None:
    stub = "def up(text):\n    pass\n\n\ndef down(text):\n    pass\n"
    test = (
        "from loud import down, up\n\n\n"
        "def test_up():\n    assert up('a') == 'A'\n\n\n"
        "def test_down():\n    assert down('A') == 'a'\n"
    )
    repo = folder_with(tmp_path, {"loud.py": stub, "loud_test.py": test})
    first = "def up(text):\n    return text.upper()\n\n\ndef down(text):\n    return text\n"
    second = "def up(text):\n    return text\n\n\ndef down(text):\n    return text.lower()\n"
    model = ScriptedModel([fenced(first), fenced(second)])
    report = (await build(await make_crew(tmp_path, model, repo=repo), GOAL, CHECK))["report"]
    assert (report["solved"], len(model.requests)) == (True, 2)
    assert "text.upper()" in git(repo, "show", "treadle/r1:loud.py")
    assert "text.lower()" in git(repo, "show", "treadle/r1:loud.py")


async def test_a_small_mistake_is_mended_without_asking_again(tmp_path: Path) -> None:
    more = "\n\ndef test_nothing():\n    assert shout('') == ''\n"
    repo = folder_with(tmp_path, {"loud.py": STUB, "loud_test.py": TEST + more})
    wrong = WHOLE.replace("'!' in", "'!' not in")
    model = ScriptedModel([fenced(wrong.replace("return", "# Loud.\n    return"))])
    report = (await build(await make_crew(tmp_path, model, repo=repo), GOAL, CHECK))["report"]
    assert (report["solved"], len(model.requests)) == (True, 1)
    assert "# Loud." in git(repo, "show", "treadle/r1:loud.py")
