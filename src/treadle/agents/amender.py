"""The amender: changes files of a repository for which no tests can be written: pages, configuration, scripts, texts.

What such a change does is not proved. What can be seen of it is: that it touches no other file, loses nothing, parses
where it did before, and says what the goal quotes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from treadle.agents.coder import Sampling
from treadle.agents.desk import Desk
from treadle.agents.edits import UNCHANGED, Edit, Room, read_edit
from treadle.agents.file_checks import Checked, check_file, code_of
from treadle.agents.page_rules import css_problems, find_problems
from treadle.agents.relevance import is_test
from treadle.agents.repo_map import RepoMap

_SYSTEM = "You are an expert programmer. You change files with care, and nothing that you were not asked to change."
_MAX_TOKENS = 2500
_LINES_WHOLE = 120
"""A file of more lines is answered with edit blocks, also by small models: they lose parts of long files."""
_MAX_SHOWN = 400
_MAX_FILES = 3
_KEPT = 0.6
"""Share of a file's lines that an answer gives back at least, unless the goal takes something away."""
_NAMED = re.compile(
    r"\b(?:in(?:to|side)?|to|of|from|at|update|change|edit|fix|extend|rename|correct|adjust|translate|document)\s+"
    r"(?:the\s+|our\s+)?(?:file\s+)?[`'\"]?((?:[\w.-]+/)*(?:[\w-]*\.?[\w-]+\.\w{1,8}|\.\w+|Makefile|Dockerfile|README|"
    r"CHANGELOG|CONTRIBUTING|LICENSE))\b",
    re.IGNORECASE,
)
_TAKES_AWAY = re.compile(
    r"\b(?:remov\w*|delet\w*|drop\w*|shorten\w*|simplif\w*|strip\w*|clean\w*|replac\w*|without)\b", re.I
)
_LEFT_OUT = re.compile(
    r"^\s*(?:#|//|<!--|/\*|;|--)?\s*\.{3}\s*(?:\(?(?:the\s+)?(?:rest|existing|unchanged|other|remaining|previous)\b.*)?$"
    r"|^\s*(?:#|//|<!--|/\*|;|--).*\b(?:rest of (?:the|your)|remains? unchanged|existing code|same as before)\b.*$",
    re.IGNORECASE | re.MULTILINE,
)
_WRITES = re.compile(
    r"\b(?:describ|document|mention|explain|translat|typo|spell|reword)\w*|^\s*(?:update|correct|extend)\s+(?:the\s+)?"
    r"\S*(?:README|CHANGELOG|\.md|\.rst)\b",
    re.IGNORECASE,
)
_PROSE = (".md", ".rst", ".txt")
_QUOTED = re.compile(r"\"([^\"\n]{2,60})\"|`([^`\n]{2,60})`|“([^”\n]{2,60})”")
_LINE = re.compile(r"\bline \d+\b")
_NOT_FOR_HANDS = re.compile(r"(?:^|/)(?:[\w.-]+\.lock|package-lock\.json|[\w.-]+\.min\.\w+)$")
_WHOLE = "Answer with the complete new file in one fenced block and nothing else."
_BLOCKS = (
    "Answer with edit blocks and nothing else. Each replaces lines, which it gives exactly as they are:\n\n"
    "<<<<<<< SEARCH\nlines as they are\n=======\nlines as they should be\n>>>>>>> REPLACE"
)


@dataclass(frozen=True, slots=True)
class Places:
    """The files that a goal is about."""

    paths: tuple[str, ...]
    """There already, the likeliest first."""
    new: tuple[str, ...] = ()

    @property
    def all(self) -> tuple[str, ...]:
        return (*self.paths, *self.new)[:_MAX_FILES]


def named_places(goal: str, texts: Mapping[str, str], files: Sequence[str] = ()) -> Places:
    """Find the files, not of Python, that a goal says it is about, or that a task names as its own."""
    said = [*_NAMED.findall(goal), *(path for path in files if not path.endswith("/"))]
    found, new = list[str](), list[str]()
    for name in dict.fromkeys(name.rstrip(".").removeprefix("./") for name in said):
        there = _known(name, texts)
        if there.endswith((".py", ".pyi")) or name.endswith((".py", ".pyi")):
            continue
        if there:
            found.append(there)
        elif re.search(r"\.[a-z]\w*$", name) and re.search(r"\b(?:add|create|write|make|new)\b", goal, re.IGNORECASE):
            new.append(name)
    return Places(tuple(dict.fromkeys(found)), tuple(dict.fromkeys(new)))


