"""A specialist ends when nothing gets better, and hands back no files of others."""

from __future__ import annotations

from treadle.agents.desk import Made, is_stuck


def test_versions_that_bring_nothing_end_the_work() -> None:
    assert is_stuck([1, 1, 1, 1]) and is_stuck([3, 1, 2, 3])
    assert not is_stuck([1, 1, 1]), "three in a row after the first"
    assert not is_stuck([1, 1, 1, 2]) and not is_stuck([1, 2, 1, 1])
    assert is_stuck([1, 2, 1, 1, 2]) and not is_stuck([])


def test_files_of_others_are_left_out() -> None:
    made = Made({"api.py": "", "test_api.py": "", "README.md": ""})
    kept, left = made.within(("api.py",))
    assert (sorted(kept.files), left, kept.problem) == (["api.py", "test_api.py"], ["README.md"], "")
    assert made.within(()) == (made, [])
    kept, left = made.within(("web/",))
    assert left == ["README.md", "api.py", "test_api.py"] and "not of this task" in kept.problem
