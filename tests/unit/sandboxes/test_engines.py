"""Container engines that do not work, or lack something, say so; and what they are told to refuse."""

from __future__ import annotations

import errno
import json
import stat
from pathlib import Path

import pytest

from treadle.errors import SandboxUnavailable
from treadle.ports.sandbox import ExecResult
from treadle.sandboxes import _seccomp, choose
from treadle.sandboxes._engine import look_at
from treadle.sandboxes._oci_seccomp import profile
from treadle.sandboxes.container import _judge, _mount

DOCKER = {"MemoryLimit": True, "PidsLimit": True, "CpuCfsQuota": False, "SecurityOptions": ["name=seccomp,x"]}
PODMAN = {"host": {"cgroupControllers": ["cpuset", "memory"], "security": {"rootless": True}}}


def program(path: Path, script: str) -> str:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def answering(path: Path, said: object) -> str:
    return program(path, f"case $1 in info) echo '{json.dumps(said)}';; image) echo no such image >&2; exit 1;; esac")


def test_an_engine_tells_what_it_can_limit_and_whether_it_is_rootless(tmp_path: Path) -> None:
    docker = look_at(answering(tmp_path / "docker", DOCKER))
    assert (docker.is_podman, docker.is_rootless, docker.limits) == (False, False, {"memory", "pids"})
    rootless = DOCKER | {"SecurityOptions": ["name=rootless"]}
    assert look_at(answering(tmp_path / "docker", rootless)).is_rootless
    podman = look_at(answering(tmp_path / "docker", PODMAN))  # by what it says, not by its name
    assert (podman.is_podman, podman.is_rootless, podman.limits) == (True, True, {"memory"})


def test_a_daemon_that_does_not_run_is_told_of(tmp_path: Path) -> None:
    with pytest.raises(SandboxUnavailable, match="Is the docker daemon running"):
        look_at(answering(tmp_path / "docker", {"ServerErrors": ["Is the docker daemon running?"]}))
    with pytest.raises(SandboxUnavailable, match="no permission"):
        look_at(program(tmp_path / "docker", "echo no permission >&2; exit 1"))


async def test_a_missing_image_is_not_fetched_but_named_with_the_command_that_fetches_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = answering(tmp_path / "docker", DOCKER)
    monkeypatch.setattr(choose, "find_engines", lambda: [engine])
    with pytest.raises(SandboxUnavailable, match=r"docker pull example.org/python:3") as caught:
        await choose.open_sandbox(tmp_path, backend="docker", image="example.org/python:3")
    assert "fetches none by itself" in str(caught.value)


def test_a_name_that_the_command_line_cannot_carry_is_refused() -> None:
    with pytest.raises(SandboxUnavailable, match="comma"):
        _mount(Path("/a,readonly=false"), "/workspace")


def ended(stderr: str, code: int = 0, *, timed_out: bool = False) -> ExecResult:
    return ExecResult(code, "", stderr, 1.0, timed_out=timed_out)


def test_what_the_engine_says_and_what_the_command_says_are_told_apart() -> None:
    result = _judge(ended("warning\nMARK\nfrom the command\nMARK 3 1\n", 3), "MARK")
    assert (result.exit_code, result.stderr, result.out_of_memory) == (3, "from the command\n", True)
    killed = _judge(ended("MARK\nhalf a li", 124, timed_out=True), "MARK")
    assert (killed.exit_code, killed.stderr) == (124, "half a li")
    with pytest.raises(SandboxUnavailable, match="no such runtime"):
        _judge(ended("Error: no such runtime\n", 126), "MARK")


def test_the_filter_for_engines_refuses_the_same_calls() -> None:
    rules = _seccomp.COMMON + _seccomp.OWN_NETWORK
    whole = json.loads(profile(rules, "x86_64") or "")
    assert (whole["defaultAction"], whole["architectures"]) == ("SCMP_ACT_ALLOW", ["SCMP_ARCH_X86_64"])
    by_name: dict[str, list[dict[str, object]]] = {}
    for entry in whole["syscalls"]:
        by_name.setdefault(entry["names"][0], []).append(entry)
    assert set(by_name) == {rule.call for rule in rules}
    assert by_name["ptrace"] == [{"names": ["ptrace"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno.EPERM}]
    assert by_name["clone3"][0]["errnoRet"] == errno.ENOSYS
    flags = {entry["args"][0]["value"] for entry in by_name["clone"]}  # type: ignore[index]
    assert sum(flags) == _seccomp._NAMESPACES and len(flags) == 7
    families = {entry["args"][0]["valueTwo"] for entry in by_name["socket"] if "MASKED" in entry["args"][0]["op"]}  # type: ignore[index]
    assert families.isdisjoint({1, 2, 10, 16}) and {0, 3, 15} <= families
    assert profile(rules, "riscv64") is None
