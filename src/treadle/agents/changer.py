"""The changer: writes tests for a change to existing code, then the change. It sees the files that matter."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from treadle.agents.acceptance import (
    Known,
    Place,
    fixtures_in,
    from_assertions,
    manner,
    place_for,
    read_cases,
    tests_in,
)
from treadle.agents.answers import code_block
from treadle.agents.ask import Asker
from treadle.agents.coder import MAX_TOKENS, Sampling
from treadle.agents.conventions import Conventions
from treadle.agents.edits import UNCHANGED, Edit, Room, read_edit
from treadle.agents.examples import find_examples
from treadle.agents.focus import Focus, fields_shown, find_focus, head_and_source, only
from treadle.agents.goal import read_goal
from treadle.agents.prompt import Prompts
from treadle.agents.relevance import Failure, failing_tests, is_test
from treadle.agents.repo_map import Ranked, RepoMap, module_of, parsed
from treadle.agents.testcases import Case
from treadle.agents.view import view

_MAX_TARGETS = 4
_NEAR = 0.7
"""Share of the best file's score from which another one is shown beside it from the first."""
_LINES_FIRST, _LINES_OTHER = 110, 60
_MAX_TEST_LINES = 60
_MAX_OTHERS, _MAX_MAP = 10, 3000
"""Files in the map that a larger model is shown, and its characters."""
_SIZE = re.compile(r"(?<![\w.])(\d+(?:\.\d+)?)\s*b(?![a-z])", re.IGNORECASE)
_UNDEFINED = re.compile(r"NameError: name '(\w+)'")
_MAX_MISSING = 300
_NOT_THERE = "The answer does not define what was asked for."
_LARGE_BILLIONS = 7.0
_CODE = """
c cc cpp cs css ex exs go h hpp hs html java jl js jsx kt lua ml php pl py r rb rs scala sh sql swift ts tsx vue
"""
_IN_BLOCKS = (
    "Answer with edit blocks in the form `path`, `<<<<<<< SEARCH`, `=======`, `>>>>>>> REPLACE`, and nothing else."
)
_IN_CODE = "Answer with the complete corrected function or class in one ```python block and nothing else."


@dataclass(frozen=True, slots=True)
class Task:
    """A change that is to be made, and all that is known of it before a model is asked. Plain values."""

    goal: str
    notes: str
    targets: tuple[tuple[str, tuple[str, ...]], ...]
    """Files that may be changed, the likeliest first, each with the symbols that look involved."""
    near: int
    """How many of them are shown from the first."""
    may_add: tuple[str, ...]
    """Files that it may make."""
    place: Place
    symbols: Mapping[str, str]
    modules: tuple[str, ...]
    new: tuple[str, ...]
    fixtures: tuple[str, ...]
    others: str = ""
    """Signatures of the files that come next, for models that can make use of them."""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> Task:
        targets = tuple((path, tuple(names)) for path, names in plain["targets"])
        lists = {key: tuple(plain[key]) for key in ("may_add", "modules", "new", "fixtures")}
        rest: dict[str, Any] = {key: plain[key] for key in ("goal", "notes", "near", "symbols", "others")}
        return cls(**{**rest, **lists}, targets=targets, place=Place(**plain["place"]))

    @property
    def primary(self) -> str:
        return self.may_add[0] if self.may_add else self.targets[0][0]

    @property
    def allowed(self) -> tuple[str, ...]:
        """The files that the whole change may touch."""
        return (*(path for path, _ in self.targets), *self.may_add, self.place.path)


