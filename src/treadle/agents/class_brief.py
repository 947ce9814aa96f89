"""Classes that a goal asks for: their names, how they are made, and what they must offer. Rules only, no model."""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

_NAME = r"[A-Z]\w*"
_NAMED = re.compile(
    rf"\bclass(?:es)?\s+(?:called\s+|named\s+)?`?({_NAME})\b"
    rf"|\b(?:[Aa]n?|[Tt]wo)\s+`?({_NAME})`?\s+class\b(?!\s+of\b)"
    rf"|\bclass\b[^\n]{{0,40}}?:\s*`?({_NAME})\("
    rf"|\b(?:exception|error)(?:\s+class)?\s+(?:called\s+|named\s+)?`?({_NAME})\b"
)
_ERROR = re.compile(r"(?<![\w.])[A-Z]\w*(?:Error|Exception)\b")
_OWN_ERROR = re.compile(rf"`?\b({_NAME})`?,?\s+\(?(?:which\s+is\s+)?(?:an?|the)\s+(?:own\s+|custom\s+)?exception\b")
_CALL = re.compile(
    r"(?<![\w.])(?:\w+\.)?`?([a-z_]\w*)\(((?:\s*\*{0,2}[a-z_]\w*\s*(?::\s*[\w\[\], .|]+)?(?:=[^,()]*)?\s*,?)*)\)"
)
_MADE = re.compile(rf"(?<![\w.])({_NAME})\(([^()]*)\)")
_LIST = r"(?:`?[a-z_]\w*`?(?:\([^()]*\))?(?:,\s*(?:and\s+)?|\s+and\s+)?)+"
_METHODS = re.compile(rf"\b(?:methods?|operations?)\b\s*:?\s+({_LIST})")
_WITH = re.compile(rf"\bclass\s+`?[A-Z]\w*`?(?:\([^)]*\))?\s+with\s+({_LIST})|`?[A-Z]\w*`?\s+class\s+\(({_LIST})\)")
_ATTRIBUTES = re.compile(
    r"\b(?:attributes?|propert(?:y|ies))\s*:?\s+((?:(?:the\s+)?`?[a-z_]\w*`?(?:,\s*(?:and\s+)?|\s+and\s+)?)+)"
    r"|`([a-z_]\w*)`,?\s+(?:an?|the)\s+(?:read-only\s+)?(?:attribute|property)\b"
)
_SPECIAL = (
    ("__call__", r"`[a-z]\([a-z]\)`"),
    ("__len__", r"\blen\(\w+\)"),
    ("__str__", r"\bstr\(\w+\)"),
    ("__repr__", r"\brepr\(\w+\)"),
    ("__contains__", r"`\w+ in \w+`"),
    ("__iter__", r"`for \w+ in \w+`|\biterat(?:e|es|ing) over\b"),
    ("__eq__", r"`\w+ == \w+`"),
    ("__add__", r"`\w+ \+ \w+`"),
    ("__sub__", r"`\w+ - \w+`"),
    ("__mul__", r"`\w+ \* \w+`"),
    ("__lt__", r"`\w+ < \w+`"),
)
_NO_METHODS = set(dir(builtins)) | {
    "is",
    "that",
    "which",
    "a",
    "an",
    "the",
    "and",
    "of",
    "in",
    "with",
    "for",
    "to",
    "class",
}
_NO_ATTRIBUTES = _NO_METHODS - {"id", "type", "range", "min", "max", "sum", "filter", "format", "hash", "input"}
_NO_CLASS = {"A", "I", "It", "The", "Python", "An"}
_Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Method:
    """One method, without `self`."""

    name: str
    parameters: tuple[str, ...] | None = None
    """As a signature writes them, defaults included; None: the goal does not say, and it may be an attribute."""


