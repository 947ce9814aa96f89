"""What commands leave in a workspace for git outside: nothing of it runs there, leads out, or stops the work."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from treadle.workspace import Workspace
from treadle.workspace.baseline import commit_baseline
from treadle.workspace.repository import open_repository

EVIL_CONFIG = """\
[core]
\tfsmonitor = "touch {owned}; false"
\thooksPath = hooks
\tsshCommand = touch {owned}
\tpager = touch {owned}
\teditor = touch {owned}
\tgitProxy = touch {owned}
\taskPass = touch {owned}
[diff]
\texternal = touch {owned}
[diff "evil"]
\ttextconv = touch {owned}
\tcommand = touch {owned}
[filter "evil"]
\tclean = touch {owned}; cat
\tsmudge = touch {owned}; cat
\tprocess = touch {owned}
\trequired = true
[merge "evil"]
\tdriver = touch {owned}
[gpg]
\tprogram = touch {owned}
[credential]
\thelper = "!touch {owned}"
[alias]
\tstatus = "!touch {owned}"
\trev-parse = "!touch {owned}"
[submodule "sub"]
\tupdate = "!touch {owned}"
\tactive = true
"""


@dataclass
class Place:
    """A workspace that began as a tree, beside a folder that nobody may touch."""

    workspace: Workspace
    host: Path
    owned: Path
    tree: str

    @property
    def folder(self) -> Path:
        return self.workspace.folder

    def sh(self, command: str) -> None:
        """What the attacker did inside; walls or not makes no difference to what is left."""
        env = {"PATH": os.environ["PATH"], "HOST": str(self.host), "GIT_CONFIG_NOSYSTEM": "1", "HOME": str(self.folder)}
        subprocess.run(["sh", "-c", command], cwd=self.folder, env=env, check=False, capture_output=True)

    def plant_repository(self, where: str) -> None:
        """A repository whose every setting runs a program."""
        self.sh(f"git init -q x && mkdir -p {where} && cp -r x/.git/. {where} && rm -rf x")
        commit = "git -c user.name=a -c user.email=a@b commit -q --allow-empty -m x"
        self.sh(f"GIT_DIR={where} GIT_WORK_TREE=. {commit}")
        hooks = self.folder / where / "hooks"
        for name in ("pre-commit", "post-checkout", "post-index-change", "reference-transaction"):
            (hooks / name).write_text(f"#!/bin/sh\ntouch {self.owned}\n")
            (hooks / name).chmod(0o755)
        with open(self.folder / where / "config", "a") as file:
            file.write(EVIL_CONFIG.format(owned=self.owned))


@pytest.fixture
async def place(tmp_path: Path) -> Place:
    host = tmp_path / "host"
    host.mkdir()
    (host / "secret").write_text("top secret")
    workspace = await Workspace.open(tmp_path / "home", "run1")
    tree = await workspace.write(await workspace.empty(), {"kept.py": "x = 1\n", "folder/inner.py": "y = 1\n"})
    return Place(workspace, host, tmp_path / "owned", tree)


def plant_nested(place: Place) -> None:
    place.plant_repository("sub/.git")
    place.sh("echo z > sub/file.py")


def plant_file_of_a_worktree(place: Place) -> None:
    place.plant_repository("folder/evil")
    place.sh("echo 'gitdir: evil' > folder/.git")


def plant_link_to_a_repository(place: Place) -> None:
    place.plant_repository("folder/evil")
    place.sh("ln -s evil folder/.git")


def plant_bare_one_at_the_top(place: Place) -> None:
    place.plant_repository("bare")
    place.sh("mv bare/* . && rmdir bare")


def plant_one_for_a_known_submodule(place: Place) -> None:
    """The tree that the work began from names a submodule; the command fills its empty folder."""
    place.plant_repository("module/.git")
    place.sh("echo changed > module/file")


def plant_attributes(place: Place) -> None:
    words = "* filter=evil diff=evil merge=evil ident text eol=crlf working-tree-encoding=UTF-16 export-subst"
    place.sh(f"echo '{words}' > .gitattributes; cp .gitattributes folder/; echo '$Id$' > ident.txt")


def plant_modules(place: Place) -> None:
    place.sh(
        "printf '[submodule \"sub\"]\\n\\tpath = sub\\n\\turl = ext::sh -c touch%% owned\\n\\tupdate = !touch owned\\n'"
        " > .gitmodules"
    )


def plant_home_configuration(place: Place) -> None:
    (place.folder / ".gitconfig").write_text(EVIL_CONFIG.format(owned=place.owned))
    place.sh("mkdir -p .config/git; cp .gitconfig .config/git/config")


def plant_names_that_look_like_options(place: Place) -> None:
    for name in ("--upload-pack=touch x", "-rf", "--all", "--exec=x", ":(top)x", ":!kept.py", "@", "HEAD", "*", "-"):
        (place.folder / name).write_text("x")


def plant_strange_names(place: Place) -> None:
    for name in (
        b"new\nline",
        b"esc\x1b[2Jape",
        "bi\u202edi".encode(),
        b"\xff\xfe",
        b"tab\there",
        b'quo"te',
        b"c:d",
        b"$(x)",
    ):
        with open(os.fsencode(place.folder) + b"/" + name, "w") as file:
            file.write("x")


def plant_pipes_and_sockets(place: Place) -> None:
    os.mkfifo(place.folder / "pipe")
    os.mkfifo(place.folder / "folder" / "pipe.py")
    os.remove(place.folder / "kept.py")
    os.mkfifo(place.folder / "kept.py")


def plant_links_out(place: Place) -> None:
    place.sh(
        "ln -s $HOST out; ln -s $HOST/secret secret; rm -rf folder; ln -s $HOST folder; ln -sf $HOST/secret kept.py"
    )


def plant_folders_too_deep(place: Place) -> None:
    here = os.getcwd()
    try:
        os.chdir(place.folder)
        for _ in range(1200):
            os.mkdir("deep" * 20)
            os.chdir("deep" * 20)
    finally:
        os.chdir(here)


def plant_folders_without_rights(place: Place) -> None:
    place.sh("mkdir -p locked/inner && echo x > locked/inner/x && chmod 0 locked/inner locked")


TRAPS: list[Callable[[Place], None]] = [
    plant_nested,
    plant_file_of_a_worktree,
    plant_link_to_a_repository,
    plant_bare_one_at_the_top,
    plant_one_for_a_known_submodule,
    plant_attributes,
    plant_modules,
    plant_home_configuration,
    plant_names_that_look_like_options,
    plant_strange_names,
    plant_pipes_and_sockets,
    plant_links_out,
    plant_folders_too_deep,
    plant_folders_without_rights,
]


@pytest.mark.parametrize("trap", TRAPS, ids=lambda trap: trap.__name__.removeprefix("plant_"))
async def test_git_outside_meets_a_trap(trap: Callable[[Place], None], place: Place) -> None:
    workspace, since = place.workspace, place.tree
    if trap is plant_one_for_a_known_submodule:
        since = await with_submodule(place)
        await workspace.restore(since)
    trap(place)
    taken = await workspace.take(since)
    await workspace.take(since, ["kept.py", "-rf", "out/secret", "folder/inner.py", ":(top)*"], only_these=True)
    snapshots = workspace.snapshots
    assert "top secret" not in await snapshots.diff(since, taken)
    assert all(".git" not in path.split("/") for path in await snapshots.files(taken))
    await workspace.restore(taken)
    await workspace.restore(since)
    assert (place.folder / "kept.py").read_text() == "x = 1\n"
    assert (place.folder / "folder" / "inner.py").read_text() == "y = 1\n"
    assert not place.owned.exists(), "what was planted ran outside"
    assert [(path.name, path.read_text()) for path in place.host.iterdir()] == [("secret", "top secret")]


async def with_submodule(place: Place) -> str:
    git = place.workspace.snapshots.git
    entries = await git.text("ls-tree", place.tree)
    commit = f"160000 commit {'1' * 40}\tmodule"
    tree = await git.text("mktree", "--missing", stdin=f"{entries}\n{commit}\n".encode())
    await place.workspace.snapshots.protect(tree, "run1")
    return tree


@pytest.mark.parametrize("trap", [plant_bare_one_at_the_top, plant_home_configuration, plant_nested])
async def test_looking_for_a_repository_in_a_workspace_runs_nothing(
    trap: Callable[[Place], None], place: Place, tmp_path: Path
) -> None:
    """As `git_diff` does by hand, and a build on an existing repository."""
    trap(place)
    for folder in (place.folder, place.folder / "sub", place.folder / "objects"):
        if folder.is_dir():
            scratch = tmp_path / f"scratch-{folder.name}"
            baseline = await commit_baseline(folder, scratch)
            if baseline is not None:
                await baseline.diff()
            try:
                await open_repository(folder)
            except Exception:  # noqa: BLE001 — whether it is one does not matter here
                pass
    assert not place.owned.exists(), "what was planted ran outside"


@pytest.mark.parametrize("trap", [plant_nested, plant_bare_one_at_the_top, plant_one_for_a_known_submodule])
async def test_trap_is_a_trap(trap: Callable[[Place], None], place: Place) -> None:
    """A user's own git, called in such a folder, does run what was planted: see the page on the sandbox."""
    trap(place)
    inner = next(name for name in ("sub", "module", ".") if (place.folder / name).is_dir())
    place.sh(f"cd {inner} && GIT_WORK_TREE=. git status && git -c core.bare=false checkout -q HEAD")
    assert place.owned.exists()
