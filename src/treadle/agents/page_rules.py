"""What is wrong with a static page, seen without a browser: form, links, labels, contrast. Rules only."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from itertools import pairwise

_VOID = frozenset("area base br col embed hr img input link meta source track wbr".split())  # noqa: SIM905
_OPTIONAL = frozenset("p li dt dd option tr td th thead tbody tfoot colgroup html head body".split())  # noqa: SIM905
"""Elements whose end may be left out."""
_UNLABELLED = frozenset(["hidden", "submit", "button", "reset", "image"])
_COLOUR_NAMES = """
black=000000 white=ffffff red=ff0000 green=008000 blue=0000ff yellow=ffff00 gray=808080 grey=808080 silver=c0c0c0
navy=000080 orange=ffa500 purple=800080 teal=008080 maroon=800000 lightgray=d3d3d3 lightgrey=d3d3d3 darkgray=a9a9a9
whitesmoke=f5f5f5 tomato=ff6347 gold=ffd700 pink=ffc0cb
"""
_NAMED_COLOURS = {name: f"#{digits}" for name, digits in re.findall(r"(\w+)=(\w+)", _COLOUR_NAMES)}
_LEAST_CONTRAST = 4.5
"""Of text, as WCAG 2 (AA) has it."""
_RULE = re.compile(r"([^{}]+)\{([^{}]*)\}")
_PLACEHOLDER = re.compile(r"\blorem ipsum\b|\btodo:|\byour (?:text|content|name|title) here\b", re.IGNORECASE)


@dataclass(slots=True)
class _Seen:
    """What a page holds."""

    ids: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    """Addresses of links, pictures, styles and scripts."""
    labelled: set[str] = field(default_factory=set)
    controls: list[tuple[str, bool]] = field(default_factory=list)
    """Id of each control, and whether it has a name of its own."""
    problems: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    styles: list[str] = field(default_factory=list)
    text: list[str] = field(default_factory=list)
    lang: str = ""
    has_doctype: bool = False
    has_viewport: bool = False
    has_charset: bool = False


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen = _Seen()
        self._open: list[tuple[str, int]] = []
        self._nameless: list[list[str]] = []
        """For each link or button that is open: the text in it so far."""

    def handle_decl(self, decl: str) -> None:
        self.seen.has_doctype = decl.lower().startswith("doctype html") or self.seen.has_doctype

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = {name: value or "" for name, value in attrs}
        self.seen.tags.append(tag)
        self._note(tag, said)
        if tag not in _VOID:
            self._open.append((tag, self.getpos()[0]))
        if tag in ("a", "button"):
            self._nameless.append([said.get("aria-label", "") or said.get("title", "")])

    def handle_endtag(self, tag: str) -> None:
        if tag in ("a", "button") and self._nameless and not "".join(self._nameless.pop()).strip():
            self.seen.problems.append(f"line {self.getpos()[0]}: a <{tag}> has no text; give it one, or an aria-label")
        if tag in _VOID:
            return
        names = [name for name, _ in self._open]
        if tag not in names:
            self.seen.problems.append(f"line {self.getpos()[0]}: </{tag}> ends nothing")
            return
        while self._open:
            name, line = self._open.pop()
            if name == tag:
                break
            if name not in _OPTIONAL:
                self.seen.problems.append(f"line {line}: <{name}> is not closed before </{tag}>")

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1][0] == "style":
            self.seen.styles.append(data)
        elif not (self._open and self._open[-1][0] == "script"):
            self.seen.text.append(data)
            for texts in self._nameless:
                texts.append(data)

    def close(self) -> None:
        super().close()
        for name, line in self._open:
            if name not in _OPTIONAL:
                self.seen.problems.append(f"line {line}: <{name}> is not closed")

    def _note(self, tag: str, said: Mapping[str, str]) -> None:
        seen, line = self.seen, self.getpos()[0]
        if "id" in said:
            seen.ids.append(said["id"])
        if tag == "html":
            seen.lang = said.get("lang", "")
        if tag == "meta":
            seen.has_viewport = seen.has_viewport or said.get("name") == "viewport"
            seen.has_charset = seen.has_charset or "charset" in said
        if tag == "img":
            if "alt" not in said:
                seen.problems.append(f"line {line}: an <img> has no alt text")
            for texts in self._nameless:
                texts.append(said.get("alt", ""))
        if tag == "label" and "for" in said:
            seen.labelled.add(said["for"])
        if tag in ("input", "select", "textarea") and said.get("type", "") not in _UNLABELLED:
            is_named = bool({"aria-label", "aria-labelledby", "title"} & set(said)) or any(
                n == "label" for n, _ in self._open
            )
            seen.controls.append((said.get("id", ""), is_named))
        address = (
            said.get("href")
            if tag in ("a", "link")
            else said.get("src")
            if tag in ("img", "script", "iframe")
            else None
        )
        if address is not None:
            seen.links.append(address)
        if "style" in said:
            seen.styles.append(f"<{tag}> in line {line} {{{said['style']}}}")


def find_problems(page: str, *, others: Iterable[str] = (), styles: Iterable[str] = (), goal: str = "") -> list[str]:
    """List what is wrong with a page. `others` are the paths beside it, `styles` its style sheets.

    What the goal quotes must stand in the page.
    """
    reader = _Reader()
    reader.feed(page)
    reader.close()
    seen = reader.seen
    found = [*_of_head(seen), *seen.problems, *_of_ids(seen), *_of_links(seen, set(others))]
    for css in [*seen.styles, *styles]:
        found += css_problems(css)
    text = " ".join(" ".join(seen.text).split()).lower()
    found += [f"the page does not say {words!r}" for words in _quoted(goal) if words.lower() not in text]
    if match := _PLACEHOLDER.search(text):
        found.append(f"{match[0]!r} is left in the page; write what belongs there")
    return list(dict.fromkeys(found))


def css_problems(css: str) -> list[str]:
    """List what is wrong with a style sheet: brackets, and text that can hardly be read."""
    css = re.sub(r"/\*.*?\*/", "", css, flags=re.DOTALL)
    if css.count("{") != css.count("}"):
        return ["the style sheet has brackets that are not closed"]
    found = []
    flat = re.sub(r"@(?:media|supports)[^{]*\{((?:[^{}]*\{[^{}]*\})*)[^{}]*\}", r"\1", css)
    for selector, body in _RULE.findall(flat):
        said = dict(re.findall(r"([\w-]+)\s*:\s*([^;]+)", body))
        front = _colour(said.get("color", ""))
        back = _colour(said.get("background-color", "") or said.get("background", ""))
        if front and back and (ratio := contrast(front, back)) < _LEAST_CONTRAST:
            where = " ".join(selector.split())
            found.append(f"{where}: text and background have a contrast of {ratio:.1f}; it must be 4.5 at least")
    return found


def contrast(front: str, back: str) -> float:
    """The contrast ratio of two colours (`#rrggbb`), from 1 to 21."""
    light, dark = sorted((_luminance(front), _luminance(back)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def mended(page: str, title: str) -> str:
    """Put in what belongs into every page and needs no thought: doctype, language, charset, viewport, title."""
    if not re.search(r"<html\b", page, re.IGNORECASE):
        page = f"<html>\n<head>\n</head>\n<body>\n{page}\n</body>\n</html>\n"
    if not re.search(r"<head\b", page, re.IGNORECASE):
        page = re.sub(r"(<html\b[^>]*>)", r"\1\n<head>\n</head>", page, count=1, flags=re.IGNORECASE)
    if not re.match(r"\s*<!doctype html", page, re.IGNORECASE):
        page = f"<!DOCTYPE html>\n{page.lstrip()}"
    page = re.sub(r"<html\b(?![^>]*\blang=)", '<html lang="en"', page, count=1, flags=re.IGNORECASE)
    wanted = {
        r"<meta[^>]+charset": '<meta charset="utf-8">',
        r"<meta[^>]+viewport": '<meta name="viewport" content="width=device-width, initial-scale=1">',
        r"<title\b": f"<title>{title}</title>",
    }
    missing = [tag for form, tag in wanted.items() if not re.search(form, page, re.IGNORECASE)]
    if missing:
        page = re.sub(r"(<head\b[^>]*>)", "\\1\n" + "\n".join(missing).replace("\\", ""), page, count=1, flags=re.I)
    return page


def _of_head(seen: _Seen) -> list[str]:
    wanted = {
        "the page does not begin with <!DOCTYPE html>": seen.has_doctype,
        "<html> has no lang": bool(seen.lang),
        "there is no <title>": "title" in seen.tags,
        "there is no <meta charset>": seen.has_charset,
        "there is no <meta name=viewport>": seen.has_viewport,
        "there is no <h1>": "h1" in seen.tags,
    }
    levels = [int(tag[1]) for tag in seen.tags if re.fullmatch(r"h[1-6]", tag)]
    jumps = [f"<h{now}> follows <h{before}>" for before, now in pairwise(levels) if now > before + 1]
    return [what for what, is_there in wanted.items() if not is_there] + jumps[:1]


def _of_ids(seen: _Seen) -> list[str]:
    twice = sorted({id for id in seen.ids if seen.ids.count(id) > 1})
    found = [f"two elements have the id {id!r}" for id in twice]
    for id, is_named in seen.controls:
        if not is_named and id not in seen.labelled:
            found.append(f"a form control{f' ({id})' if id else ''} has no <label>")
    return found


def _of_links(seen: _Seen, others: set[str]) -> list[str]:
    found = []
    for address in dict.fromkeys(seen.links):
        path, _, anchor = address.partition("#")
        if re.match(r"(?:https?:)?//|mailto:|tel:|data:", address):
            continue
        if address.startswith("javascript:") or not address:
            found.append(f"a link goes to {address or 'nothing'!r}")
        elif path and path.lstrip("./") not in others:
            found.append(f"there is no file {path!r} to link to")
        elif not path and anchor and anchor != "top" and anchor not in seen.ids:
            found.append(f"nothing has the id {anchor!r} that a link goes to")
    return found


def _quoted(goal: str) -> list[str]:
    """What a goal puts in quotes, short enough to be a text of the page and no name of a file."""
    found = re.findall(r"[\"\u201c]([^\"\u201c\u201d\n]{2,60})[\"\u201d]", goal)
    return [words.rstrip(".,") for words in found if not re.fullmatch(r"[\w./-]+\.\w{1,4}|#[0-9a-fA-F]{3,6}", words)]


def _colour(said: str) -> str:
    word = said.strip().lower().split("!")[0].strip()
    if match := re.search(r"#([0-9a-f]{6}|[0-9a-f]{3})\b", word):
        digits = match[1] if len(match[1]) == 6 else "".join(2 * digit for digit in match[1])
        return f"#{digits}"
    if match := re.match(r"rgb\((\d+),\s*(\d+),\s*(\d+)\)$", word):
        return "#" + "".join(f"{min(255, int(part)):02x}" for part in match.groups())
    return _NAMED_COLOURS.get(word, "")


def _luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