def lay_out(goal: str, texts: Mapping[str, str], conventions: Conventions, files: Sequence[str] = ()) -> Task | None:
    """Find what a goal is about; None if there is nothing. `files` names what it may touch; empty: anything."""
    repo = RepoMap({path: text for path, text in texts.items() if _is_code(path)})
    ranked = [entry for entry in repo.rank(goal) if not files or _may_touch(entry.path, files)]
    named = [path for path in re.findall(r"(?<![\w./])[\w-]+(?:/[\w-]+)*\.py\b", goal) if not is_test(path)]
    named += [path for path in files if path.endswith(".py") and not is_test(path)]
    named = [path for path in dict.fromkeys(named) if not files or _may_touch(path, files)]
    may_add = tuple(path for path in named if not any(p == path or p.endswith("/" + path) for p in texts))
    usual = [path for path in _by_size(texts) if not files or _may_touch(path, files)]
    ranked = ranked or [Ranked(path, 1.0, ()) for path in usual[:1]]
    if not ranked and not may_add:
        return None
    targets = ranked[: 1 if may_add else _MAX_TARGETS]
    near = sum(1 for entry in targets if entry.score >= _NEAR * targets[0].score)
    target = may_add[0] if may_add else targets[0].path
    looking = [] if may_add else repo.tests_of(target, goal)
    place = place_for(looking, texts, target, conventions.test_folder, conventions.uses_unittest)
    return Task(
        goal=goal,
        notes=conventions.notes(),
        targets=tuple((entry.path, entry.names[:8]) for entry in targets),
        near=max(near, 1) if targets else 0,
        may_add=may_add,
        place=place,
        symbols=_symbols(repo),
        modules=tuple(sorted(module_of(path) for path in (*repo.files, *may_add) if path.endswith(".py"))),
        new=_new_names(goal, repo),
        fixtures=_fixtures(texts, place),
        others=repo.render(ranked[max(near, 1) : _MAX_OTHERS], max_chars=_MAX_MAP),
    )


def failing_cases(failed: Mapping[str, str], texts: Mapping[str, str]) -> list[Case]:
    """The tests of the user's that the change has to make pass: those that fail already. Their names are their ids."""
    found = []
    for id_ in failed:
        path, name = id_.partition("::")[0], id_.rpartition("::")[2].partition("[")[0]
        path = path if path in texts else path.replace(".", "/") + ".py"
        source = failing_tests(Failure(((path, name),), (), ""), texts)
        if source:
            found.append(Case(id_, source, "goal"))
        else:
            found += [Case(one, text, "goal") for one, text in tests_in(path, texts.get(path, ""))]
    return found


def given_cases(task: Task) -> list[Case]:
    """The examples that the goal itself gives."""
    names = {*task.new, *(name for name, module in task.symbols.items() if module == task.place.module)}
    return from_assertions([example.assertion() for example in find_examples(task.goal, names)], task.place, names)


async def write_tests(
    task: Task,
    texts: Mapping[str, str],
    asker: Asker,
    prompts: Prompts,
    *,
    sampling: Sampling,
    known: Sequence[str] = (),
) -> list[Case]:
    """Return tests that a model makes up for the goal; `known` names what versions of the change brought in."""
    text = prompts["change_tests"].render(
        goal=task.goal,
        notes=task.notes,
        sources=_sources(task, texts, task.near),
        test_file=task.place.path,
        example=manner(task.place, task.goal),
    )
    allowed = Known(task.symbols, task.modules, (*task.new, *known), task.fixtures, task.goal)
    for again in range(2):
        varied = Sampling(2 * sampling.attempt + again, sampling.seed, sampling.first)
        answer = await asker.ask(f"tests.{again}" if again else "tests", varied.of(text, MAX_TOKENS))
        cases = read_cases(code_block(answer), task.place, allowed)
        if cases:
            return cases
    return []


async def write_change(
    task: Task,
    texts: Mapping[str, str],
    asker: Asker,
    prompts: Prompts,
    *,
    sampling: Sampling,
    blocks: bool,
    known: Sequence[Case] = (),
) -> Edit:
    """Return a version of the change, independent of those before. It is told that the `known` tests must pass."""
    chosen = (
        []
        if blocks or task.may_add
        else _turn(
            find_focus(task.goal, task.targets, texts, new=task.new, tests="\n".join(case.source for case in known)),
            sampling.attempt,
        )
    )
    if chosen:
        return await _by_function(chosen, task, texts, asker, prompts, sampling=sampling, known=known)
    name = "change_blocks" if blocks else "change"
    shown = task.near + (sampling.attempt % 2 if sampling.attempt > 1 else 0)
    sources = _sources(task, texts, shown)
    if blocks and task.others:
        sources += f"\n\nOther files of the project:\n\n{task.others}"
    text = prompts[name].render(goal=task.goal + _wanted(known), notes=task.notes, sources=sources, file=task.primary)
    answer = await asker.ask("change", sampling.of(text, MAX_TOKENS))
    return await _completed(answer, task, texts, asker, prompts, sampling)


