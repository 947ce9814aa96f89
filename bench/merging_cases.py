"""Trials for `bench.merging`: a file, and three tasks that each change it on their own. Names and numbers are drawn.

The first six shapes are additions at one place; the others change the same lines, or lines that touch.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

FILE = "app.py"
_NOUNS = ("order", "invoice", "parcel", "ticket", "recipe", "garden", "planet", "signal", "ledger", "window")
_VERBS = ("count", "rank", "merge", "scale", "parse", "trim", "shift", "group", "label", "check")
_MODULES = ("json", "math", "re", "string", "textwrap", "itertools", "functools", "statistics", "collections", "random")


@dataclass(frozen=True, slots=True)
class Change:
    """What one task made: its title, the whole file, and its test."""

    title: str
    source: str
    test: str


@dataclass(frozen=True, slots=True)
class Trial:
    shape: str
    seed: int
    base: str
    changes: tuple[Change, ...]


Draw = random.Random


def functions(draw: Draw) -> tuple[str, list[Change]]:
    """All append a function."""
    base = "LIMIT = 10\n\n\ndef first(items):\n    return items[0] if items else None\n"
    names, numbers = draw.sample(_VERBS, 3), draw.sample(range(2, 50), 3)
    return base, [
        Change(
            f"Add {name}(value), which adds {number}",
            base + f"\n\ndef {name}(value):\n    result = value + {number}\n    return result\n",
            f"assert app.{name}(1) == {1 + number}",
        )
        for name, number in zip(names, numbers, strict=True)
    ]


def imports(draw: Draw) -> tuple[str, list[Change]]:
    """All add an import at the same place, and a function that uses it."""
    base = '"""Tools."""\n\nimport os\n\n\ndef here():\n    return os.curdir\n'
    made = []
    for module, name in zip(draw.sample(_MODULES, 3), draw.sample(_VERBS, 3), strict=True):
        source = base.replace("import os\n", f"import os\nimport {module}\n")
        source += f"\n\ndef {name}():\n    return {module}.__name__\n"
        made.append(Change(f"Add {name}(), which names {module}", source, f"assert app.{name}() == {module!r}"))
    return base, made


def table(draw: Draw) -> tuple[str, list[Change]]:
    """All add an entry to a table whose last entry has no comma, and some a function for it."""
    base = "def plain(text):\n    return text\n\n\nSTYLES = {\n    'plain': plain\n}\n"
    made = []
    for name, sign in zip(draw.sample(_NOUNS, 3), draw.sample("*_~+=#", 3), strict=True):
        function = f"\n\ndef {name}(text):\n    return {sign!r} + text + {sign!r}\n"
        source = base.replace("    return text\n", f"    return text\n{function}", 1)
        source = source.replace("'plain': plain\n", f"'plain': plain,\n    '{name}': {name}\n")
        test = f"assert app.STYLES[{name!r}]('a') == {sign + 'a' + sign!r}"
        made.append(Change(f"Add the style {name}", source, test))
    return base, made


def one_line_list(draw: Draw) -> tuple[str, list[Change]]:
    """All extend a list that is written on one line, and one import from a module."""
    base = "from math import floor\n\nNAMES = ['floor']\n\n\ndef whole(x):\n    return floor(x)\n"
    made = []
    for name in draw.sample(("ceil", "sqrt", "gcd", "lcm", "hypot", "trunc", "exp"), 3):
        source = base.replace("import floor", f"import floor, {name}").replace("['floor']", f"['floor', '{name}']")
        made.append(Change(f"Offer {name}", source, f"assert {name!r} in app.NAMES and callable(app.{name})"))
    return base, made


def options(draw: Draw) -> tuple[str, list[Change]]:
    """All add an option to a command line, and what it does."""
    base = (
        "import argparse\n\n\ndef main(argv):\n    parser = argparse.ArgumentParser()\n"
        "    parser.add_argument('text')\n    args = parser.parse_args(argv)\n    text = args.text\n    return text\n"
    )
    made = []
    for name in draw.sample(("upper", "lower", "title", "strip", "swapcase", "casefold"), 3):
        option = f"    parser.add_argument('--{name}', action='store_true')\n"
        source = base.replace("    args =", option + "    args =")
        use = f"    if args.{name}:\n        text = text.{name}()\n"
        source = source.replace("    return text", use + "    return text")
        test = f"assert app.main([' aB c ', '--{name}']) == ' aB c '.{name}()"
        made.append(Change(f"Add the option --{name}", source, test))
    return base, made


def branches(draw: Draw) -> tuple[str, list[Change]]:
    """All add a branch to the same chain of ifs."""
    base = (
        "def run(command, value):\n    if command == 'same':\n        return value\n"
        "    else:\n        raise ValueError(command)\n"
    )
    made = []
    for name, number in zip(draw.sample(_VERBS, 3), draw.sample(range(2, 9), 3), strict=True):
        branch = f"    elif command == '{name}':\n        return value * {number}\n"
        source = base.replace("    else", branch + "    else")
        made.append(Change(f"Add the command {name}", source, f"assert app.run({name!r}, 2) == {2 * number}"))
    return base, made


def neighbours(draw: Draw) -> tuple[str, list[Change]]:
    """Each changes a line of its own; the lines are next to each other."""
    keys = draw.sample(_NOUNS, 3)
    base = "".join(f"{key.upper()} = {n}\n" for n, key in enumerate(keys))
    made = []
    for number, key in enumerate(keys):
        new = draw.randrange(100, 999)
        source = base.replace(f"{key.upper()} = {number}\n", f"{key.upper()} = {new}\n")
        made.append(Change(f"Set {key.upper()} to {new}", source, f"assert app.{key.upper()} == {new}"))
    return base, made


def one_return(draw: Draw) -> tuple[str, list[Change]]:
    """All add a parameter, and use it in the same expression."""
    base = "def total(amount):\n    return amount\n"
    ways = [
        ("tax", "amount * (1 + tax)", "assert abs(app.total(100, tax=0.5) - 150) < 1e-9"),
        ("discount", "amount - discount", "assert app.total(100, discount=30) == 70"),
        ("shipping", "amount + shipping", "assert app.total(100, shipping=7) == 107"),
    ]
    draw.shuffle(ways)
    return base, [
        Change(f"Add the parameter {name} to total: {way}", f"def total(amount, {name}=0):\n    return {way}\n", test)
        for name, way, test in ways
    ]


def one_chain(draw: Draw) -> tuple[str, list[Change]]:
    """All put another call into the same expression."""
    base = "def clean(text):\n    return text.strip()\n"
    ways = [
        ("lower case", "text.strip().lower()", "assert app.clean(' AB ') == 'ab'"),
        ("no underscores", "text.strip().replace('_', '-')", "assert app.clean('a_b') == 'a-b'"),
        ("no dots at the end", "text.strip().rstrip('.')", "assert app.clean('ab..') == 'ab'"),
        ("single spaces", "' '.join(text.strip().split())", "assert app.clean('a  b') == 'a b'"),
    ]
    return base, [
        Change(f"clean gives {title}", f"def clean(text):\n    return {way}\n", test)
        for title, way, test in draw.sample(ways, 3)
    ]


def one_body(draw: Draw) -> tuple[str, list[Change]]:
    """All fill in another case of the same function."""
    base = "def describe(value):\n    return str(value)\n"
    ways = [
        ("None is 'nothing'", "value is None", "'nothing'", "None", "nothing"),
        ("True is 'yes'", "value is True", "'yes'", "True", "yes"),
        ("lists are their length", "isinstance(value, list)", "f'{len(value)} items'", "[1, 2]", "2 items"),
        ("floats have one digit", "isinstance(value, float)", "f'{value:.1f}'", "1.25001", "1.3"),
    ]
    made = []
    for title, test, way, given, wanted in draw.sample(ways, 3):
        source = f"def describe(value):\n    if {test}:\n        return {way}\n    return str(value)\n"
        if draw.random() < 0.5:
            source = f"def describe(value):\n    return {way} if {test} else str(value)\n"
        made.append(Change(f"describe: {title}", source, f"assert app.describe({given}) == {wanted!r}"))
    return base, made


def rewrite(draw: Draw) -> tuple[str, list[Change]]:
    """One writes the function anew; the others change a line of the old one."""
    power = draw.randrange(2, 5)
    way = f"item ** {power}"
    base = f"def powers(items):\n    out = []\n    for item in items:\n        out.append({way})\n    return out\n"
    anew = f"def powers(items):\n    return tuple({way} for item in items)\n"
    skipping = base.replace("        out.append", "        if item < 0:\n            continue\n        out.append")
    made = [
        Change("powers returns a tuple", anew, f"assert app.powers([1, 2]) == (1, {2**power})"),
        Change("powers leaves negative items out", skipping, "assert list(app.powers([-1, 1])) == [1]"),
        Change("powers(None) is empty", base.replace("in items:", "in items or []:"), "assert not app.powers(None)"),
    ]
    draw.shuffle(made)
    return base, made


SHAPES: tuple[Callable[[Draw], tuple[str, list[Change]]], ...] = (
    functions, imports, table, one_line_list, options, branches, neighbours, one_return, one_chain, rewrite,
    one_body,
)  # fmt: skip


def trials(count: int, seed: int) -> list[Trial]:
    """Trials of all shapes in turn, each with a seed of its own."""
    made = []
    for number in range(count):
        shape = SHAPES[number % len(SHAPES)]
        base, changes = shape(random.Random(seed + number))
        made.append(Trial(shape.__name__, seed + number, base, tuple(changes)))
    return made
