"""How much a goal asks for: one thing, or several, and which. By rules, because small goals must not be taken apart.

A goal for a function, a module or a program is one piece; so is a service with its database. Several pieces are what
the goal itself names: several files, or products of several kinds, such as a service and a command line.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from treadle.agents.goal import PROGRAM, read_goal
from treadle.domain.plan import Specialist, TaskKind

Size = Literal["one", "several", "unsure"]
_SOURCE = r"py|html?|css|js|md|rst|ino|c|h|cpp|hpp|rs"
_FILE = re.compile(rf"(?<![\w/.\-:])((?:[A-Za-z_][\w-]*/)*[A-Za-z_][\w-]*\.(?:{_SOURCE}))\b(?!\()")
_TEST = re.compile(r"(?:^|/)(?:tests?/|test_|conftest\.py)|_test\.\w+$")
_MADE_BY_OTHERS = re.compile(
    r"\b(?:pars\w*|extract\w*|from|scrap\w*|fetch\w*|download\w*|read(?:s|ing)?|crawl\w*|calls?|calling|quer\w+|"
    r"consum\w*|checks?|clients?\s+(?:for|of)|wrapper\s+(?:for|of|around)|talks?\s+to|of)\s+(?:[\w-]+\s+){0,2}$",
    re.IGNORECASE,
)
"""What stands before a thing that is used, and not made."""
_FACETS: dict[TaskKind, re.Pattern[str]] = {
    "service": re.compile(
        r"\b(?:REST(?:ful)?|HTTP|JSON|web)(?:\s+JSON)?[- ]?(?:APIs?|services?|servers?|backend|endpoints?)\b"
        r"|\bAPI\s+(?:server|service|endpoints?)\b|\bback-?end\b|\bmicro-?services?\b|\b(?-i:REST)\b"
        r"|\b(?:GET|POST|PUT|PATCH|DELETE)\s+/\w*"
        r"|\b(?:[\w-]+ing|small|simple|tiny|an?)\s+service\b",
        re.IGNORECASE,
    ),
    "program": PROGRAM,
    "page": re.compile(
        r"\b(?:web[- ]?pages?|web[- ]?sites?|HTML\s+pages?|landing\s+page|home\s?page|front-?end|"
        r"web\s+(?:UI|interface|app(?:lication)?)|dashboards?|single[- ]page)\b",
        re.IGNORECASE,
    ),
    "document": re.compile(
        r"\b(?:docs|documentation|user\s+guide|user\s+manual|manual|tutorial|API\s+reference|how-?to)\b",
        re.IGNORECASE,
    ),
}
"""The kinds of products, in the order in which they build on each other, and how a goal names them."""
_EMBEDDED = re.compile(
    r"\b(?:arduino|esp(?:32|8266)|micro-?python|micro-?controllers?|firmware|raspberry\s+pi\s+pico|stm32|gpio|i2c|uart)\b",
    re.IGNORECASE,
)
_SEEN = re.compile(
    r"\b(?:mock-?ups?|screenshots?|sketch(?:es)?|wireframes?|drawings?|design)\b[^.\n]*\.(?:png|jpe?g|webp|gif)\b"
    r"|\b[\w-]*(?:mock-?up|screenshot|sketch|wireframe)[\w-]*\.(?:png|jpe?g|webp|gif)\b",
    re.IGNORECASE,
)
"""An image that shows what is wanted; not one that the program works on."""
_LARGE = re.compile(
    r"\b(?:systems?|platform|saas|suite|full[- ]stack|application|games?|engine|framework|package|marketplace|"
    r"social\s+network|pipeline|project)\b",
    re.IGNORECASE,
)
_SMALL = re.compile(r"\b(?:functions?|class(?:es)?|script|module|method|helper)\b", re.IGNORECASE)
_LONG = 200
"""Words from which on a goal that names no file may be more than one thing."""
_BOUNDARY = re.compile(
    r"(?:,\s*(?:and\s+)?|;\s*|\s+and\s+(?=(?:an?|the|its|some)\s|docs\b|documentation\b|[\w./]+\.\w{1,4}\b)"
    r"|\s+(?:with|plus)\s+(?=(?:an?|the|some)\s))"
)
_ITEM = re.compile(r"^[ \t]*(?:[-*+]|\d+[.)])[ \t]+(.+(?:\n[ \t]+\S.*)*)", re.MULTILINE)
_SETTING = re.compile(r"(?<![\w/.\-:])((?:[\w.-]+/)*[\w-]+\.(?:json|ya?ml|toml|ini|cfg|sh|txt))\b(?!\()")
_END = re.compile(r"(?<=[.!?])(?<!e\.g\.)(?<!i\.e\.)\s+(?=[A-Z`\"(]|[\w/]+\.\w{1,4}\b|\w+\()")
_USES = re.compile(r"\b(?:uses?|using|imports?|calls?|needs?|on\s+top\s+of|from|by)\s+(?:the\s+)?`?$", re.IGNORECASE)
_CLOSED = re.compile(r"\([^()]*\)|`[^`]*`|\"[^\"]*\"")
_LEAD = re.compile(r"^(?:then|also|finally|and)\s+(?=\S)", re.IGNORECASE)
_FILES_OF_FACETS: dict[TaskKind, str] = {
    "service": "service.py",
    "program": "cli.py",
    "page": "index.html",
    "document": "docs/guide.md",
}
_PAGE_ENDINGS = (".html", ".htm", ".css", ".js")


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of what is wanted, as the goal names it."""

    kind: TaskKind
    files: tuple[str, ...]
    said: tuple[str, ...]
    """What the goal says of it, sentence by sentence, in the goal's own words."""
    is_named: bool = True
    """The goal names its files."""

    @property
    def stem(self) -> str:
        return self.files[0].rpartition("/")[2].partition(".")[0]


