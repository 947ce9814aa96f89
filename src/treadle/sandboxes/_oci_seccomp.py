"""The system call filter in the form that container engines read."""

from __future__ import annotations

import json
import os
from typing import Any

from treadle.sandboxes._seccomp import Check, Rule, errno_of
from treadle.sandboxes._seccomp_numbers import MACHINES

_ARCHITECTURES = {"x86_64": "SCMP_ARCH_X86_64", "aarch64": "SCMP_ARCH_AARCH64"}


def profile(rules: tuple[Rule, ...], machine: str = "") -> str | None:
    """A profile that refuses what `_seccomp.program` refuses; None for a machine whose calls we do not know."""
    machine = machine or os.uname().machine
    if machine not in MACHINES:
        return None
    entries: list[dict[str, Any]] = []
    for rule in rules:
        for arguments in _alternatives(rule.check):
            entry = {"names": [rule.call], "action": "SCMP_ACT_ERRNO", "errnoRet": errno_of(rule.answer)}
            entries.append(entry | ({"args": [arguments]} if arguments else {}))
    whole = {"defaultAction": "SCMP_ACT_ALLOW", "architectures": [_ARCHITECTURES[machine]], "syscalls": entries}
    return json.dumps(whole)


def _alternatives(check: Check | None) -> list[dict[str, Any]]:
    """Conditions of which any one is enough; an empty one always holds."""
    if check is None:
        return [{}]
    if check.test == "any":
        bits = [1 << n for n in range(32) if check.values[0] & check.mask & 1 << n]
        return [_compare(check, "SCMP_CMP_MASKED_EQ", bit, bit) for bit in bits]
    if check.test == "in":
        return [_compare(check, "SCMP_CMP_MASKED_EQ", check.mask, value) for value in check.values]
    if check.test == "not in" and check.mask == 0xFFFFFFFF:
        others = [value for value in range(max(check.values)) if value not in check.values]
        return [_compare(check, "SCMP_CMP_GT", max(check.values))] + [
            _compare(check, "SCMP_CMP_MASKED_EQ", check.mask, value) for value in others
        ]
    raise ValueError(f"{check} has no form for container engines")


def _compare(check: Check, operator: str, value: int, second: int = 0) -> dict[str, Any]:
    return {"index": check.argument, "op": operator, "value": value, "valueTwo": second}
