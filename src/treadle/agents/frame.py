"""The frame of a command-line program: parsing, storage and output, written by rule instead of by a model."""

from __future__ import annotations

import ast
import re

from treadle.agents.answers import is_python
from treadle.agents.brief import Brief, Part

_WHOLE = {"index", "number", "id", "count", "n", "position", "num", "year", "quantity", "task_id", "item_id"}
_REAL = {"amount", "price", "value", "temperature", "celsius", "fahrenheit", "degrees"}
_STORED = re.compile(r"\b(?:stor\w*|sav\w*|keep\w*|persist\w*|json|file)\b", re.IGNORECASE)
_OTHER_STORAGE = re.compile(r"\b(?:sqlite|database|csv|yaml|toml|xml|pickle|ini)\b", re.IGNORECASE)

_STORAGE = '''DATA = Path("{file}")


def load_{noun}s():
    """Return the stored {noun}s; an empty list if there is no file yet."""
    return json.loads(DATA.read_text()) if DATA.exists() else []


def save_{noun}s({noun}s):
    """Store the {noun}s, replacing what was stored."""
    DATA.write_text(json.dumps({noun}s, indent=2))
'''


def storage(brief: Brief) -> str:
    """Write the functions that load and save, or '' if the goal does not ask for a JSON file."""
    if not _STORED.search(brief.goal) or _OTHER_STORAGE.search(brief.goal) or len(brief.parts) < 2:
        return ""
    named = re.search(r"\b([\w-]+\.json)\b", brief.goal)
    return _STORAGE.format(file=named[1] if named else f"{brief.noun}s.json", noun=brief.noun)


def signatures(brief: Brief) -> str:
    """Write the functions that are to be completed."""
    begin = f"{brief.noun}s = load_{brief.noun}s()\n    ..." if storage(brief) else "..."
    return "\n\n\n".join(
        f"def {brief.function_of(part)}({', '.join(part.parameters)}):\n"
        f'    """{_sentence(part)} Return the text to print."""\n    {begin}'
        for part in brief.parts
    )


def main(brief: Brief) -> str:
    """Write `main`, which parses the arguments, calls one function and prints what it returns."""
    lines = [
        "def main(argv=None):",
        '    """Run one command and return its exit code."""',
        "    parser = argparse.ArgumentParser()",
    ]
    single = len(brief.parts) == 1
    if not single:
        lines.append('    commands = parser.add_subparsers(dest="command", required=True)')
    for part in brief.parts:
        lines += _arguments(part, "parser" if single else f"{part.name}_parser", single)
    lines.append("    args = parser.parse_args(argv)")
    for number, part in enumerate(brief.parts):
        call = f"result = {brief.function_of(part)}({', '.join('args.' + name for name in part.parameters)})"
        if single:
            lines.append(f"    {call}")
        else:
            lines += [f'    {"elif" if number else "if"} args.command == "{part.name}":', f"        {call}"]
    lines += ["    if result is not None:", "        print(result)", "    return 0"]
    return "\n".join([*lines, "", "", 'if __name__ == "__main__":', "    raise SystemExit(main())"]) + "\n"


def usage(brief: Brief) -> str:
    """List the commands as a user types them."""
    single = len(brief.parts) == 1
    lines = []
    for part in brief.parts:
        words = ["python", brief.file, *([] if single else [part.name]), *(name.upper() for name in part.parameters)]
        counted = [name.upper() for name in part.parameters if name in _WHOLE]
        note = f" {counted[0]} counts from 1." if counted else ""
        lines.append(f"- `{' '.join(words)}`: {_sentence(part)}{note}")
    return "\n".join(lines)


def example_call(brief: Brief) -> tuple[str, str]:
    """Return the name of the first command, and its arguments as they stand in a test."""
    part = brief.parts[0]
    values = ['"1"' if name in _WHOLE | _REAL else f'"{_sample(name)}"' for name in part.parameters]
    return part.name, ", ".join([*([] if len(brief.parts) == 1 else [f'"{part.name}"']), *values])


def assemble(brief: Brief, answer: str) -> str:
    """Put a model's functions into the frame: its own `main`, if it wrote one, gives way; missing storage is added."""
    if not is_python(answer):
        return answer
    lines, tree = answer.splitlines(), ast.parse(answer)
    for node in reversed(tree.body):
        is_main = isinstance(node, ast.FunctionDef) and node.name == "main"
        if is_main or (isinstance(node, ast.If) and "__name__" in ast.unparse(node.test)):
            del lines[node.lineno - 1 : node.end_lineno]
    body = "\n".join(lines).strip()
    defined = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    store = storage(brief)
    if store and f"load_{brief.noun}s" not in defined:
        body = _after_imports(body, store)
    return f"{body}\n\n\n{main(brief)}"


def _after_imports(source: str, addition: str) -> str:
    tree = ast.parse(source)
    place = 0
    for node in tree.body:
        is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if not (is_text or isinstance(node, ast.Import | ast.ImportFrom)):
            break
        place = node.end_lineno or place
    lines = source.splitlines()
    return "\n".join([*lines[:place], "", addition, "", *lines[place:]]).lstrip("\n")


def _arguments(part: Part, parser: str, single: bool) -> list[str]:
    lines = [] if single else [f'    {parser} = commands.add_parser("{part.name}", help={_sentence(part)!r})']
    for name in part.parameters:
        kind = ", type=int" if name in _WHOLE else ", type=float" if name in _REAL else ""
        lines.append(f'    {parser}.add_argument("{name}"{kind})')
    return lines


def _sentence(part: Part) -> str:
    text = " ".join(part.does.replace("%", "percent").replace('"', "'").split()).rstrip(".") or part.name.capitalize()
    return text[0].upper() + text[1:] + "."


def _sample(name: str) -> str:
    return "buy milk" if name in {"text", "task", "item", "title", "description", "note"} else f"some {name}"
