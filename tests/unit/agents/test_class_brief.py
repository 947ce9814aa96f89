"""Classes of a goal are read by rule, and code that lacks one of their members is not usable."""

from __future__ import annotations

import pytest

from treadle.agents.brief import Brief, make_brief
from treadle.agents.class_brief import ClassPart, described, missing_member, read_classes, sessions
from treadle.agents.goal import read_goal
from treadle.agents.prompt import Prompts

BANK = (
    "A class `Account` for a bank: Account(owner, balance=0) has the attributes owner and balance. deposit(amount) and "
    "withdraw(amount) change it; withdrawing too much raises `Overdrawn`, an exception of its own, amounts below 1 "
    "ValueError. len(account) is the number of changes."
)


def offered(goal: str) -> dict[str, list[str]]:
    return {part.name: [m.name for m in part.methods] + list(part.attributes) for part in read_classes(goal)}


def test_names_methods_attributes_and_exceptions_are_found() -> None:
    error, account = read_classes(BANK)
    assert (error.name, error.is_exception) == ("Overdrawn", True)
    assert account.parameters == ("owner", "balance=0")
    assert [(m.name, m.parameters) for m in account.methods] == [
        ("deposit", ("amount",)),
        ("withdraw", ("amount",)),
        ("__len__", ()),
    ]
    assert account.attributes == ("owner", "balance")
    assert "def __init__(self, owner, balance=0): ..." in described((account,))


@pytest.mark.parametrize(
    ("goal", "expected"),
    [
        ("class BankAccount with deposit, withdraw and balance", {"BankAccount": ["deposit", "withdraw", "balance"]}),
        ("I want an LRUCache class with methods get(key) and put(key, value)", {"LRUCache": ["get", "put"]}),
        ("a cache class in lru.py: LRU(capacity). put(key) stores", {"LRU": ["put"]}),
        ("A Stack class (push, pop, peek)", {"Stack": ["push", "pop", "peek"]}),
        (
            "The class Poly offers `degree`, an attribute, `p + q` and `p(x)`",
            {"Poly": ["__call__", "__add__", "degree"]},
        ),
        ("A function middle_class(x) that tells whether x is of the Middle class", {}),
        ("double(x) doubles; it raises ValueError for text", {}),
    ],
)
def test_classes_are_found_however_they_are_named(goal: str, expected: dict[str, list[str]]) -> None:
    assert offered(goal) == expected


def test_what_a_class_offers_is_no_function_of_the_module() -> None:
    reading = read_goal(BANK)
    assert (reading.functions, reading.file, reading.is_complete) == ((), "account.py", True)
    reading = read_goal(BANK + " The function parse(text) makes one.")
    assert [function.name for function in reading.functions] == ["parse"]
    assert read_goal("class HTTPServerLog with add(line)").file == "http_server_log.py"


def test_a_skeleton_says_it_all() -> None:
    code = "class Door:\n    def __init__(self, key, *, open=False):\n        ...\n    def lock(self, key): ...\n"
    [door] = read_classes("x", code)
    assert (door.parameters, [m.name for m in door.methods]) == (("key", "*", "open=False"), ["lock"])
    assert [part.name for part in read_goal(f"Complete this:\n```python\n{code}```").classes] == ["Door"]


async def test_a_brief_keeps_its_classes() -> None:
    brief = await make_brief(BANK, None, Prompts.load())  # type: ignore[arg-type]  # nothing is asked
    assert Brief.of(brief.as_dict()) == brief
    assert brief.names == ("Overdrawn", "Account")
    assert brief.assumptions == ()


DOOR = read_classes("class Door with open() and close(), and the attribute is_open")


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("class Door:\n    def f(self):\n        self.is_open = 1\n    def open(self): ...\n    close = open\n", ""),
        ("class Door:\n    is_open: bool = False\n    def open(self): ...\n", "The class Door has no close."),
        ("class Door:\n    def open(self): ...\n    def close(self): ...\n", "The class Door has no is_open."),
        ("class Gate:\n    pass\n", "The file does not define the class Door."),
        ("class B:\n    def open(self): ...\n    def close(self): ...\nclass Door(B):\n    is_open = 1\n", ""),
        ("from x import B\nclass Door(B):\n    pass\n", ""),
        ("class Door:\n    def __getattr__(self, name): ...\n", ""),
    ],
)  # fmt: skip
def test_missing_members_are_seen(source: str, said: str) -> None:
    assert missing_member(source, DOOR) == said


def test_sessions_with_results_are_tests() -> None:
    goal = (
        "class Counter2.\n\n>>> c = Counter2()\n>>> c.add(2)\n>>> c.value\n2\n>>> c\n<Counter2>\n\nand >>> 1 + 1\n2\n"
    )
    [lines] = sessions(goal, (ClassPart("Counter2"),))
    assert lines == ["c = Counter2()", "c.add(2)", "assert c.value == 2"]