def likely_places(goal: str, texts: Mapping[str, str]) -> Places:
    """Find the files, not of Python, that a goal is likely about where it names none."""
    shown = {path: text for path, text in texts.items() if not path.endswith((".py", ".pyi")) and _is_for_hands(path)}
    return Places(tuple(ranked.path for ranked in RepoMap(shown).rank(goal)[:1]))


def names_code(goal: str, texts: Mapping[str, str]) -> bool:
    """Tell whether a goal names a Python file, or something that the repository's Python defines."""
    if re.search(r"\.pyi?\b", goal):
        return True
    code = {path: text for path, text in texts.items() if path.endswith(".py") and not is_test(path)}
    names = {symbol.name.rpartition(".")[2] for file in RepoMap(code).files.values() for symbol in file.symbols}
    said = {name for name in re.findall(r"(?<![\w./-])[A-Za-z_]\w{2,}(?![\w./-])", goal) if name in names}
    return any("_" in name or not name.islower() or f"{name}(" in goal or f"`{name}`" in goal for name in said)


def is_about_text(goal: str, places: Places) -> bool:
    """Tell whether a goal wants something written down: then what it names of the code is what is written about."""
    return bool(places.all) and all(path.endswith(_PROSE) for path in places.all) and bool(_WRITES.search(goal))


async def amend(
    places: Places,
    texts: Mapping[str, str],
    desk: Desk,
    notes: str,
    *,
    sampling: Sampling,
    blocks: bool,
    problem: str = "",
    failing: str = "",
) -> Edit:
    """Return a version of the change, file after file. `problem` says what was wrong with the one before, `failing`
    what a check says of the files as they are. Its flaw is the first thing that cannot stay so.
    """
    files: dict[str, str] = {}
    for number, path in enumerate(places.all):
        now = {**texts, **files}
        source = now.get(path, "")
        is_whole = source.count("\n") <= _LINES_WHOLE and not (blocks and source)
        wrong = [f"The check of the project fails:\n\n{failing}"] if failing else []
        wrong += [f"An earlier answer was not usable: {problem}"] if problem else []
        text = desk.prompts["amend"].render(
            goal=desk.goal,
            notes=notes,
            file=path,
            source=_shown(source, desk.goal).rstrip() or "(a new file)",
            beside=_beside(path, places, now),
            wrong="\n\n".join(wrong),
            form=_WHOLE if is_whole else _BLOCKS,
        )
        asked = replace(sampling.of(text, _MAX_TOKENS, cold=2), system=_SYSTEM)
        answer = await desk.asker.ask(f"amend.{number}" if number else "amend", asked)
        edit = read_answer(answer, path, now, desk.goal)
        if edit.flaw and not (edit.flaw == UNCHANGED and len(places.all) > 1):
            return replace(edit, files=files)
        files |= edit.files
    if not files:
        return Edit({}, UNCHANGED)
    return Edit(files, _unsaid(desk.goal, texts, files))


def read_answer(answer: str, path: str, texts: Mapping[str, str], goal: str) -> Edit:
    """Turn an answer about one file into its new text. An answer that loses much of the file is none."""
    before = texts.get(path, "")
    room = Room({path: before} if path in texts else {}, path, () if path in texts else (path,))
    is_whole = "<<<<<<<" not in answer and ("```" in answer or path.endswith(_PROSE))
    whole = (_prose(answer) if path.endswith(_PROSE) else "") or code_of(answer, path)
    edit = Edit({path: whole}) if is_whole else read_edit(answer, room)
    text = edit.files.get(path, "")
    if edit.flaw or text == before:
        return edit if edit.flaw else Edit({}, UNCHANGED)
    left_out = next((match[0].strip() for match in _LEFT_OUT.finditer(text) if match[0] not in before), "")
    if left_out:
        return Edit({}, f"The answer leaves lines out (`{left_out[:60]}`).")
    lines = [line for line in before.splitlines() if line.strip()]
    if not _TAKES_AWAY.search(goal) and len(text.split("\n")) < _KEPT * len(lines):
        return Edit({}, "The answer leaves out most of the file; all lines that need no change have to stay.")
    return edit