@dataclass(frozen=True, slots=True)
class Parts:
    """What the rules found."""

    size: Size
    why: str
    """Why it is of this size, as the end of a sentence."""
    kind: TaskKind
    """Of the whole, if it stays one."""
    specialist: Specialist
    pieces: tuple[Piece, ...] = ()
    """Two or more, if there are several."""
    shared: tuple[str, ...] = ()
    """What the goal says of all of them."""


def read_parts(goal: str, *, is_change: bool = False) -> Parts:
    """Read how much a goal in English asks for. Deterministic; `is_change`: it changes what is there."""
    files = named_files(goal)
    specialist = specialist_of(goal, files)
    if is_change:
        pieces, shared = _changes(goal)
        if len(pieces) > 1:
            return Parts("several", f"it changes {len(pieces)} things", "change", specialist, pieces, shared)
        return Parts("one", "it changes what is there", "change", specialist)
    reading = read_goal(goal)
    if reading.skeleton:
        return Parts("one", "it gives the code to be completed", "module", specialist)
    facets = facets_of(goal)
    groups = _groups(files)
    if len(groups) > 1:
        pieces, shared = _by_file(goal, groups, facets)
        return Parts("several", f"it names {len(files)} files", pieces[0].kind, specialist, pieces, shared)
    kind = _kind_of(files, facets)
    products = [facet for facet in facets if facet != "document"]
    is_all = not products or kind not in ("page", "document")
    if (len(files) == 1 and is_all) or (reading.functions and not facets):
        return Parts("one", "it names one file" if files else "it names functions", kind, specialist)
    if len(products) > 1 or (len(products) == 1 and len(facets) > 1 and products[0] in ("service", "page")):
        pieces, shared = _by_facet(goal, facets, files)
        return Parts("several", f"it asks for a {' and a '.join(facets)}", pieces[0].kind, specialist, pieces, shared)
    if facets:
        return Parts("one", f"it is one {facets[0]}", kind, specialist)
    if not _SMALL.search(goal) and (_LARGE.search(goal) or len(goal.split()) > _LONG):
        return Parts("unsure", "it may be more than one thing", kind, specialist)
    return Parts("one", "it asks for one thing", kind, specialist)


def _changes(goal: str) -> tuple[tuple[Piece, ...], tuple[str, ...]]:
    """The parts of a change that can be made one by one: items of a list that are each about a file of their own, or a
    text about the code beside the code. Anything else is one change, because what belongs together is tested together.
    """
    items = [" ".join(item.split()) for item in _ITEM.findall(goal)]
    named = [_sources(item) for item in items]
    if len(items) > 1 and all(len(files) == 1 for files in named) and len({files[0] for files in named}) == len(items):
        pieces = tuple(Piece("change", files, (item,)) for files, item in zip(named, items, strict=True))
        return pieces, tuple(sentences(goal[: _ITEM.search(goal).start()]))  # type: ignore[union-attr]
    files = _sources(goal)
    texts = [name for name in files if name.endswith((".md", ".rst"))]
    code = [name for name in files if name not in texts]
    said = [sentence for sentence in sentences(goal) if any(name in sentence for name in texts)]
    rest = [sentence for sentence in sentences(goal) if sentence not in said]
    if len(texts) == 1 and code and said and rest and not any(name in " ".join(said) for name in code):
        return (Piece("change", tuple(code), tuple(rest)), Piece("change", tuple(texts), tuple(said))), ()
    return (), ()


def _sources(text: str) -> tuple[str, ...]:
    """The files that a text names, but for tests."""
    found = [name for name in [*_FILE.findall(text), *_SETTING.findall(text)] if not _TEST.search(name)]
    return tuple(dict.fromkeys(found))


def named_files(goal: str) -> tuple[str, ...]:
    """Files of source that a goal names, but for tests, in order."""
    found = [name for name in _FILE.findall(goal) if not _TEST.search(name)]
    return tuple(dict.fromkeys(name for name in found if name.lower() != "readme.md"))


def facets_of(goal: str) -> tuple[TaskKind, ...]:
    """The kinds of products that a goal asks for, in the order in which they build on each other."""
    return tuple(kind for kind in _FACETS if _names_one(kind, goal))


