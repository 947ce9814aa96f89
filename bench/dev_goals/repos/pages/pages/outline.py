"""The outline of a text: anchors for its headings, and a table of contents."""

import re
import unicodedata
from html import escape

from pages.inline import plain_text


def anchor(text):
    """Make an anchor out of a heading: `What's new?` is `whats-new`."""
    plain = unicodedata.normalize("NFKD", plain_text(text)).encode("ascii", "ignore").decode()
    plain = re.sub(r"[^\w\s-]", "", plain).strip().lower()
    return re.sub(r"[\s_-]+", "-", plain) or "section"


class Anchors:
    """Gives each heading an anchor of its own."""

    def __init__(self):
        self._used = {}

    def of(self, text):
        """Return the anchor of a heading; equal ones are numbered: `news`, `news-2`."""
        name = anchor(text)
        count = self._used[name] = self._used.get(name, 0) + 1
        return name if count == 1 else f"{name}-{count}"


def outline(blocks, deepest=3):
    """List level, anchor and text of the headings of a text, down to a level."""
    anchors = Anchors()
    found = [(block.level, anchors.of(block.text), plain_text(block.text)) for block in blocks if block.kind == "heading"]
    return [entry for entry in found if entry[0] <= deepest]


def contents(entries):
    """Return a table of contents as nested lists in HTML."""
    if not entries:
        return ""
    lines, open_levels = [], []
    for level, name, text in entries:
        while open_levels and open_levels[-1] > level:
            lines.append("</li></ul>")
            open_levels.pop()
        if open_levels and open_levels[-1] == level:
            lines.append("</li>")
        else:
            lines.append("<ul>")
            open_levels.append(level)
        lines.append(f'<li><a href="#{name}">{escape(text, quote=False)}</a>')
    lines.extend("</li></ul>" for _ in open_levels)
    return "".join(lines)
