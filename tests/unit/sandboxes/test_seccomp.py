"""The filter says what its rules say: its program is run here, instruction by instruction."""

from __future__ import annotations

import struct

import pytest

from treadle.sandboxes import _seccomp
from treadle.sandboxes._seccomp import ALLOW, EPERM, Check, Rule, program
from treadle.sandboxes._seccomp_numbers import MACHINES, NUMBERS

X86_64, AARCH64, I386 = 0xC000003E, 0xC00000B7, 0x40000003
KILLED = 0x80000000
EVERYTHING = (
    _seccomp.COMMON
    + _seccomp.SHARED_WITH_HOST
    + _seccomp.ASKED
    + _seccomp.UNASKED
    + _seccomp.BEFORE_TRUNCATE_RIGHT
    + _seccomp.BEFORE_SIGNAL_SCOPE
)


def verdict(code: bytes, call: int, *arguments: int, arch: int = X86_64) -> int:
    data = struct.pack("=IIQ6Q", call, arch, 0, *[*arguments, 0, 0, 0, 0, 0, 0][:6])
    instructions = list(struct.iter_unpack("=HBBI", code))
    position = register = 0
    while True:
        operation, yes, no, value = instructions[position]
        position += 1
        if operation == 0x20:
            register = struct.unpack_from("=I", data, value)[0]
        elif operation == 0x54:
            register &= value
        elif operation == 0x06:
            return int(value)
        else:
            taken = {0x15: register == value, 0x35: register >= value, 0x45: bool(register & value)}[operation]
            position += yes if taken else no


def filtered(*rules: Rule) -> bytes:
    code = program(rules, "x86_64")
    assert code is not None
    return code


def test_a_call_that_is_not_named_is_allowed() -> None:
    assert verdict(filtered(Rule("ptrace", EPERM)), 1) == ALLOW


def test_a_call_that_is_named_is_refused() -> None:
    assert verdict(filtered(Rule("mount", EPERM), Rule("ptrace", EPERM)), NUMBERS["ptrace"][0]) == EPERM


def test_calls_of_another_architecture_kill_and_x32_is_refused() -> None:
    code = filtered(Rule("ptrace", EPERM))
    assert verdict(code, 1, arch=I386) == KILLED
    assert verdict(code, 0x40000000 | 101) not in (ALLOW, KILLED)


@pytest.mark.parametrize(
    ("check", "refused", "allowed"),
    [
        (Check(0, "any", (0x6000,)), [0x2000, 0x6001], [0, 0x1FFF]),
        (Check(1, "in", (3, 5, 9)), [3, 5, 9], [0, 4, 10]),
        (Check(1, "in", (3,)), [3], [4]),
        (Check(0, "not in", (1, 2, 10)), [0, 3, 40], [1, 2, 10]),
        (Check(1, "not in", (1, 5), 0xF), [2, 0x80002], [1, 0x80801, 5]),
        (Check(2, "nonzero"), [1, 1 << 40], [0]),
    ],
)
def test_a_check_looks_at_its_argument(check: Check, refused: list[int], allowed: list[int]) -> None:
    code = filtered(Rule("kcmp", EPERM, check), Rule("ptrace", EPERM))
    for value, expected in [*((v, EPERM) for v in refused), *((v, ALLOW) for v in allowed)]:
        arguments = [0] * 6
        arguments[check.argument] = value
        assert verdict(code, NUMBERS["kcmp"][0], *arguments) == expected, value
    assert verdict(code, NUMBERS["ptrace"][0]) == EPERM


def test_a_later_rule_for_the_same_call_is_reached() -> None:
    code = filtered(Rule("kcmp", EPERM, Check(0, "in", (7,))), Rule("kcmp", KILLED))
    assert (verdict(code, NUMBERS["kcmp"][0], 7), verdict(code, NUMBERS["kcmp"][0], 8)) == (EPERM, KILLED)


@pytest.mark.parametrize("machine", MACHINES)
def test_the_whole_filter_fits_the_kernel_and_names_known_calls_only(machine: str) -> None:
    code = program(EVERYTHING, machine)
    assert code is not None
    assert len(code) // 8 < 4096
    assert all(rule.call in NUMBERS for rule in EVERYTHING)


def test_a_machine_without_call_numbers_has_no_filter() -> None:
    assert program(EVERYTHING, "riscv64") is None


def test_ordinary_calls_pass_the_whole_filter() -> None:
    code = filtered(*EVERYTHING)
    for call in (0, 1, 2, 3, 9, 12, 39, 59, 61, 202, 231, 257, 262, 334):  # read, write, open, ..., exit_group, rseq
        assert verdict(code, call) == ALLOW


@pytest.mark.parametrize("machine", MACHINES)
def test_call_numbers_agree_with_another_table(machine: str) -> None:
    syscalls = pytest.importorskip("seccompy.syscalls")
    table = {"x86_64": syscalls.X86_64_SYSCALLS, "aarch64": syscalls.AARCH64_SYSCALLS}[machine]
    ours = {name: numbers[MACHINES.index(machine)] for name, numbers in NUMBERS.items()}
    compared = {name: number for name, number in ours.items() if name in table}
    assert compared == {name: table[name] for name in compared}
    assert len(compared) > 60
    assert [name for name, number in ours.items() if number < 0 and name in table] == []
