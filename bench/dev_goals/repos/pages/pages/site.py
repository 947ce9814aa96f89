"""A whole site: read from one folder, written to another."""

import shutil
from pathlib import Path, PurePosixPath

from pages import templates
from pages.errors import PagesError
from pages.feed import atom
from pages.index import by_date, by_tag
from pages.outline import contents, outline
from pages.render import Renderer
from pages.texts import read_text

SUFFIX = ".txt"
_LONG = 3
"""Headings from which on a page has a table of contents."""


class Site:
    """The texts and other files of a folder."""

    def __init__(self, folder, title="Pages", address="https://example.org"):
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise PagesError(f"{folder} is not a folder.")
        self.title = title
        self.address = address
        self.texts = []
        self.files = []
        for place in sorted(self.folder.rglob("*")):
            inside = place.relative_to(self.folder)
            if place.is_dir() or any(part.startswith(("_", ".")) for part in inside.parts):
                continue
            if place.suffix == SUFFIX:
                self.texts.append(read_text(inside.as_posix(), place.read_text(encoding="utf-8")))
            else:
                self.files.append(inside.as_posix())

    def published(self):
        """List the texts that are no drafts."""
        return [text for text in self.texts if not text.draft]

    def page(self, text):
        """Return the page of a text."""
        blocks = text.blocks
        if blocks and blocks[0].kind == "heading" and blocks[0].text == text.title:
            blocks = blocks[1:]
        entries = outline(blocks)
        return self.template(text.template).fill(
            title=text.title,
            date=text.date or "",
            tags=text.tags,
            contents=contents(entries) if len(entries) >= _LONG else "",
            body=Renderer().blocks(blocks),
            root="../" * (len(PurePosixPath(text.path).parts) - 1),
        )

    def template(self, name):
        """Return a template: of the folder `_templates`, or the usual one."""
        if not name:
            return templates.Template(templates.PAGE)
        place = self.folder / "_templates" / f"{name}.html"
        if not place.is_file():
            raise PagesError(f"There is no template {name!r}.")
        return templates.Template(place.read_text(encoding="utf-8"))

    def listing(self, title, texts, root=""):
        """Return a page with a list of texts."""
        return templates.Template(templates.LIST).fill(title=title, entries=texts, root=root)

    def outputs(self):
        """Return what is to be written, by path: pages, lists and the feed."""
        texts = self.published()
        found = {text.path: self.page(text) for text in texts}
        found.setdefault("index.html", self.listing(self.title, by_date(texts)))
        for tag, tagged in by_tag(texts).items():
            found[f"tags/{tag}.html"] = self.listing(tag, tagged, "../")
        found["feed.xml"] = atom(texts, self.title, self.address)
        return found

    def build(self, target):
        """Write the site and return the paths of what was written."""
        target = Path(target)
        written = []
        for path, content in self.outputs().items():
            place = target / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(content, encoding="utf-8")
            written.append(path)
        for path in self.files:
            place = target / path
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self.folder / path, place)
            written.append(path)
        return sorted(written)

    def broken_links(self):
        """List source and address of links within the site that lead nowhere."""
        known = {*self.outputs(), *self.files}
        broken = []
        for text in self.published():
            for address in text.links():
                if "://" in address or address.startswith(("#", "mailto:")):
                    continue
                wanted = PurePosixPath(text.path).parent / address.partition("#")[0]
                if _normal(wanted) not in known:
                    broken.append((text.source, address))
        return broken


def _normal(path):
    parts = []
    for part in path.parts:
        if part == ".." and parts:
            parts.pop()
        elif part != ".":
            parts.append(part)
    return "/".join(parts)
