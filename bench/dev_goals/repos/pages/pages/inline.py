"""Markup within a line: emphasis, weight, code, links and images."""

import re
from html import escape

_CODE = re.compile(r"`([^`]+)`")
_IMAGE = re.compile(r"!\[([^\]]*)\]\(([^)\s]+)\)")
_LINK = re.compile(r"\[([^\]]+)\]\(([^)\s]+)\)")
_BARE = re.compile(r"(?<![\"'>=])\bhttps?://[^\s<]+[^\s<.,;:!?)]")
_STRONG = re.compile(r"\*\*(?=\S)(.+?)(?<=\S)\*\*")
_EMPHASIS = re.compile(r"\*(?=\S)(.+?)(?<=\S)\*")
_ESCAPED = re.compile(r"\\([\\`*\[\]!#_~])")
_MARK = "\x00"


class Kept:
    """Keeps pieces that are done away from what is still to be worked on."""

    def __init__(self):
        self.pieces = []

    def keep(self, piece):
        """Put a piece away and return the mark that stands for it."""
        self.pieces.append(piece)
        return f"{_MARK}{len(self.pieces) - 1}{_MARK}"

    def restore(self, text):
        """Put the pieces back."""
        pattern = re.compile(f"{_MARK}(\\d+){_MARK}")
        while pattern.search(text):
            text = pattern.sub(lambda found: self.pieces[int(found[1])], text)
        return text


def render_inline(text):
    """Return a line of markup as HTML. Everything that is no markup is escaped."""
    kept = Kept()
    text = text.replace(_MARK, "")
    text = _ESCAPED.sub(lambda found: kept.keep(escape(found[1])), text)
    text = _CODE.sub(lambda found: kept.keep(f"<code>{escape(found[1], quote=False)}</code>"), text)
    text = escape(text, quote=False)
    text = _IMAGE.sub(lambda found: kept.keep(image(found[1], found[2])), text)
    text = _LINK.sub(lambda found: kept.keep(f'<a href="{address(found[2])}">') + found[1] + kept.keep("</a>"), text)
    text = _BARE.sub(lambda found: kept.keep(f'<a href="{address(found[0])}">{found[0]}</a>'), text)
    text = _STRONG.sub(r"<strong>\1</strong>", text)
    text = _EMPHASIS.sub(r"<em>\1</em>", text)
    return kept.restore(text)


def address(text):
    """Return an address for an attribute; one that could run a script is replaced by `#`."""
    plain = text.replace("&amp;", "&").strip()
    if re.match(r"(?i)\s*(javascript|data|vbscript):", plain):
        return "#"
    return escape(plain)


def image(alt, source):
    """Return an image."""
    return f'<img src="{address(source)}" alt="{escape(alt)}">'


def plain_text(text):
    """Return a line without its markup."""
    text = _IMAGE.sub(r"\1", text)
    text = _LINK.sub(r"\1", text)
    text = _CODE.sub(r"\1", text)
    text = _STRONG.sub(r"\1", text)
    text = _EMPHASIS.sub(r"\1", text)
    return _ESCAPED.sub(r"\1", text)


def links_of(text):
    """List the addresses of links and images in a text, code left out."""
    text = _CODE.sub("", text)
    return [found[1] for found in _IMAGE.findall(text)] + [found[1] for found in _LINK.findall(_IMAGE.sub("", text))]