@dataclass(frozen=True, slots=True)
class ClassPart:
    """A class of a module: what its code must define and its tests may use."""

    name: str
    parameters: tuple[str, ...] | None = None
    """Of the constructor; None: the goal does not say."""
    methods: tuple[Method, ...] = ()
    attributes: tuple[str, ...] = ()
    is_exception: bool = False

    def skeleton(self) -> str:
        """Write the class as Python with empty bodies, for a prompt."""
        if self.is_exception:
            return f"class {self.name}(Exception): ..."
        lines = [f"class {self.name}:"]
        if self.parameters is not None:
            lines.append(f"    def __init__({', '.join(['self', *self.parameters])}): ...")
        if self.attributes:
            lines.append(f"    # attributes: {', '.join(self.attributes)}")
        open_ = [method.name for method in self.methods if method.parameters is None]
        lines += [f"    # offers: {', '.join(open_)}"] if open_ else []
        for method in self.methods:
            if method.parameters is not None:
                lines.append(f"    def {method.name}({', '.join(['self', *method.parameters])}): ...")
        return "\n".join(lines) if len(lines) > 1 else f"{lines[0]} ..."

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> ClassPart:
        methods = tuple(Method(method["name"], _tuple(method["parameters"])) for method in plain["methods"])
        return cls(
            plain["name"], _tuple(plain["parameters"]), methods, tuple(plain["attributes"]), bool(plain["is_exception"])
        )


def read_classes(goal: str, skeleton: str = "") -> tuple[ClassPart, ...]:
    """Find the classes that a goal asks for, in order; those of a skeleton, if it gives one.

    What the goal calls, such as `deposit(amount)`, are methods of the first class that is no exception.
    """
    if skeleton:
        return tuple(_defined(node) for node in ast.parse(skeleton).body if isinstance(node, ast.ClassDef))
    named = _NAMED.findall(goal)
    errors = {*_OWN_ERROR.findall(goal), *(groups[3] for groups in named)} - {""}
    found = [next(filter(None, groups)) for groups in named]
    if errors or found:
        errors |= set(_ERROR.findall(goal))
    names = [name for name in dict.fromkeys([*found, *sorted(errors)]) if name not in _NO_CLASS]
    names = [name for name in names if not hasattr(builtins, name) and name != "JSONDecodeError"]
    first = next((name for name in names if name not in errors), "")
    made = {name: _parameters(inside) for name, inside in reversed(_MADE.findall(goal))}
    parts = []
    for name in names:
        is_first = name == first
        methods = _methods(goal, names) if is_first else ()
        attributes = _attributes(goal, methods) if is_first else ()
        parts.append(ClassPart(name, made.get(name), methods, attributes, is_exception=name in errors))
    return tuple(sorted(parts, key=lambda part: not part.is_exception))


def missing_member(source: str, classes: Sequence[ClassPart]) -> str:
    """Say which class, method or attribute a source lacks; '' if it has all. Source that does not parse has all."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return ""
    found = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    at_top = {node.name for node in tree.body if isinstance(node, _Function)}
    for part in classes:
        node = found.get(part.name)
        if node is None:
            return f"The file does not define the class {part.name}."
        members = _members(node, found)
        if members is None:
            continue  # it may inherit them
        for name in [*(method.name for method in part.methods), *part.attributes]:
            if name not in members and name not in at_top:
                return f"The class {part.name} has no {name}."
    return ""


def file_name(classes: Sequence[ClassPart]) -> str:
    """`lru_cache` for `LRUCache`: words for a module's file name."""
    name = next((part.name for part in classes if not part.is_exception), "")
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", name).lower()


def described(classes: Sequence[ClassPart]) -> str:
    """The classes as one Python block, for a prompt."""
    return "```python\n" + "\n\n".join(part.skeleton() for part in classes) + "\n```" if classes else ""


def sessions(goal: str, classes: Sequence[ClassPart]) -> list[list[str]]:
    """The doctest sessions of a goal that use a class, each as statements of a test: examples of what has a state."""
    names = {part.name for part in classes}
    found: list[list[str]] = []
    for block in re.findall(r"(?:^[ \t]*>>> .*\n?(?:^[ \t]*(?!>>>)\S.*\n?)*)+", goal, re.MULTILINE):
        lines = [line.strip() for line in block.splitlines() if line.strip()]
        statements = _statements(lines)
        used = {node.id for text in statements for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)}
        if any(text.startswith("assert") for text in statements) and names & used:
            found.append(statements)
    return found


def _tuple(given: Sequence[str] | None) -> tuple[str, ...] | None:
    return None if given is None else tuple(given)


def _statements(lines: Sequence[str]) -> list[str]:
    """Turn calls and their results into statements; what cannot be read ends the session."""
    statements: list[str] = []
    for number, line in enumerate(lines):
        if not line.startswith(">>> "):
            continue
        text = line[4:].split("  #")[0].strip()
        result = lines[number + 1] if number + 1 < len(lines) and not lines[number + 1].startswith(">>>") else ""
        try:
            ast.parse(text)
            if result:
                ast.literal_eval(result)
                ast.parse(text, mode="eval")
        except (SyntaxError, ValueError):
            break
        statements.append(f"assert {text} == {result}" if result else text)
    return statements