def _turn(found: Sequence[Focus], attempt: int) -> Sequence[Focus]:
    """Which definitions a try is about: all, then the first, then the second. Each other try sees whole files."""
    if attempt % 2 or not found:
        return ()
    ways = [tuple(found), *((one,) for one in found if len(found) > 1 and not any(one.is_new for one in found))]
    return ways[attempt // 2 % len(ways)]


async def _by_function(
    chosen: Sequence[Focus],
    task: Task,
    texts: Mapping[str, str],
    asker: Asker,
    prompts: Prompts,
    *,
    sampling: Sampling,
    known: Sequence[Case],
) -> Edit:
    """Ask for one definition after the other, each over the file as the ones before left it."""
    files: dict[str, str] = {}
    flaw = ""
    for number, focus in enumerate(chosen):
        now = {**texts, **files}
        head, source = head_and_source(now[focus.path], focus, task.goal)
        used = {name for name in re.findall(r"\b[A-Z]\w+", head) if name != focus.name.partition(".")[0]}
        beside = fields_shown({path: text for path, text in now.items() if path != focus.path}, used)
        about = [case for case in known if re.search(rf"\b{re.escape(focus.last)}\b", case.source)]
        text = prompts["change_function"].render(
            goal=task.goal + _wanted(about),
            notes=task.notes,
            file=focus.path,
            head="\n".join(filter(None, [head, beside])),
            source=source,
            name=focus.name,
        )
        key = f"change.{number}"
        code = only(code_block(await asker.ask(key, sampling.of(text, MAX_TOKENS))), focus, now[focus.path])
        answer = f"`{focus.path}`:\n\n```python\n{code}\n```"
        others = [target for target in task.targets if target[0] != focus.path]
        own = replace(task, goal=task.goal + _wanted(about), targets=((focus.path, ()), *others))
        edit = await _completed(answer, own, now, asker, prompts, sampling, key=key) if code else Edit(flaw=_NOT_THERE)
        flaw = flaw or ("" if edit.flaw == UNCHANGED else edit.flaw)
        files |= edit.files if not edit.flaw else {}
    is_whole = files and not (flaw and any(focus.is_new for focus in chosen))
    return Edit(files) if is_whole else Edit({}, flaw or UNCHANGED)


async def correct_change(
    task: Task,
    texts: Mapping[str, str],
    asker: Asker,
    prompts: Prompts,
    *,
    sampling: Sampling,
    blocks: bool,
    problem: str,
) -> Edit:
    """Return a corrected version. `texts` hold the change as it is, `problem` says what is wrong with it."""
    text = prompts["change_again"].render(
        goal=task.goal,
        notes=task.notes,
        sources=_sources(task, texts, task.near),
        problem=problem,
        form=_IN_BLOCKS if blocks else _IN_CODE,
    )
    answer = await asker.ask("change", sampling.of(text, MAX_TOKENS, cold=2))
    return await _completed(answer, task, texts, asker, prompts, sampling)


async def _completed(
    answer: str,
    task: Task,
    texts: Mapping[str, str],
    asker: Asker,
    prompts: Prompts,
    sampling: Sampling,
    *,
    key: str = "change",
) -> Edit:
    """Read an answer. A name that it uses and forgot to define is asked for, which is a short question."""
    edit = read_edit(answer, _room(task, texts))
    missing = _UNDEFINED.match(edit.flaw)
    if missing is None:
        return edit
    code, name = code_block(answer), missing[1]
    source = view(texts.get(task.primary, ""), (), max_lines=0)
    text = prompts["change_missing"].render(goal=task.goal, source=source, code=_users(code, name), name=name)
    more = code_block(await asker.ask(f"{key}.missing", sampling.of(text, _MAX_MISSING)))
    completed = read_edit(f"```python\n{more}\n{code}\n```", _room(task, texts))
    return edit if completed.flaw else completed


def _users(code: str, name: str) -> str:
    """The definitions of an answer that use a name."""
    lines = code.splitlines()
    spans = [(node.lineno - 1, node.end_lineno) for node in parsed(code).body]
    parts = ["\n".join(lines[start:end]) for start, end in spans]
    return "\n\n".join(part for part in parts if re.search(rf"\b{re.escape(name)}\b", part)) or code


def takes_blocks(model: str, tier: str) -> bool:
    """Tell whether a model answers edit blocks well: by its tier, or from seven billion parameters on."""
    said = _SIZE.findall(model.replace("-", " ").replace(":", " "))
    return tier in ("large", "frontier") or (bool(said) and float(said[-1]) >= _LARGE_BILLIONS)


def _room(task: Task, texts: Mapping[str, str]) -> Room:
    shown = {path: texts[path] for path, _ in task.targets if path in texts}
    return Room(shown, task.primary, task.may_add)


def _sources(task: Task, texts: Mapping[str, str], count: int) -> str:
    """Show the files that matter, the first one longest."""
    shown = []
    new = [(path, ()) for path in task.may_add if path in texts]
    for number, (path, names) in enumerate([*new, *task.targets[: max(count, 1)]]):
        text = view(texts[path], names, max_lines=_LINES_OTHER if number else _LINES_FIRST)
        shown.append(f"`{path}`:\n\n```{'python' if path.endswith('.py') else ''}\n{text.rstrip()}\n```")
    return "\n\n".join(shown)


def _wanted(known: Sequence[Case]) -> str:
    if not known:
        return ""
    shown: list[str] = []
    left = _MAX_TEST_LINES
    for source in dict.fromkeys(case.source.strip() for case in known):
        left -= source.count("\n") + 1
        shown += [source] if left >= 0 or not shown else []
    return "\n\nThese tests must pass:\n\n```python\n" + "\n\n".join(shown) + "\n```"


def _is_code(path: str) -> bool:
    return path.rpartition(".")[2].lower() in _CODE.split()


def _may_touch(path: str, files: Sequence[str]) -> bool:
    return any(path == file or (file.endswith("/") and path.startswith(file)) for file in files)


def _by_size(texts: Mapping[str, str]) -> list[str]:
    code = [path for path in texts if path.endswith(".py") and not is_test(path)]
    return sorted(code, key=lambda path: (-len(texts[path]), path))


def _symbols(repo: RepoMap) -> dict[str, str]:
    found: dict[str, set[str]] = {}
    for path, file in repo.files.items():
        if path.endswith(".py") and not is_test(path):
            for symbol in file.symbols:
                if "." not in symbol.name:
                    found.setdefault(symbol.name, set()).add(module_of(path))
    return {name: min(modules) for name, modules in sorted(found.items()) if len(modules) == 1}


def _new_names(goal: str, repo: RepoMap) -> tuple[str, ...]:
    """Names in the goal that could be those of new functions and classes."""
    there = {symbol.name.rpartition(".")[2] for file in repo.files.values() for symbol in file.symbols}
    said = [function.name for function in read_goal(goal).functions]
    said += re.findall(r"`([A-Za-z_]\w*)(?:\([^`]*\))?`", goal)
    said += re.findall(r"\b[a-z]+_[a-z_0-9]+\b|\b(?:[A-Z][a-z0-9]+){2,}\b", goal)
    said += re.findall(r"\b(?:function|method|class|helper|constant)\s+(?:named\s+|called\s+)?([A-Za-z_]\w*)\b", goal)
    return tuple(dict.fromkeys(name for name in said if name not in there and name.isidentifier()))


def _fixtures(texts: Mapping[str, str], place: Place) -> tuple[str, ...]:
    files = [text for path, text in texts.items() if path.rpartition("/")[2] == "conftest.py"]
    return tuple(sorted({name for text in [*files, place.text] for name in fixtures_in(text)}))