async def check_form(desk: Desk, key: str, before: Mapping[str, str], files: Mapping[str, str]) -> list[Checked]:
    """Check each changed file by its kind. What was wrong with it before is not held against the change."""
    found = []
    for path, text in files.items():
        if path.endswith((".html", ".htm", ".css")):
            found.append(_page_checked(path, text, before))
            continue
        checked = await check_file(desk, f"{key}.{path}", path, {**before, **files})
        if checked.problem and before.get(path, "").strip():
            was = await check_file(desk, f"{key}.before.{path}", path, before)
            checked = Checked("", f"{path} could not be read before, nor now") if was.problem else checked
        found.append(checked)
    return found


def _page_checked(path: str, text: str, before: Mapping[str, str]) -> Checked:
    def problems(source: str) -> list[str]:
        return css_problems(source) if path.endswith(".css") else find_problems(source, others=before)

    known = {_LINE.sub("", problem) for problem in problems(before.get(path, ""))} if path in before else set()
    new = [problem for problem in problems(text) if _LINE.sub("", problem) not in known]
    return Checked(f"{path}: {'; '.join(new[:4])}" if new else "", f"{path} was checked for form, links and contrast")


def _unsaid(goal: str, texts: Mapping[str, str], files: Mapping[str, str]) -> str:
    """What the goal quotes, was nowhere before and is nowhere now; one of several is enough."""
    quoted = [next(filter(None, groups)) for groups in _QUOTED.findall(goal)]
    before = "\n".join(texts.get(path, "") for path in files)
    wanted = [words for words in quoted if words not in before and words not in files]
    if wanted and not any(words in text for words in wanted for text in files.values()):
        return f"The change does not say {wanted[0]!r} anywhere."
    return ""


def _prose(answer: str) -> str:
    """A text out of an answer: all of it, or what the outermost fence holds. Fences within it stay."""
    lines = answer.strip("\n").splitlines()
    fences = [number for number, line in enumerate(lines) if line.startswith("```")]
    opening = (
        fences[0] if fences and re.fullmatch(r"```\s*(?:markdown|md|rst|text|txt)?\s*", lines[fences[0]]) else None
    )
    if opening is None:
        return "" if fences else "\n".join(lines) + "\n"
    last = fences[-1] if len(fences) > 1 and lines[fences[-1]].strip() == "```" else len(lines)
    return "\n".join(lines[opening + 1 : last]) + "\n"


def _shown(source: str, goal: str) -> str:
    """All of a file that is not too long, else its beginning and the parts around the goal's words."""
    lines = source.splitlines()
    if len(lines) <= _MAX_SHOWN:
        return source
    words = {word.lower() for word in re.findall(r"\w{4,}", goal)}
    hits = [n for n, line in enumerate(lines) if words & {word.lower() for word in re.findall(r"\w{4,}", line)}]
    wanted = sorted({*range(20), *(n for hit in hits for n in range(hit - 6, hit + 7) if 0 <= n < len(lines))})
    return "\n".join(_with_gaps(lines, wanted[:_MAX_SHOWN]))


def _with_gaps(lines: Sequence[str], wanted: Sequence[int]) -> Iterator[str]:
    last = -1
    for number in wanted:
        if number > last + 1:
            yield f"[{number - last - 1} lines that are not shown]"
        yield lines[number]
        last = number


def _beside(path: str, places: Places, texts: Mapping[str, str]) -> str:
    """The other files of the change, so that they fit together."""
    others = [other for other in places.all if other != path and texts.get(other, "").count("\n") <= _LINES_WHOLE]
    return "\n\n".join(f"{other}:\n\n```\n{texts[other].rstrip()}\n```" for other in others if other in texts)


def _known(name: str, texts: Mapping[str, str]) -> str:
    """The file of the repository that a name means; README means README.md."""
    same = [path for path in texts if path == name or path.endswith("/" + name)]
    if not same and "." not in name.rpartition("/")[2].lstrip("."):
        stems = {path: path.rpartition("/")[2].partition(".")[0] for path in texts}
        same = [path for path, stem in stems.items() if stem.lower() == name.lower() and not path.endswith(".py")]
    return min(same, key=lambda path: (path.count("/"), path), default="")


def _is_for_hands(path: str) -> bool:
    return not _NOT_FOR_HANDS.search(path) and not path.startswith(".git/")