def _defined(node: ast.ClassDef) -> ClassPart:
    functions = [child for child in node.body if isinstance(child, _Function)]
    made = next((child for child in functions if child.name == "__init__"), None)
    methods = tuple(
        Method(child.name, _signature(child))
        for child in functions
        if child.name != "__init__" and not child.name.startswith("_")
    )
    bases = [ast.unparse(base) for base in node.bases]
    return ClassPart(
        node.name,
        _signature(made) if made else None,
        methods,
        is_exception=any(base.endswith(("Error", "Exception")) for base in bases),
    )


def _signature(node: _Function) -> tuple[str, ...]:
    text = ast.unparse(node.args)
    return tuple(
        part.strip() for part in re.split(r",(?![^\[(]*[\])])", text) if part.strip() not in ("", "self", "cls")
    )


def _methods(goal: str, classes: Sequence[str]) -> tuple[Method, ...]:
    found: dict[str, Method] = {}
    for name, inside in _CALL.findall(goal):
        if name not in _NO_METHODS and name not in classes and len(name) > 1:
            found.setdefault(name, Method(name, _parameters(inside)))
    for listed in [*_METHODS.findall(goal), *("".join(groups) for groups in _WITH.findall(goal))]:
        for name in re.findall(
            r"`?\b([a-z_]\w*)\b`?(?=\s*(?:\(|,|`|$|\s+and\b|\s*$))", re.sub(r"\([^()]*\)", "", listed)
        ):
            if name not in _NO_METHODS:
                found.setdefault(name, Method(name))
    for name, form in _SPECIAL:
        if re.search(form, goal):
            other = ("other",) if name in ("__eq__", "__add__", "__sub__", "__mul__", "__lt__") else ()
            found.setdefault(name, Method(name, ("item",) if name in ("__contains__", "__call__") else other))
    return tuple(found.values())


def _attributes(goal: str, methods: Sequence[Method]) -> tuple[str, ...]:
    taken = {method.name for method in methods} | _NO_ATTRIBUTES
    found = [name for listed, single in _ATTRIBUTES.findall(goal) for name in _listed(listed or single)]
    return tuple(dict.fromkeys(name for name in found if name not in taken))


def _listed(text: str) -> list[str]:
    """The names of `owner, balance and history`; of `history is a list` only the first."""
    words = [word for word in re.findall(r"[a-z_]\w*|,", text) if word not in ("the", "attribute", "attributes")]
    kept: list[str] = []
    for word in words:
        if word not in (",", "and") and kept and kept[-1] not in (",", "and"):
            break
        kept.append(word)
    return [word for word in kept if word not in (",", "and")]


def _parameters(inside: str) -> tuple[str, ...] | None:
    """The parameters of a call that names them; those of an example, which gives values, are not known."""
    parts = [part.strip() for part in inside.split(",") if part.strip()]
    names = [re.split(r"[:=]", part)[0].strip(" *") for part in parts]
    return tuple(parts) if all(name.isidentifier() and not name[0].isupper() for name in names) else None


def _members(node: ast.ClassDef, classes: Mapping[str, ast.ClassDef]) -> set[str] | None:
    """What instances have; None if the class inherits from one that is not in the file."""
    members = {"__eq__", "__str__", "__repr__"} if _is_dataclass(node) else set()
    for base in node.bases:
        name = ast.unparse(base)
        if name in classes and name != node.name:
            inherited = _members(classes[name], classes)
            if inherited is None:
                return None
            members |= inherited
        elif name not in ("object", "ABC") and not name.endswith(("Error", "Exception")):
            return None
    for child in node.body:
        members |= {child.name} if isinstance(child, _Function | ast.ClassDef) else _targets(child)
    for part in ast.walk(node):
        if isinstance(part, ast.Attribute) and isinstance(part.ctx, ast.Store) and isinstance(part.value, ast.Name):
            members |= {part.attr} if part.value.id == "self" else set()
        if isinstance(part, _Function) and part.name in ("__getattr__", "__getattribute__"):
            return None
    return members


def _targets(node: ast.stmt) -> set[str]:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return {target.id for target in targets if isinstance(target, ast.Name)}


def _is_dataclass(node: ast.ClassDef) -> bool:
    return any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list)
