"""Paths from models are untrusted."""

from __future__ import annotations

from pathlib import Path

import pytest

from treadle.domain.paths import clean_path
from treadle.errors import Refused
from treadle.workspace.paths import inside

ABSOLUTE = ["", " ", "/etc/passwd", "~/x", "C:\\x", "x" * 300, "/".join("a" * 50), "a\nb", "a\0b"]
ODD = ["./~", "./ a", "a/ /", "a\ud800"]
OUTSIDE = ["../x.py", "a/../../x", "..\\x", ".git/config", "sub/.GIT/hooks/x", ".git./x", ".g\u200cit/config"]


@pytest.mark.parametrize("name", [*ABSOLUTE, *ODD, *OUTSIDE])
def test_path_that_leaves_the_workspace_is_refused(name: str) -> None:
    with pytest.raises(Refused):
        clean_path(name)


@pytest.mark.parametrize(
    ("name", "clean"), [("./a.py", "a.py"), ("pkg//mod.py", "pkg/mod.py"), ("a\\b.py", "a/b.py"), (".gitignore",) * 2]
)
def test_path_inside_is_normalised(name: str, clean: str) -> None:
    assert clean_path(name) == clean


def test_path_through_a_symbolic_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ws").mkdir()
    (tmp_path / "ws" / "link").symlink_to(tmp_path)
    (tmp_path / "ws" / "file").write_text("x")
    for name in ("link", "link/x.py", "file/x.py"):
        with pytest.raises(Refused):
            inside(tmp_path / "ws", name)
