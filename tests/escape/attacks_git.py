"""Attacks on the repository in the workspace: git outside runs what its files name."""

from __future__ import annotations

import os
from typing import Any

from tests.escape.attack import Family, G
from tests.escape.inside import any_of, call, need, read, sh, write

attack = Family("git")


@attack(G.GIT_PROTECTED)
def read_the_token_of_the_repository(host: Any) -> None:
    """Read what .git/config holds."""
    need("token" in read(".git/config"))


@attack(G.GIT_PROTECTED)
def plant_a_hook(host: Any) -> None:
    """Leave a program that git runs at the next commit."""
    write(".git/hooks/pre-commit", "#!/bin/sh\n")


@attack(G.GIT_PROTECTED)
def plant_a_setting(host: Any) -> None:
    """Leave a setting whose value git runs: fsmonitor, sshCommand, a filter."""
    write(".git/config", "[core]\n\tfsmonitor = touch /tmp/owned\n", "a")


@attack(G.GIT_PROTECTED)
def rename_the_repository(host: Any) -> None:
    """Move .git away and put another one in its place."""
    os.rename(".git", ".g")
    os.makedirs(".git/hooks")


@attack(G.GIT_PROTECTED, by_host=True)
def replace_the_repository(host: Any) -> None:
    """Remove .git, make one with a hook, and make it hard to take away."""
    os.system(
        "rm -rf .git 2>/dev/null; mkdir -p .git/hooks; echo evil > .git/hooks/pre-commit; chmod 0 .git/hooks .git"
    )


@attack(G.GIT_PROTECTED, by_host=True)
def replace_the_repository_by_a_link(host: Any) -> None:
    """Put a symbolic link in the place of .git."""
    os.system("mv .git .moved 2>/dev/null; rm -rf .git 2>/dev/null; mkdir evil; ln -s evil .git")


@attack(G.GIT_PROTECTED, by_host=True)
def replace_the_repository_by_a_file(host: Any) -> None:
    """Put a file in the place of .git that names a repository elsewhere, as in a worktree."""
    os.system("rm -rf .git 2>/dev/null; mkdir evil; echo 'gitdir: evil' > .git")


@attack(G.GIT_PROTECTED)
def exchange_the_repository(host: Any) -> None:
    """Swap .git with a folder of one's own in one step."""
    os.makedirs("evil/hooks")
    call(host.numbers["renameat2"], -100, b".git", -100, b"evil", 2)
    need(os.path.exists("evil/config"))


@attack(G.GIT_PROTECTED)
def link_to_the_repository(host: Any) -> None:
    """Reach .git by other names: a hard link, a link, /proc."""
    os.symlink(".git", "link")
    any_of(
        lambda: os.link(".git/config", "config"),
        lambda: read("link/config"),
        lambda: read("/proc/self/cwd/.git/config"),
        lambda: read(".//.git/./config"),
    )


@attack(G.GIT_PROTECTED)
def use_the_repository(host: Any) -> None:
    """Have git itself write there."""
    sh("git config core.fsmonitor 'touch /tmp/owned'")


@attack(G.GIT_PROTECTED, by_host=True)
def make_a_repository_around_it(host: Any) -> None:
    """Make .git by `git init`, and by a clone."""
    os.system("git init -q . 2>/dev/null; git init -q --separate-git-dir=store . 2>/dev/null")
