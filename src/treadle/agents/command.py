"""Command-line programs whose goal speaks of options, standard input or exit codes: written whole, without a frame.

`frame` knows subcommands with positional arguments, and has the model write only what they do. What it cannot express
is left to the model, and held to what the goal says: the options it names, and the calls whose output it shows.
"""

from __future__ import annotations

import ast
import re
import shlex
from dataclasses import replace

from treadle.agents.answers import is_python
from treadle.agents.source import mend, with_imports
from treadle.agents.testcases import Case
from treadle.agents.usage import Argument, Option, Usage

RUN = '''def run(folder, *args, stdin=""):
    """Run the program in a folder and return the completed process; it must not crash."""
    script = Path(__file__).parent / "{file}"
    command = [sys.executable, str(script), *args]
    done = subprocess.run(command, cwd=folder, input=stdin, capture_output=True, text=True, timeout=10)
    assert "Traceback" not in done.stderr, done.stderr[-800:]
    return done
'''
_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]*\b")
_BEYOND_FRAME = re.compile(
    r"(?<![\w-])--[a-z]|\bstd(?:in|out|err)\b|\bstandard (?:input|output|error)\b"
    r"|\bexit(?:s|ing)? (?:code|status|with)\b|\bflags?\b|\boptional(?:ly)?\b",
    re.IGNORECASE,
)
_SHOWN = re.compile(
    r"`(?:\$ *)?python3? +[\w./-]+\.py *([^`\n]*)` *,? *(?:then +)?"
    r"(?:should +)?(?:prints?|outputs?|shows?|gives?|says?|displays?|->|=>|→|⇒) *:? *[`\"]([^`\"\n]+)[`\"]"
)
_SESSION = re.compile(r"^[ \t]*\$ +python3? +[\w./-]+\.py *(.*)\n((?:(?![ \t]*\$|[ \t]*```)[^\n]+\n?)*)", re.MULTILINE)
_NOT_HERE = re.compile(
    r"[|<>]|\b[\w-]+\.(?:txt|csv|json|log|md|py|xml|ini|yaml|toml)\b|\b[A-Z][A-Z_]*\b(?![a-z])|\.\.\.|…"
)
"""A call that needs a file, a pipe or a value which the goal does not give."""


def speaks_of_more(goal: str) -> bool:
    """Tell whether a goal for a program asks for what the frame cannot express."""
    return bool(_BEYOND_FRAME.search(goal))


def truths(goal: str, usage: Usage | None = None) -> list[Case]:
    """Make tests of what the goal says in so many words: its options exist, and its examples print what it shows.

    Where its usage is known, calls with simple values may be refused, but must not crash.
    """
    cases = [_help_case(goal), *([_trial_case(usage)] if usage else [])]
    shown = [*_SHOWN.findall(goal), *_SESSION.findall(goal)]
    for number, (words, said) in enumerate(shown, start=1):
        arguments = _arguments(words)
        if arguments is not None and said.strip():
            call = ", ".join(["tmp_path", *map(repr, arguments)])
            lines = [f"assert run({call}).stdout.strip() == {said.strip()!r}"]
            cases.append(_case(f"test_example_{number}", lines))
    return list({case.body: case for case in cases}.values())


def finish(source: str) -> str:
    """Make the program of an answer: a call of `main` where it is missing, and the imports that were forgotten."""
    if not is_python(source):
        return source
    names = [node.name for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)]
    if "main" not in names:
        return with_imports(source)
    source = mend(source, is_program=True)
    guards = [node for node in ast.parse(source).body if isinstance(node, ast.If) and "__name__" in ast.unparse(node)]
    return source if guards else f'{source}\n\nif __name__ == "__main__":\n    raise SystemExit(main())\n'


def _help_case(goal: str) -> Case:
    options = sorted(set(_OPTION.findall(goal)) - {"--help"})
    lines = ['result = run(tmp_path, "--help")', "assert result.returncode == 0 and result.stdout"]
    if options:
        lines += [
            "said = result.stdout",
            'for command in re.findall(r"[\\w-]+", said.partition("{")[2].partition("}")[0]):',
            '    said += run(tmp_path, command, "--help").stdout',
            f"for option in {tuple(options)!r}:",
            "    assert option in said",
        ]
    lines.append('assert run(tmp_path, "--no-such-option").returncode != 0')
    return replace(_case("test_options_are_known" if options else "test_help", lines), origin="form")


def _trial_case(usage: Usage) -> Case:
    lines = ['(tmp_path / "in.txt").write_text("one two\\n3,4\\n")']
    for one in usage.commands:
        plain = [one.name, *map(_simple, one.arguments)]
        plain += [word for option in one.options if option.is_required for word in _given(option)]
        calls = [plain, *([*plain, *_given(option)] for option in one.options if not option.is_required)]
        for words in calls:
            shown = ", ".join(["tmp_path", *(repr(word) for word in words if word), 'stdin="one two\\n"'])
            lines.append(f"run({shown})")
    lines.append('assert run(tmp_path, "--no-such-option").returncode != 0')
    return replace(_case("test_simple_calls_do_not_crash", lines), origin="form")


def _simple(argument: Argument) -> str:
    if argument.kind != "str":
        return "1" if argument.kind == "int" else "1.5"
    is_file = re.search("file|path|input|csv|log", argument.name)
    return "in.txt" if is_file else "." if re.search("fold|dir", argument.name) else "x"


def _given(option: Option) -> list[str]:
    return [option.flag, *([_simple(option.value)] if option.value else [])]


def _arguments(words: str) -> list[str] | None:
    if _NOT_HERE.search(words):
        return None
    try:
        return shlex.split(words)
    except ValueError:
        return None


def _case(name: str, lines: list[str]) -> Case:
    body = "\n".join(f"    {line}" for line in lines)
    return Case(name, f"def {name}(tmp_path):\n{body}\n", "goal")
