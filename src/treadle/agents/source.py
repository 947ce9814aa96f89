"""What can be known about, and mended in, Python source without a model and without running it."""

from __future__ import annotations

import ast
import builtins
import symtable
import sys
from collections.abc import Iterator
from dataclasses import dataclass

_KNOWN_NAMES = {
    "typing": "Any Callable Dict Generator Iterable Iterator List Mapping NamedTuple Optional Sequence Set Tuple Union",
    "collections": "Counter OrderedDict defaultdict deque namedtuple",
    "pathlib": "Path",
    "dataclasses": "dataclass field",
    "datetime": "datetime timedelta",
    "functools": "lru_cache reduce wraps partial",
    "itertools": "accumulate chain combinations permutations product zip_longest groupby",
    "decimal": "Decimal",
    "fractions": "Fraction",
    "math": "ceil floor gcd sqrt",
    "abc": "ABC abstractmethod",
    "enum": "Enum",
}
_HOMES = {name: module for module, names in _KNOWN_NAMES.items() for name in names.split()}
_MODULE_NAMES = {"__file__", "__name__", "__doc__", "__package__", "__spec__"}
_RAISE = "raise NotImplementedError"
_Function = ast.FunctionDef | ast.AsyncFunctionDef
_Definition = _Function | ast.ClassDef


@dataclass(frozen=True, slots=True)
class Flaw:
    """Something wrong with a source that can be seen without running it."""

    message: str
    line: int | None = None


def find_flaw(source: str, needed: tuple[str, ...] = (), local: frozenset[str] = frozenset()) -> Flaw | None:
    """Look for what would keep a module from being used: wrong syntax, missing public names, packages not there.

    `local` names modules beside this one.
    """
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        line = (source.splitlines() or [""])[max(0, min((error.lineno or 1), len(source.splitlines()) or 1) - 1)]
        return Flaw(f"SyntaxError: {error.msg} in line {error.lineno}: {line.strip()}", error.lineno)
    except (ValueError, MemoryError, RecursionError) as error:
        return Flaw(f"The file cannot be parsed: {error}")
    missing = [name for name in needed if name not in public_names(tree) and name != "main"]
    if missing:
        return Flaw(f"The file does not define {', '.join(missing)}.")
    for name, number in _imported(tree):
        if name not in sys.stdlib_module_names and name not in local:
            return Flaw(f"The package {name!r} is not installed; only the standard library may be used.", number)
    return unbound(source)


def unbound(source: str) -> Flaw | None:
    """Look for a name that is read somewhere and bound neither there, around it, nor at the top."""
    top = symtable.symtable(source, "<module>", "exec")
    if any(isinstance(node, ast.ImportFrom) and node.names[0].name == "*" for node in ast.parse(source).body):
        return None
    scopes = list(_scopes(top))
    known = set(dir(builtins)) | _MODULE_NAMES
    known |= {symbol.get_name() for symbol in top.get_symbols() if _is_bound(symbol)}
    known |= {
        s.get_name() for scope in scopes for s in scope.get_symbols() if s.is_declared_global() and s.is_assigned()
    }
    for scope in scopes:
        for symbol in scope.get_symbols():
            if symbol.is_global() and symbol.is_referenced() and symbol.get_name() not in known:
                where = f" in {scope.get_name()}" if scope is not top else ""
                return Flaw(f"NameError: name {symbol.get_name()!r} is not defined{where}.", scope.get_lineno())
    return None


def _is_bound(symbol: symtable.Symbol) -> bool:
    return symbol.is_assigned() or symbol.is_imported() or symbol.is_namespace()


def _scopes(table: symtable.SymbolTable) -> Iterator[symtable.SymbolTable]:
    yield table
    for child in table.get_children():
        yield from _scopes(child)


def public_names(tree: ast.Module) -> list[str]:
    """List the functions and classes that a module defines at its top level, in order, without private ones."""
    return [node.name for node in tree.body if isinstance(node, _Definition) and not node.name.startswith("_")]


def functions(tree: ast.Module) -> Iterator[tuple[str, _Function, ast.ClassDef | None]]:
    """The functions at the top of a module, and the methods of its classes as `Class.method`, each with its class."""
    for node in tree.body:
        if isinstance(node, _Function):
            yield node.name, node, None
        elif isinstance(node, ast.ClassDef):
            for child in node.body:
                if isinstance(child, _Function):
                    yield f"{node.name}.{child.name}", child, node


def interface(source: str) -> str:
    """Describe a module's public functions and classes by their signatures and the first lines of their docstrings."""
    lines: list[str] = []
    for node in ast.parse(source).body:
        if isinstance(node, _Definition) and not node.name.startswith("_"):
            lines += _describe(node, "")
    return "\n".join(lines)


def has_class(source: str) -> bool:
    """Tell whether a module defines a public class, so that its tests need more than one call each."""
    return any(isinstance(node, ast.ClassDef) and not node.name.startswith("_") for node in ast.parse(source).body)


