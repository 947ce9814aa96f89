"""How a program is called, read out of its goal by rules: commands, arguments, options, standard input, exit status.

Goals show it in code: `python words.py FILE`, `add AMOUNT CATEGORY`, `--top N`. What they show is kept word for word,
so that no model has to write a parser. A goal that shows too little, or something that is not understood, has no usage.
"""

from __future__ import annotations

import builtins
import keyword
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import msgspec

_CODE = re.compile(r"`([^`\n]+)`|^(?: {4,}|\t)[$ ]*(.+)$", re.MULTILINE)
_CALL = re.compile(r"^(?:\$ *)?(?:python3? +)?(?:\./)?[\w/-]+\.py(?: +|$)")
_LISTED = re.compile(r"\b(?:sub-?)?commands?\b[^.`]{0,40}((?:`[a-z][a-z-]*`(?:,? (?:and|or) |, )?)+)", re.IGNORECASE)
_ITEM = re.compile(r"^\s*(?:[-*]|\d+[.)])\s+", re.MULTILINE)
_WORD = re.compile(r"[a-z][a-z-]*$")
_OPTION = re.compile(r"--[a-z][a-z0-9-]*$")
_PLACEHOLDER = re.compile(r"[A-Z][A-Z0-9_-]*$|<[a-z][\w -]*>$")
_STDIN = re.compile(r"\bstdin\b|\bstandard input\b", re.IGNORECASE)
_STATUS = re.compile(r"\bexit(?:s|ing)?\b[^.`]{0,30}?\b([1-9])\b|\b(?:status|exit code) ([1-9])\b", re.IGNORECASE)
_SHOWS_ALL = (
    r"`{flag}`,? +(?:just +)?(?:prints?|shows?|lists?|displays?) +"
    r"(?:all|every|an?|the (?:list|version|names)|what|which)\b"
)
_DEFAULT = re.compile(
    r"\bdefaults?(?: +(?:to|is|value|of))* *:? *[`\"']?(-?\d+(?:\.\d+)?|[a-z][\w.-]*\w|[a-z])", re.IGNORECASE
)
_TEXTS = {"file", "text", "path", "input", "filename", "string", "message", "words"}
_REAL = {"amount", "price", "value", "rate", "factor", "temperature", "weight", "height", "radius", "ratio", "percent"}
_WHOLE = {
    "n", "k", "num", "number", "count", "index", "id", "bytes", "size", "lines", "width", "limit", "port", "year",
    "seconds", "minutes", "hours", "days", "times", "depth", "length", "quantity", "page", "level",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Argument:
    """A positional argument, or the value of an option. `kind` is `str`, `int` or `float`."""

    name: str
    """As a Python name."""
    kind: str = "str"
    is_optional: bool = False

    @property
    def shown(self) -> str:
        """As a user reads it."""
        return self.name.strip("_").upper()


@dataclass(frozen=True, slots=True)
class Option:
    """An option of a command."""

    flag: str
    """With its dashes."""
    value: Argument | None = None
    """None: it is a switch."""
    default: str = "None"
    """Python source."""
    is_required: bool = False

    @property
    def name(self) -> str:
        """As a Python name."""
        return identifier(self.flag)


@dataclass(frozen=True, slots=True)
class Command:
    """One command of a program; the only one may have no name."""

    name: str
    arguments: tuple[Argument, ...] = ()
    options: tuple[Option, ...] = ()

    def parameters(self, usage: Usage) -> tuple[str, ...]:
        """What its function is given: arguments, what standard input holds, options."""
        names = ["text" if one.name == usage.stdin else one.name for one in self.arguments]
        names += ["text"] if usage.stdin == "-" else []
        return (*names, *(option.name for option in self.options))

    def shown(self, file: str) -> str:
        """How a user types it."""
        words = ["python", file, *filter(None, [self.name])]
        words += [f"[{one.shown}]" if one.is_optional else one.shown for one in self.arguments]
        for option in self.options:
            text = f"{option.flag} {option.value.shown}" if option.value else option.flag
            words.append(text if option.is_required else f"[{text}]")
        return " ".join(words)


@dataclass(frozen=True, slots=True)
class Usage:
    """All commands of a program, and what holds for each."""

    commands: tuple[Command, ...]
    stdin: str = ""
    """The argument in whose place standard input is read; `-` if it always is."""
    status: int = 1
    """Exit status when something cannot be done."""
    alone: tuple[str, ...] = ()
    """Switches that need no arguments."""

    def as_dict(self) -> dict[str, Any]:
        """As plain values."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        return plain

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> Usage:
        """Read it back."""
        return msgspec.convert(plain, cls)


@dataclass(frozen=True, slots=True)
class _Shown:
    """A piece of a call as the goal shows it."""

    words: tuple[str, ...]
    is_call: bool
    """With `python program.py` in front."""
    item: int
    """In which item of a list; 0: in none."""


@dataclass(frozen=True, slots=True)
class _Form:
    """Words that a command is called with."""

    words: tuple[str, ...]
    command: str | None
    """None: any."""
    is_whole: bool
    """All arguments of the call are there; else it only tells of options."""
    is_call: bool


def read_usage(goal: str) -> Usage | None:
    """Read how a program is called; None if the goal does not show it, or shows what is not understood here."""
    shown = list(_shown(goal))
    if any("..." in word or "|" in word for one in shown for word in one.words):
        return None
    names = _command_names(goal, shown)
    forms = list(_forms(shown, names))
    switches = {word for one in forms for word, following in _pairs(one.words) if _is_option(word) and not following}
    own = [_command(name, [f for f in forms if f.command in (name, None)], switches, goal) for name in names or [""]]
    if re.search(r"\b(?:both|each of them|all of them)\b", goal, re.IGNORECASE):
        fullest = max((one.arguments for one in own), key=len)
        own = [one if one.arguments else replace(one, arguments=fullest) for one in own]
    if not any(one.arguments or one.options for one in own):
        return None
    alone = [f for f in sorted(switches) if not names and re.search(_SHOWS_ALL.format(flag=f), goal, re.IGNORECASE)]
    stdin = _stdin(goal, own)
    optional = {argument.name for one in own for argument in one.arguments if alone} | {stdin}
    status = _STATUS.search(goal)
    return Usage(
        tuple(_with_optional(one, optional) for one in own),
        stdin,
        int(status[1] or status[2]) if status else 1,
        tuple(alone),
    )


def identifier(word: str) -> str:
    """Make a Python name of a word, one that hides nothing."""
    name = re.sub(r"\W+", "_", word.lower()).strip("_")
    return f"{name}_" if keyword.iskeyword(name) or hasattr(builtins, name) else name


def _shown(goal: str) -> Iterator[_Shown]:
    starts = [match.start() for match in _ITEM.finditer(goal)]
    for match in _CODE.finditer(goal):
        text = (match[1] or match[2]).strip()
        call = _CALL.match(text)
        rest = text[call.end() :] if call else text
        try:
            words = tuple(shlex.split(rest.replace("[", " [").replace("]", "] ")))
        except ValueError:
            continue
        begin = max((start for start in starts if start <= match.start()), default=-1)
        is_inside = begin >= 0 and "\n\n" not in goal[begin : match.start()]
        if call or (words and (_is_option(words[0].strip("[]")) or _WORD.match(words[0]))):
            yield _Shown(words, call is not None, begin + 1 if is_inside else 0)


def _command_names(goal: str, shown: Iterable[_Shown]) -> list[str]:
    """The subcommands that a goal lists: behind that word, or in the items of a list, or with their arguments."""
    if not re.search(r"\b(?:sub-?)?commands?\b(?![- ]line)", goal, re.IGNORECASE):
        return []
    listed = [name for group in _LISTED.findall(goal) for name in re.findall(r"`([a-z-]+)`", group)]
    heads: dict[int, str] = {}
    for one in shown:
        if one.words and not one.is_call and _WORD.match(one.words[0]):
            is_head = one.item and heads.setdefault(one.item, one.words[0]) == one.words[0]
            listed += [one.words[0]] if is_head or _has_placeholder(one.words) else []
    return list(dict.fromkeys(listed))


def _has_placeholder(words: Iterable[str]) -> bool:
    return any(_PLACEHOLDER.match(word.strip("[]")) for word in words)


def _forms(shown: Iterable[_Shown], names: list[str]) -> Iterator[_Form]:
    """Say which command each piece is about. An option that is told of in the item of a command is that command's."""
    heads: dict[int, str] = {}
    for one in shown:
        if one.words and one.words[0] in names:
            if one.item:
                heads.setdefault(one.item, one.words[0])
            yield _Form(one.words[1:], one.words[0], one.is_call or len(one.words) > 1, one.is_call)
        elif one.words and _is_option(one.words[0].strip("[]")) and not one.is_call:
            yield _Form(one.words, heads.get(one.item), False, False)
        elif one.is_call and not names:
            yield _Form(one.words, None, True, True)


def _command(name: str, forms: Iterable[_Form], switches: set[str], goal: str) -> Command:
    arguments: list[list[Argument]] = []
    options: dict[str, Option] = {}
    calls: list[set[str]] = []
    for form in forms:
        found, given = _read(form.words, switches, goal)
        for option in given:
            known = options.get(option.flag)
            if known is None or (option.value and known.value and known.value.name == "text"):
                options[option.flag] = option
        arguments += [found] if form.is_whole else []
        calls += [{option.flag for option in given}] if form.is_call else []
    needed = set.intersection(*calls) if len(calls) > 1 else set()
    least = min(map(len, arguments), default=0)
    fullest: list[Argument] = max(arguments, key=len, default=[])
    known_arguments = [
        replace(one, is_optional=one.is_optional or number >= least) for number, one in enumerate(fullest)
    ]
    required = [replace(one, is_required=one.flag in needed and one.value is not None) for one in options.values()]
    return Command(name, tuple(known_arguments), tuple(required))


def _with_optional(command: Command, names: set[str]) -> Command:
    return replace(
        command, arguments=tuple(replace(a, is_optional=a.is_optional or a.name in names) for a in command.arguments)
    )


def _read(words: tuple[str, ...], switches: set[str], goal: str) -> tuple[list[Argument], list[Option]]:
    arguments: list[Argument] = []
    options = []
    pairs = iter(_pairs(words))
    for word, following in pairs:
        bare = word.strip("[]")
        if not _is_option(bare):
            arguments.append(_argument(bare, arguments, is_optional=word != bare))
        elif bare in switches or not following:
            options.append(Option(bare, default="False"))
        else:
            next(pairs, None)
            value = _argument(following.strip("[]"), ())
            options.append(Option(bare, value, _default(bare, goal, value)))
    return arguments, options


def _pairs(words: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Each word, with the one behind it if that could be its value."""
    for word, following in zip(words, (*words[1:], ""), strict=bool(words)):
        yield word, "" if _is_option(following.strip("[]")) or word.endswith("]") else following


def _argument(word: str, before: Iterable[Argument], *, is_optional: bool = False) -> Argument:
    if _PLACEHOLDER.match(word):
        name = identifier(word.strip("<>"))
        kind = "float" if name in _REAL else "int" if name.rstrip("_") in _WHOLE else "str"
    elif re.fullmatch(r"-?\d+(\.\d+)?", word):
        name, kind = "number", "float" if "." in word else "int"
    else:
        name, kind = "file" if re.search(r"\.\w+$", word) else "text", "str"
    taken = {argument.name for argument in before}
    name = next(n for n in (name, *(f"{name}_{number}" for number in range(2, 99))) if n not in taken)
    return Argument(name, kind, is_optional)


def _default(flag: str, goal: str, value: Argument) -> str:
    behind = goal.partition(flag)[2].split("`--")[0][:160]
    found = _DEFAULT.search(behind)
    if not found:
        return "None"
    is_number = re.fullmatch(r"-?\d+(\.\d+)?", found[1])
    return found[1] if is_number and value.kind != "str" else repr(found[1])


def _stdin(goal: str, commands: Iterable[Command]) -> str:
    if not _STDIN.search(goal):
        return ""
    named = [argument.name for one in commands for argument in one.arguments if argument.name in _TEXTS]
    return named[-1] if named else "-"


def _is_option(word: str) -> bool:
    return _OPTION.match(word) is not None
