"""The texts of a site, as they are read from files."""

from dataclasses import dataclass, field
from datetime import date
from pathlib import PurePosixPath
from typing import Optional

from pages.blocks import read_blocks
from pages.errors import HeadError
from pages.head import split_head
from pages.inline import links_of, plain_text

WORDS_PER_MINUTE = 200


@dataclass
class Text:
    """One text with its head."""

    source: str
    """Path of the file, relative to the folder of the site."""
    title: str
    body: str
    date: Optional[date] = None
    tags: list = field(default_factory=list)
    draft: bool = False
    template: str = ""
    summary: str = ""

    @property
    def path(self):
        """Where its page is, relative to the target folder."""
        return PurePosixPath(self.source).with_suffix(".html").as_posix()

    @property
    def blocks(self):
        """Its blocks."""
        return read_blocks(self.body)

    @property
    def first_words(self):
        """The summary, or else the first paragraph, without markup and cut after 30 words."""
        if self.summary:
            return self.summary
        paragraphs = [block.text for block in self.blocks if block.kind == "paragraph"]
        words = plain_text(paragraphs[0]).split() if paragraphs else []
        return " ".join(words[:30]) + (" ..." if len(words) > 30 else "")

    @property
    def minutes(self):
        """How long it takes to read, in whole minutes, at least one."""
        return max(1, round(len(plain_text(self.body).split()) / WORDS_PER_MINUTE))

    def links(self):
        """List the addresses that it links to."""
        found = []
        for block in self.blocks:
            if block.kind != "code":
                for text in (block.text, *map(str, block.items)):
                    found += links_of(text)
        return found


def read_text(source, content):
    """Read a text; one without a title is called after its first heading, or else its file."""
    try:
        head, body = split_head(content)
    except HeadError as error:
        raise HeadError(f"{source}: {error}") from error
    title = head.pop("title", "") or _first_heading(body) or PurePosixPath(source).stem
    return Text(source, title, body, **head)


def _first_heading(body):
    return next((plain_text(block.text) for block in read_blocks(body) if block.kind == "heading"), "")