def stub(source: str) -> str:
    """Return the module with its names but without its work: every body raises NotImplementedError.

    Nothing runs on import. A program keeps its main guard, so that it fails when it is run. A test that passes on this
    proves nothing about the code.
    """
    tree = ast.parse(source)
    working = ast.If | ast.Expr | ast.For | ast.While | ast.Try | ast.With
    kept = [node for node in tree.body if not isinstance(node, working) and not _calls_own(node, tree)]
    guards = [node for node in tree.body if _is_guard(node)]
    tree.body = [*(_Hollow().visit(node) for node in kept), *guards]
    return ast.unparse(ast.fix_missing_locations(tree)) + "\n"


def mend(source: str, *, is_program: bool = False) -> str:
    """Repair what small models leave out or add: missing imports, tests, calls on import.

    Source that does not parse is returned as it is. Only lines are added or removed; the rest keeps its form.
    """
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return source
    lines = source.splitlines()
    for node in reversed(tree.body):
        is_test = isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
        if (is_test or _runs_on_import(node, is_program)) and node.end_lineno:
            del lines[node.lineno - 1 : node.end_lineno]
    while lines and (not lines[-1].strip() or lines[-1].startswith("#")):
        del lines[-1]
    source = "\n".join(lines).rstrip() + "\n"
    return with_imports(source)


def missing_imports(source: str) -> str:
    """Write the import statements of the standard library that a source lacks, one a line."""
    wanted = sorted(_undefined(ast.parse(source)))
    plain = [f"import {name}" for name in wanted if name in sys.stdlib_module_names and name not in _HOMES]
    return "\n".join([*plain, *(f"from {_HOMES[name]} import {name}" for name in wanted if name in _HOMES)])


def with_imports(source: str) -> str:
    """Add the imports of the standard library that a source uses and forgot. It must parse."""
    tree, missing = ast.parse(source), missing_imports(source)
    if not missing:
        return source
    lines = source.splitlines()
    place = _behind_docstring(tree)
    return "\n".join([*lines[:place], missing, *([""] if place == 0 else []), *lines[place:]]) + "\n"


def _behind_docstring(tree: ast.Module) -> int:
    place = 0
    for node in tree.body:
        is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        is_future = isinstance(node, ast.ImportFrom) and node.module == "__future__"
        if not (is_text or is_future):
            break
        place = node.end_lineno or place
    return place


def _undefined(tree: ast.Module) -> set[str]:
    """Names that are read somewhere and bound nowhere. Scopes are not told apart: what is bound anywhere counts."""
    bound = set(dir(builtins)) | _MODULE_NAMES
    read: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            (read if isinstance(node.ctx, ast.Load) else bound).add(node.id)
        elif isinstance(node, _Definition):
            bound.add(node.name)
        elif isinstance(node, ast.arg):
            bound.add(node.arg)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            bound |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ExceptHandler) and node.name:
            bound.add(node.name)
    return read - bound


def _runs_on_import(node: ast.stmt, is_program: bool) -> bool:
    """Calls and prints at the top level: examples that models append. A program keeps its main guard."""
    if isinstance(node, ast.Expr):
        return not isinstance(node.value, ast.Constant)
    if isinstance(node, ast.Assert):
        return True
    return _is_guard(node) and not is_program


def _is_guard(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and "__name__" in ast.unparse(node.test)


def _imported(tree: ast.Module) -> list[tuple[str, int]]:
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name.split(".")[0], node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.append((node.module.split(".")[0], node.lineno))
    return found


def _describe(node: _Definition, indent: str) -> list[str]:
    said = (ast.get_docstring(node) or "").strip().split("\n")[0]
    note = f'\n{indent}    """{said}"""' if said else " ..."
    if isinstance(node, ast.ClassDef):
        bases = f"({', '.join(map(ast.unparse, node.bases))})" if node.bases else ""
        inner = [child for child in node.body if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)]
        shown = [child for child in inner if not child.name.startswith("_") or child.name == "__init__"]
        return [
            f"{indent}class {node.name}{bases}:{note}",
            *(line for child in shown for line in _describe(child, indent + "    ")),
        ]
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return [f"{indent}def {node.name}({ast.unparse(node.args)}){returns}:{note}"]


def _calls_own(node: ast.stmt, tree: ast.Module) -> bool:
    """Tell whether an assignment at the top level calls what the module itself defines: on a stub it would fail."""
    own = {definition.name for definition in tree.body if isinstance(definition, _Definition)}
    if not isinstance(node, ast.Assign | ast.AnnAssign):
        return False
    calls = [child for child in ast.walk(node) if isinstance(child, ast.Call)]
    return any(isinstance(call.func, ast.Name) and call.func.id in own for call in calls)


class _Hollow(ast.NodeTransformer):
    """Empties functions and undecorates classes."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.body, node.decorator_list = ast.parse(_RAISE).body, []
        return node

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        node.body, node.decorator_list = ast.parse(_RAISE).body, []
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        node.decorator_list = []
        self.generic_visit(node)
        if not any(isinstance(child, ast.FunctionDef) for child in node.body):
            node.body += ast.parse(f"def __init__(self, *args, **kwargs): {_RAISE}").body
        return node
