"""What a reader of a web page sees, as text: no scripts, but headings, lists, code and links. Pure."""

from __future__ import annotations

from html.parser import HTMLParser
from urllib.parse import urljoin

_HIDDEN = frozenset(("script", "style", "noscript", "template", "svg", "head"))
_HEADINGS = {f"h{level}": "#" * level for level in range(1, 7)}
_LISTS = ("ul", "ol", "li", "dl", "dt", "dd", "table", "tr")
_SECTIONS = (
    "p",
    "div",
    "br",
    "hr",
    "pre",
    "blockquote",
    "section",
    "article",
    "main",
    "header",
    "footer",
    "nav",
    "aside",
)
_BLOCKS = frozenset((*_HEADINGS, *_LISTS, *_SECTIONS))
_CELLS = ("td", "th")
_FENCE = "```"


def text_of_html(html: str, url: str = "") -> str:
    """The text of a page. Headings, list items and code are marked as in Markdown.

    Args:
        url: Where the page is. Links are told with their address, if it is known.
    """
    reader = _Reader(url)
    reader.feed(html)
    reader.close()
    return reader.text()


class _Reader(HTMLParser):
    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url
        self._lines = [""]
        self._hidden = 0
        self._code = 0
        self._link = ""

    def text(self) -> str:
        """The lines, with one empty line at most between them outside of code."""
        kept: list[str] = []
        is_code = False
        for line in self._lines:
            is_code ^= line == _FENCE
            if line.strip() or is_code or (kept and kept[-1]):
                kept.append(line.rstrip())
        return "\n".join(kept).strip()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _HIDDEN:
            self._hidden += 1
        elif self._hidden:
            return
        elif tag in _BLOCKS:
            self._break(tag)
            self._lines[-1] += f"{_HEADINGS[tag]} " if tag in _HEADINGS else "- " if tag == "li" else ""
        elif tag in _CELLS and self._lines[-1].strip():
            self._lines[-1] += " | "
        elif tag == "a" and self._url:
            self._link = dict(attrs).get("href") or ""
        if tag == "pre":
            self._code += 1
            self._lines += [_FENCE, ""] if self._code == 1 else []

    def handle_endtag(self, tag: str) -> None:
        if tag in _HIDDEN:
            self._hidden = max(0, self._hidden - 1)
        elif self._hidden:
            return
        elif tag == "pre" and self._code:
            self._code -= 1
            if not self._lines[-1].strip():
                self._lines.pop()
            self._lines += [_FENCE, ""] if not self._code else []
        elif tag in _BLOCKS:
            self._break(tag)
        elif tag == "a" and self._link:
            self._tell_link()

    def handle_data(self, data: str) -> None:
        if self._hidden:
            return
        if self._code:
            first, *others = data.split("\n")
            self._lines[-1] += first
            self._lines += others
            return
        words = " ".join(data.split())
        before = self._lines[-1]
        is_apart = data[:1].isspace() and before and not before.endswith(" ")
        self._lines[-1] += (" " if is_apart else "") + words
        if words and data[-1:].isspace():
            self._lines[-1] += " "

    def parse_html_declaration(self, i: int) -> int:
        """Pass over a declaration that is none: some versions of Python fail at it."""
        try:
            return super().parse_html_declaration(i)
        except AssertionError:
            return self.parse_bogus_comment(i)

    def _break(self, tag: str) -> None:
        if not self._code and self._lines[-1] != "- ":
            is_close = tag in _LISTS or tag == "br"
            self._lines += [""] if is_close else ["", ""]

    def _tell_link(self) -> None:
        target, self._link = self._link, ""
        if self._code or target.startswith(("#", "javascript:", "data:")):
            return
        try:
            self._lines[-1] = self._lines[-1].rstrip() + f" ({urljoin(self._url, target)})"
        except ValueError:  # no address at all
            return
