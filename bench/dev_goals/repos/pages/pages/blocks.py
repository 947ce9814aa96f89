"""Blocks: the paragraphs, headings, lists, quotes, rules and code of a text."""

import re
from dataclasses import dataclass, field

_HEADING = re.compile(r"(#{1,6})\s+(.*?)\s*#*$")
_ITEM = re.compile(r"([-*+]|\d+[.)])\s+(.*)")
_RULE = re.compile(r"(?:-\s*){3,}$|(?:\*\s*){3,}$")
_FENCE = re.compile(r"```\s*(\w*)\s*$")


@dataclass
class Block:
    """A part of a text.

    `kind` is one of paragraph, heading, list, quote, code, rule and table.
    """

    kind: str
    text: str = ""
    level: int = 0
    """Of a heading, 1 to 6."""
    ordered: bool = False
    """Of a list."""
    items: list = field(default_factory=list)
    """Texts of a list's items; rows of a table, each a list of cells."""
    children: list = field(default_factory=list)
    """Blocks within a quote."""
    language: str = ""
    """Of code."""


class Reader:
    """Reads blocks from lines, one after the other."""

    def __init__(self, lines):
        self.lines = lines
        self.place = 0

    def blocks(self):
        """Return all blocks."""
        found = []
        while self.place < len(self.lines):
            if not self.line.strip():
                self.place += 1
                continue
            found.append(self.block())
        return found

    @property
    def line(self):
        return self.lines[self.place]

    def block(self):
        """Read the block that begins at this place."""
        fence = _FENCE.match(self.line)
        if fence:
            return self.code(fence[1])
        heading = _HEADING.match(self.line)
        if heading:
            self.place += 1
            return Block("heading", heading[2], level=len(heading[1]))
        if _RULE.match(self.line.strip()):
            self.place += 1
            return Block("rule")
        if self.line.startswith(">"):
            return self.quote()
        if _ITEM.match(self.line):
            return self.list()
        if self.is_table():
            return self.table()
        return self.paragraph()

    def code(self, language):
        """Read code up to the closing fence, or to the end if there is none."""
        self.place += 1
        begin = self.place
        while self.place < len(self.lines) and self.line.strip() != "```":
            self.place += 1
        text = "\n".join(self.lines[begin : self.place])
        self.place += 1
        return Block("code", text, language=language)

    def quote(self):
        """Read a quote, which holds blocks itself."""
        inside = []
        while self.place < len(self.lines) and self.line.startswith(">"):
            inside.append(self.line[1:].removeprefix(" "))
            self.place += 1
        return Block("quote", children=Reader(inside).blocks())

    def list(self):
        """Read a list; lines that are indented go on with an item."""
        ordered = _ITEM.match(self.line)[1][0].isdigit()
        items = []
        while self.place < len(self.lines):
            item = _ITEM.match(self.line)
            if item and item[1][0].isdigit() == ordered:
                items.append(item[2])
            elif self.line.startswith("  ") and self.line.strip() and items:
                items[-1] += " " + self.line.strip()
            else:
                break
            self.place += 1
        return Block("list", ordered=ordered, items=items)

    def is_table(self):
        """Tell whether a table begins here: a row, and a row of dashes."""
        if "|" not in self.line or self.place + 1 == len(self.lines):
            return False
        return all(re.fullmatch(r":?-+:?", cell) for cell in cells_of(self.lines[self.place + 1]))

    def table(self):
        """Read a table; its first row is the head."""
        rows = [cells_of(self.line)]
        self.place += 2
        while self.place < len(self.lines) and "|" in self.line:
            rows.append(cells_of(self.line))
            self.place += 1
        return Block("table", items=rows)

    def paragraph(self):
        """Read lines up to an empty one, or one that begins another block."""
        begin = self.place
        self.place += 1
        while self.place < len(self.lines) and self.line.strip() and not self.interrupts():
            self.place += 1
        return Block("paragraph", "\n".join(line.strip() for line in self.lines[begin : self.place]))

    def interrupts(self):
        """Tell whether the line ends a paragraph without an empty line before it."""
        return bool(_HEADING.match(self.line) or _FENCE.match(self.line) or self.line.startswith(">"))


def cells_of(line):
    """Split a row of a table."""
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def read_blocks(text):
    """Return the blocks of a text."""
    return Reader(text.expandtabs(4).split("\n")).blocks()
