"""A failing check becomes a branch on which it passes; everything of the user's stays as it is."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from builds import build, fenced, make_crew, scripted

BROKEN = "    def count(self):\n        return len(self.lines) + 1\n"
CART = f"class Cart:\n    def __init__(self):\n        self.lines = {{}}\n\n{BROKEN}"
FIXED = "class Cart:\n    def count(self):\n        return len(self.lines)\n"
TEST = "from shop.cart import Cart\n\n\ndef test_count():\n    assert Cart().count() == 0\n"
CHECK = "python -m pytest -q -p no:cacheprovider"


def git(folder: Path, *args: str) -> str:
    who = ["-c", "user.name=Ann", "-c", "user.email=ann@example.org"]
    done = subprocess.run(["git", "-C", str(folder), *who, *args], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    folder = tmp_path / "shop"
    files = {
        "shop/__init__.py": "",
        "shop/cart.py": CART,
        "tests/test_cart.py": TEST,
        "README.md": "# Shop\n\nA shop.\n",
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    git(folder, "init", "-q", "-b", "trunk")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "Start")
    return folder


async def test_failing_check_becomes_a_branch_on_which_it_passes(tmp_path: Path, repo: Path) -> None:
    (repo / "shop" / "cart.py").write_text(CART + "# not committed\n")
    model = scripted([], [], [fenced(FIXED)])
    report = (await build(await make_crew(tmp_path, model, repo=repo, sandbox="auto"), "fix the cart", CHECK))["report"]
    assert (report["solved"], report["branch"], report["files"]) == (True, "treadle/r1", ["shop/cart.py"])
    assert git(repo, "diff", "--stat", "trunk", "treadle/r1").endswith("1 insertion(+), 1 deletion(-)")
    assert git(repo, "symbolic-ref", "--short", "HEAD") == "trunk"
    assert (repo / "shop" / "cart.py").read_text() == CART + "# not committed\n"
    assert "Treadle-Model: m" in git(repo, "log", "-1", "--format=%B", "treadle/r1")
    shown = model.requests[0].messages[-1].content
    assert "def test_count" in shown
    assert "assert 1 == 0" in shown
    assert "A shop." in shown
    assert "write `Cart.count` anew" in shown


async def test_useless_answers_are_rounds_and_the_reason_is_said(tmp_path: Path, repo: Path) -> None:
    hopeless = CART.replace("len(self.lines) + 1", "'many'")
    (repo / "shop" / "cart.py").write_text(hopeless)
    git(repo, "commit", "-qam", "Break it")
    answers = [
        "I do not know.",
        fenced(hopeless),
        fenced("def count(:\n"),
        fenced(FIXED.replace("lines)", "lines) + 2")),
    ]
    report = (await build(await make_crew(tmp_path, scripted([], [], answers), repo=repo), "fix it", CHECK))["report"]
    assert not report["solved"]
    assert report["rounds"] == 3
    assert "assert 2 == 0" in report["reason"]
    assert git(repo, "branch", "--list") == "* trunk"


async def test_slip_is_mended_though_no_answer_is_of_use(tmp_path: Path, repo: Path) -> None:
    (repo / "tests" / "test_cart.py").write_text(TEST + TEST.replace("_count", "_one") + TEST.replace("_count", "_two"))
    git(repo, "commit", "-qam", "Test it more")
    crew = await make_crew(tmp_path, scripted([], [], ["I do not know."] * 9), repo=repo)
    report = (await build(crew, "fix it", CHECK))["report"]
    assert (report["solved"], report["files"]) == (True, ["shop/cart.py"])
    assert "        return len(self.lines)\n" in git(repo, "show", "treadle/r1:shop/cart.py") + "\n"
    assert "found by running versions: 1" in git(repo, "log", "-1", "--format=%B", "treadle/r1")


async def test_later_answer_may_be_the_right_one(tmp_path: Path, repo: Path) -> None:
    answers = ["I do not know.", fenced(CART), fenced(FIXED)]
    model = scripted([], [], answers)
    report = (await build(await make_crew(tmp_path, model, repo=repo), "fix it", CHECK))["report"]
    assert (report["solved"], report["rounds"]) == (True, 2)
    assert "cannot stay as it is" in model.requests[-1].messages[-1].content


@pytest.mark.parametrize(
    ("check", "reason"),
    [("no-such-program", "cannot be run"), ("exit 1", "No file looks involved")],
)
async def test_check_that_shows_nothing_is_said_to(tmp_path: Path, repo: Path, check: str, reason: str) -> None:
    report = (await build(await make_crew(tmp_path, scripted([], [], ["x"]), repo=repo), "fix it", check))["report"]
    assert not report["solved"]
    assert reason in report["reason"]


async def test_tests_of_the_repository_are_the_check_when_none_is_given(tmp_path: Path, repo: Path) -> None:
    report = (await build(await make_crew(tmp_path, scripted([], [], [fenced(FIXED)]), repo=repo), "fix it"))["report"]
    assert report["solved"]
    assert report["check"] == "python -m pytest -q"
