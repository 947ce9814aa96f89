"""Globs over paths."""

from __future__ import annotations

import time

import pytest

from treadle.domain.globs import fits, is_excluded


@pytest.mark.parametrize(
    ("path", "pattern", "expected"),
    [
        ("a.py", "*.py", True),
        ("b/a.py", "*.py", False),
        ("b/a.py", "**/*.py", True),
        ("a.py", "**/*.py", True),
        ("b/c/a.py", "b/**/a.py", True),
        ("b/a.py", "b/**/a.py", True),
        ("b/c", "b/**", True),
        ("b", "b/**", False),
        ("a.js", "*.{py,js}", True),
        ("a.rs", "*.{py,js}", False),
        ("{a}", "{a}", True),
        ("ab", "a?", True),
        ("ab", "a[!b]", False),
        ("A", "a", False),
    ],
)
def test_a_path_fits_a_pattern(path: str, pattern: str, expected: bool) -> None:
    assert fits(path, pattern) is expected


def test_a_name_is_excluded_in_every_folder() -> None:
    assert is_excluded("a/node_modules", ["node_modules"]) and is_excluded("a/b.pyc", ["*.pyc"])
    assert not is_excluded("a/b.py", ["*.pyc", "b/*.py"])


@pytest.mark.parametrize("pattern", ["*a" * 400, "**/" * 300 + "b", "{a,b}" * 150, "{" * 500, "[" * 500])
def test_no_pattern_takes_long(pattern: str) -> None:
    began = time.process_time()
    assert not fits("/".join(["a" * 200] * 40), pattern)
    assert time.process_time() - began < 2.0