def specialist_of(goal: str, files: Iterable[str]) -> Specialist:
    """Who is made for a goal."""
    if _SEEN.search(goal):
        return "code_vision"
    if _EMBEDDED.search(goal) or any(name.endswith((".ino", ".c", ".h", ".cpp", ".hpp")) for name in files):
        return "code_embedded"
    kind = _kind_of(tuple(files), facets_of(goal))
    return {"page": "ui_design", "document": "documentation"}.get(kind, "code_general")  # type: ignore[return-value]


def kind_of_file(path: str, goal: str) -> TaskKind:
    """What a file is, by its name and by what a goal says of it."""
    if path.endswith(_PAGE_ENDINGS):
        return "page"
    if path.endswith((".md", ".rst")):
        return "document"
    facets = facets_of(goal)
    return "service" if "service" in facets else "program" if "program" in facets else "module"


def sentences(text: str) -> list[str]:
    """Take a text apart into sentences and items of lists, without their marks."""
    found: list[str] = []
    for block in re.split(r"\n\s*\n|\n(?=\s*(?:[-*+]|\d+[.)])\s)|(?<=:)\n", text):
        line = re.sub(r"^\s*(?:[-*+]|\d+[.)])\s+", "", " ".join(block.split()))
        found += _END.split(line)
    return [sentence.strip() for sentence in found if sentence.strip(" #-*")]


def _names_one(kind: TaskKind, text: str) -> bool:
    """Whether a text asks for a product of a kind, and does not only use one."""
    return any(
        not _MADE_BY_OTHERS.search(text[max(0, match.start() - 40) : match.start()])
        for match in _FACETS[kind].finditer(text)
    )


def _kind_of(files: tuple[str, ...], facets: Sequence[TaskKind]) -> TaskKind:
    if files and files[0].endswith(_PAGE_ENDINGS):
        return "page"
    if files and files[0].endswith((".md", ".rst")):
        return "document"
    order: tuple[TaskKind, ...] = ("service", "program") if files else ("service", "program", "page", "document")
    return next((kind for kind in order if kind in facets), "module")


def _groups(files: Sequence[str]) -> list[tuple[str, ...]]:
    """Files that are one piece: a page with its styles and scripts; a header with its source."""
    groups: dict[str, list[str]] = {}
    for name in files:
        if name.endswith(_PAGE_ENDINGS):
            key = "page"
        elif name.endswith((".c", ".h", ".cpp", ".hpp", ".ino")):
            key = name.rpartition(".")[0]
        else:
            key = name
        groups.setdefault(key, []).append(name)
    return [tuple(names) for names in groups.values()]


def _by_file(
    goal: str, groups: Sequence[tuple[str, ...]], facets: Sequence[TaskKind]
) -> tuple[tuple[Piece, ...], tuple[str, ...]]:
    """Give each sentence to the file that it names, else to the one before."""
    home = {name: number for number, names in enumerate(groups) for name in names}
    said: list[list[str]] = [[] for _ in groups]
    shared: list[str] = []
    at: int | None = None
    for sentence in sentences(goal):
        named = {home[name] for name in _FILE.findall(sentence) if name in home}
        for clause in _clauses(sentence) if len(named) > 1 else [sentence]:
            named_here = [match for match in _FILE.finditer(clause) if match[1] in home]
            made = [match for match in named_here if not _USES.search(clause[: match.start()])]
            if made or (at is None and named_here):
                at = home[(made or named_here)[0][1]]
            (shared if at is None else said[at]).append(_LEAD.sub("", clause))
    pieces = [
        Piece(kind_of_file(names[0], " ".join(lines)), names, tuple(lines))
        for names, lines in zip(groups, said, strict=True)
    ]
    return tuple(pieces), tuple(shared)


def _by_facet(goal: str, facets: Sequence[TaskKind], files: Sequence[str]) -> tuple[tuple[Piece, ...], tuple[str, ...]]:
    """Give each clause to the product that it names, else to the one before."""
    said: dict[TaskKind, list[str]] = {facet: [] for facet in facets}
    shared: list[str] = []
    at: TaskKind | None = None
    for sentence in sentences(goal):
        for clause in _clauses(sentence):
            found = [facet for facet in facets if _names_one(facet, clause)]
            at = found[0] if found else at
            (shared if at is None else said[at]).append(clause)
    named = {_kind_of((file,), ()): file for file in files}
    pieces = [
        Piece(facet, (named.get(facet, _FILES_OF_FACETS[facet]),), tuple(said[facet]), facet in named)
        for facet in facets
    ]
    return tuple(pieces), tuple(shared)


def _clauses(sentence: str) -> list[str]:
    """Take a sentence apart where another thing may begin, but not within brackets, code or quotes."""
    closed = _CLOSED.sub(lambda match: "\0" * len(match[0]), sentence)
    found, at = [], 0
    for match in _BOUNDARY.finditer(closed):
        found.append(sentence[at : match.start()])
        at = match.end()
    clauses = [_LEAD.sub("", clause.strip()) for clause in [*found, sentence[at:]]]
    return [clause for clause in clauses if clause.strip(" .,;")]
