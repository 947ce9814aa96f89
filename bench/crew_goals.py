"""The 30 goals of `bench/dev_goals`, exercises of exercism.org, and how a result is judged.

`SIZE/NAME/` holds `goal.md` (what is asked), `accept.py` (run beside the result; must exit with 0), `reference/` or
`reference.patch` (one solution), and what the user has already: `given/`, `repo` (the name of a folder of `repos/`),
both (`given/` over the repository), or nothing. Where something is given, its tests are the check, and are judged too.

An exercise comes from a clone of github.com/exercism/python: its instructions are the goal, its stub and its tests are
given. Nothing of it is hidden, so what passes the given tests, as they were, is accepted.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.building import run_hidden

SIZES = ("function", "module", "cli", "service", "change")
EXERCISE = "exercise"
FOLDER = Path(__file__).parent / "dev_goals"
CHECK = "python -m pytest -q"
_SKIPPED = ("__pycache__", ".pytest_cache")


@dataclass(frozen=True, slots=True)
class DevGoal:
    """One goal."""

    size: str
    name: str
    text: str
    given: Mapping[str, str]
    """Files that the user has: with them the goal is a change of a repository."""
    hidden: Mapping[str, str]
    """`accept.py` and what it imports."""
    folder: Path

    @property
    def check(self) -> str:
        """What the user says the goal is met by."""
        return CHECK if self.given else ""

    @property
    def tests(self) -> Mapping[str, str]:
        """The given tests, as the user has them."""
        return {path: text for path, text in self.given.items() if _is_test(path)}

    def solution(self) -> dict[str, str]:
        """The files with the reference solution in them."""
        with tempfile.TemporaryDirectory(prefix="treadle-reference-") as name:
            place = Path(name)
            lay_out(place, self.given)
            lay_out(place, read_files(self.folder / "reference"))
            patch = self.folder / "reference.patch"
            if patch.exists():
                subprocess.run(["git", "apply", str(patch)], cwd=place, check=True)
            return read_files(place)


def dev_goals(sizes: tuple[str, ...] = SIZES) -> list[DevGoal]:
    """Read the goals, size by size."""
    return [_read(place.parent) for size in sizes for place in sorted((FOLDER / size).glob("*/goal.md"))]


def exercises(clone: Path, each: int = 1) -> list[DevGoal]:
    """Each `each`th practice exercise of a clone of exercism/python, by name."""
    places = sorted(path.parent.parent for path in clone.glob("exercises/practice/*/.meta/config.json"))
    return [_exercise(place) for place in places[::each]]


async def judge(goal: DevGoal, files: Mapping[str, str]) -> tuple[bool, str]:
    """Run the given tests, as they were, and the hidden ones on a result, and say whether both pass."""
    whole = {**files, **goal.tests}
    if goal.given:
        passed, said = await run_hidden(whole, CHECK.split(), seconds=60)
        if not passed:
            return False, said
    return await run_hidden({**whole, **goal.hidden}, ["python", "accept.py"], seconds=60)


def lay_out(folder: Path, files: Mapping[str, str]) -> None:
    """Write files below a folder."""
    for name, text in files.items():
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, encoding="utf-8")


def read_files(folder: Path) -> dict[str, str]:
    """Read the text files below a folder; empty if there is none. What is no text, or only a cache, is left out."""
    found = {}
    for place in sorted(folder.rglob("*")):
        inside = place.relative_to(folder)
        if place.is_file() and not any(part in _SKIPPED or part.startswith(".git") for part in inside.parts):
            try:
                found[inside.as_posix()] = place.read_text(encoding="utf-8")
            except UnicodeDecodeError:
                continue
    return found


def _read(folder: Path) -> DevGoal:
    size = folder.parent.name
    shared = {path.name: path.read_text(encoding="utf-8") for path in folder.parent.glob("*.py")}
    hidden = shared | {"accept.py": (folder / "accept.py").read_text(encoding="utf-8")}
    repo = folder / "repo"
    given = read_files(FOLDER / "repos" / repo.read_text(encoding="utf-8").strip()) if repo.exists() else {}
    text = (folder / "goal.md").read_text(encoding="utf-8").strip()
    return DevGoal(size, folder.name, text, given | read_files(folder / "given"), hidden, folder)


def _exercise(folder: Path) -> DevGoal:
    config = json.loads((folder / ".meta/config.json").read_text(encoding="utf-8"))
    names = [name for kind in ("solution", "test", "editor") for name in config["files"].get(kind, ())]
    given = {name: (folder / name).read_text(encoding="utf-8") for name in names}
    parts = [folder / ".docs" / f"{part}.md" for part in ("introduction", "instructions", "instructions.append")]
    text = "\n\n".join(part.read_text(encoding="utf-8").strip() for part in parts if part.exists())
    return DevGoal(EXERCISE, folder.name, text, given, {"accept.py": ""}, folder)


def _is_test(path: str) -> bool:
    name = path.rpartition("/")[2]
    return name.startswith("test_") or name.endswith("_test.py") or name == "conftest.py"
