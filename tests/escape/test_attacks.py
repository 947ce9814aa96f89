"""Every attack against every backend: it is refused, or there is a row that says why not, and the host is as it was.

`backends.py` has the rows. Without walls (`none`) an attack must get through: else it would prove nothing elsewhere.
Where a call takes long to start, the plain attacks are made one after the other in one call.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from tests.escape import (
    attacks_files,
    attacks_git,
    attacks_kernel,
    attacks_limits,
    attacks_network,
    attacks_processes,
    inside,
)
from tests.escape.attack import LIMITS, Attack
from tests.escape.backends import (
    BACKENDS,
    LACKS,
    NO_WALL,
    NOT_HELD,
    SLOW,
    WITHOUT_CGROUP,
    is_tried,
    open_backend,
    why_not_held,
)
from tests.escape.host import Host
from tests.escape.inside import HELD

from treadle.errors import SandboxUnavailable
from treadle.ports.sandbox import ExecResult, Guarantee, Sandbox

MODULES = (attacks_files, attacks_git, attacks_kernel, attacks_limits, attacks_network, attacks_processes)
ATTACKS = {attack.name: attack for module in MODULES for attack in module.attack.attacks}
PAIRS = [(backend, name) for backend in BACKENDS for name, attack in ATTACKS.items() if is_tried(backend, attack)]
_together: dict[str, tuple[frozenset[Guarantee], dict[str, int], list[str]]] = {}
"""Slow backend -> what it holds, how each plain attack ended, and what had changed after them all."""


async def sandbox_of(backend: str, workspace: Path) -> Sandbox:
    try:
        return await open_backend(backend, workspace)
    except SandboxUnavailable as error:
        pytest.skip(f"{backend} does not work here: {error}")


@pytest.mark.parametrize(("backend", "name"), PAIRS, ids=[f"{backend}-{name}" for backend, name in PAIRS])
async def test_attack(backend: str, name: str, tmp_path: Path) -> None:
    attack = ATTACKS[name]
    if backend in SLOW and attack.is_plain:
        if backend not in _together:
            _together[backend] = await make_together(backend, tmp_path)
        guarantees, codes, changes = _together[backend]
        got_through = bool(changes) or codes[name] == 0
        told = str(codes[name])
    else:
        guarantees, got_through, told = await make_alone(backend, attack, tmp_path)
    row = why_not_held(backend, attack, guarantees)
    assert got_through is bool(row), (row or "must be held", told)


async def make_alone(backend: str, attack: Attack, folder: Path) -> tuple[frozenset[Guarantee], bool, str]:
    """One attack in a call of its own: what is held, whether it got through, and what was seen."""
    with Host(folder / "host") as host:
        sandbox = await sandbox_of(backend, host.workspace)
        argv = ["python", "-S", "-c", attack.program(host.facts())]
        try:
            result = await sandbox.exec(argv, limits=attack.limits)
        except SandboxUnavailable as error:  # only without walls can the launcher itself be killed
            assert backend == "none"
            result = ExecResult(HELD, "", str(error), 0.0)
        finally:
            await sandbox.close()
        assert attack.by_host or result.exit_code in (0, HELD, 122, 124) or result.exit_code > 128, result.stderr
        changes = host.changes()
        got_through = bool(changes) or (result.exit_code == 0 and not attack.by_host)
        return sandbox.guarantees, got_through, f"{changes} {result}"


DRIVER = """
import json
codes = {}
for name in NAMES:
    os.system("find . -mindepth 1 -maxdepth 1 ! -name .git ! -name kept.txt ! -name host.sock -exec rm -rf {} +")
    pid = os.fork()
    if pid == 0:
        run(globals()[name], Facts(FACTS))
    codes[name] = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
print(json.dumps(codes))
"""


async def make_together(backend: str, folder: Path) -> tuple[frozenset[Guarantee], dict[str, int], list[str]]:
    """All plain attacks, one after the other, each in a process of its own."""
    plain: Sequence[Attack] = [attack for attack in ATTACKS.values() if attack.is_plain]
    with Host(folder / "host") as host:
        sandbox = await sandbox_of(backend, host.workspace)
        known = f"NAMES = {[attack.name for attack in plain]!r}\nFACTS = {host.facts()!r}\n"
        source = "\n".join([inspect.getsource(inside), *(attack.source for attack in plain), known, DRIVER])
        (host.workspace / "kept.txt").write_text(source)
        limits = replace(LIMITS, wall_seconds=90.0, cpu_seconds=60)
        result = await sandbox.exec(["python", "-S", "kept.txt"], limits=limits)
        await sandbox.close()
        assert result.exit_code == 0, result.stderr
        codes = json.loads(result.stdout.splitlines()[-1])
        wrong = {name: code for name, code in codes.items() if code not in (0, HELD) and code >= 0}
        assert wrong == {}, result.stderr
        # A row's attack may leave its mark: the word of a listener is no change of the host then.
        allowed = [f"{name} was reached" for name in ("in_workspace",) if backend in NOT_HELD]
        return sandbox.guarantees, codes, [change for change in host.changes() if change not in allowed]


@pytest.mark.parametrize("backend", BACKENDS)
async def test_what_a_backend_lacks_has_a_row(backend: str, tmp_path: Path) -> None:
    sandbox = await sandbox_of(backend, tmp_path)
    await sandbox.close()
    missing = set(Guarantee) - sandbox.guarantees - NO_WALL
    always = set(LACKS.get(backend, ())) - NO_WALL
    assert always <= missing <= always | set(WITHOUT_CGROUP)
    for guarantee in missing:
        assert any(guarantee in attack.by for attack in ATTACKS.values()), f"nothing proves that {guarantee} is lacking"


def test_every_row_names_an_attack_and_every_attack_is_told() -> None:
    assert {name for rows in NOT_HELD.values() for name in rows} <= set(ATTACKS)
    assert sum(len(module.attack.attacks) for module in MODULES) == len(ATTACKS), "two attacks of one name"
    assert [attack.name for attack in ATTACKS.values() if not attack.tries] == []
    assert len(ATTACKS) >= 80
