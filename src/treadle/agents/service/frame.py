"""The frame of a service: HTTP, JSON, validation and storage, written by rule with the standard library alone."""

from __future__ import annotations

import re
from collections.abc import Sequence

from treadle.agents.service.parts import HTTP, MAIN, STORAGE, TOP
from treadle.agents.service.shape import Field, Resource, Route, ServiceBrief

_SQL = {"text": "TEXT", "integer": "INTEGER", "number": "REAL", "boolean": "INTEGER", "list": "TEXT"}
_NOT_ENOUGH = re.compile(
    r"\b4(?:00|09|22)\b|\bnot enough\b|\binsufficient\b|\btoo (?:small|little|low)\b", re.IGNORECASE
)
_PYTHON = {"text": "str", "integer": "int", "number": "float", "boolean": "bool", "list": "list"}


def render(brief: ServiceBrief, custom: str) -> str:
    """Write the whole file. `custom` holds the functions of the routes that are not written by rule."""
    parts = [
        _docstring(brief) + "\n" + TOP,
        schema(brief),
        _fields(brief),
        STORAGE,
        *(_plain(brief, route) for route in brief.routes if route not in brief.for_model),
        custom.strip() + "\n" if custom.strip() else "",
        _route_table(brief),
        HTTP,
        MAIN.format(
            about=_about(brief),
            port=brief.port,
            flags=", ".join(f'"{flag}"' for flag in brief.database_flags),
            database=brief.database,
        ),
    ]
    return "\n\n".join(part.strip("\n") + "\n" for part in parts if part).replace("\n\n\n\n", "\n\n\n")


def signatures(brief: ServiceBrief, routes: Sequence[Route]) -> str:
    """Write the functions that a model is to complete, with the beginning of a body."""
    return "\n\n\n".join(_signature(brief, route) for route in routes)


def schema(brief: ServiceBrief) -> str:
    tables = "\n".join(_table(resource) for resource in brief.resources)
    return f'SCHEMA = """\n{tables}\n"""\n'


def usage(brief: ServiceBrief) -> str:
    """List the routes."""
    width = max(len(route.method) for route in brief.routes)
    return "\n".join(
        f"{route.method:<{width}} {route.path}  {_sentence(brief, route)}".rstrip() for route in brief.routes
    )


def _table(resource: Resource) -> str:
    columns = ["    id INTEGER PRIMARY KEY AUTOINCREMENT", *(f"    {_column(field)}" for field in resource.fields)]
    return f"CREATE TABLE IF NOT EXISTS {resource.table} (\n" + ",\n".join(columns) + "\n);"


def _column(field: Field) -> str:
    words = [field.name, _SQL[field.type]]
    words += ["NOT NULL"] if field.is_required else []
    words += ["UNIQUE"] if field.is_unique else []
    return " ".join(words)


def _fields(brief: ServiceBrief) -> str:
    lines = ["FIELDS = {"]
    for resource in brief.resources:
        lines.append(f'    "{resource.table}": {{')
        lines += [
            f'        "{field.name}": {_rule(field, number == 0)},' for number, field in enumerate(resource.fields)
        ]
        lines.append("    },")
    return "\n".join([*lines, "}\n"])


def _rule(field: Field, is_first: bool) -> str:
    said = [f'"type": {_PYTHON[field.type]}', f'"required": {field.is_required}']
    said += [f'"default": {field.default!r}'] if field.default is not None else []
    said += [f'"choices": {list(field.choices)!r}'] if field.choices else []
    said += ['"not_blank": True'] if field.type == "text" and field.is_required and is_first else []
    if field.minimum is not None:
        number = int(field.minimum) if field.minimum == int(field.minimum) else field.minimum
        said.append(f'"{"above" if field.is_above_minimum else "minimum"}": {number}')
    return "{" + ", ".join(said).replace("'", '"') + "}"


def _plain(brief: ServiceBrief, route: Route) -> str:
    resource = brief.resource(route.resource)
    head = f"def {route.function}({', '.join(route.parameters)}):\n" + f'    """{_sentence(brief, route)}"""\n'
    if resource is None:
        return head + '    return {"status": "ok"}\n'
    if route.sum is not None:
        return head + _summing(brief, route, resource)
    table, key = resource.table, (route.parameters[1] if route.names else "")
    is_own_key = bool(route.names) and resource.field(route.names[0]) is not None
    found = f'fetch(db, "{table}", {key}, "{route.names[0]}")' if is_own_key else f'fetch(db, "{table}", {key})'
    row_id = f'{found}["id"]' if is_own_key else key
    order = f', order="{route.order}"' if route.order != "id" else ""
    owner = brief.resource(route.parent)
    if owner is not None:
        return head + _of_parent(route, resource, owner, order)
    bodies = {
        "create": f'    return insert(db, "{table}", checked(FIELDS["{table}"], body))\n',
        "list": f'    return fetch_all(db, "{table}", query{order})\n',
        "show": f"    return {found}\n",
        "change": f'    row_id = {row_id}\n    fetch(db, "{table}", row_id)\n'
        f'    return change(db, "{table}", row_id, checked(FIELDS["{table}"], body, partial=True))\n',
        "store": _storing(resource, key),
        "remove": f'    remove(db, "{table}", {row_id})\n',
    }
    return head + bodies[route.action]


def _summing(brief: ServiceBrief, route: Route, resource: Resource) -> str:
    """The body of a route that adds to a column or takes from it."""
    assert route.sum is not None
    (into, sign, amount), one = route.sum, resource.one
    lines = beginning(brief, route)
    if sign == "-" and _NOT_ENOUGH.search(route.does):
        code = next(iter(re.findall(r"\b(400|409|422)\b", route.does)), "409")
        lines.append(f'if {one}["{into}"] < {amount}:')
        lines.append(f'    raise ApiError({code}, "there is not enough {into}")')
    changed = f'{{"{into}": {one}["{into}"] {sign} {amount}}}'
    lines.append(f'return change(db, "{resource.table}", {route.parameters[1]}, {changed})')
    return "".join(f"    {line}\n" for line in lines)


def _of_parent(route: Route, resource: Resource, owner: Resource, order: str) -> str:
    """The body of a nested route: what it makes or lists belongs to one of another resource."""
    key, table = route.parameters[1], resource.table
    lines = [f'    fetch(db, "{owner.table}", {key})']
    if route.action == "create":
        body = f'{{**body, "{owner.one}_id": {key}}}'
        lines.append(f'    return insert(db, "{table}", checked(FIELDS["{table}"], {body}))')
    else:
        query = f'{{**query, "{owner.one}_id": str({key})}}'
        lines.append(f'    return fetch_all(db, "{table}", {query}{order})')
    return "\n".join(lines) + "\n"


def _storing(resource: Resource, key: str) -> str:
    """The body of a route that makes what is not there, and changes what is: `PUT /kv/{key}`."""
    name, table = resource.fields[0].name, resource.table
    return (
        f'    values = checked(FIELDS["{table}"], {{**body, "{name}": {key}}})\n'
        f'    row = db.execute("SELECT id FROM {table} WHERE {name} = ?", ({key},)).fetchone()\n'
        f'    return change(db, "{table}", row["id"], values) if row else insert(db, "{table}", values)\n'
    )


def _signature(brief: ServiceBrief, route: Route) -> str:
    lines = [f"def {route.function}({', '.join(route.parameters)}):"]
    lines.append(f'    """{route.method} {route.path}: {_sentence(brief, route)}"""')
    lines += [f"    {line}" for line in beginning(brief, route)]
    return "\n".join([*lines, "    ..."])


def beginning(brief: ServiceBrief, route: Route) -> list[str]:
    """The first lines of a custom function: what it looks up and what it reads from the body."""
    resource, owner = brief.resource(route.resource), brief.resource(route.parent)
    making = resource is not None and route.method == "POST" and (not route.names or owner is not None)
    if making and resource is not None and {f.name for f in route.takes} <= {f.name for f in resource.fields}:
        if owner is None:
            return [f'values = checked(FIELDS["{resource.table}"], body)']
        key = route.parameters[1]
        values = f'{{**body, "{owner.one}_id": {key}}}'
        looked = f'{owner.one} = fetch(db, "{owner.table}", {key})'
        return [looked, f'values = checked(FIELDS["{resource.table}"], {values})']
    lines = _looked_up(brief, route)
    for field in route.takes:
        lines.append(f'{field.name} = one_checked("{field.name}", {_rule(field, True)}, body.get("{field.name}"))')
    for name in route.query:
        lines.append(f'{name} = query.get("{name}", "")')
    return lines


def _looked_up(brief: ServiceBrief, route: Route) -> list[str]:
    """What the path names: by its id, or by a column of that name."""
    if not route.names:
        return []
    resource, name = brief.resource(route.parent or route.resource), route.names[0]
    if resource is not None and name in ("id", f"{resource.one}_id"):
        return [f'{resource.one} = fetch(db, "{resource.table}", {route.parameters[1]})']
    having = [r for r in ([resource] if resource else brief.resources) if r.field(name)]
    return [f'{r.one} = fetch(db, "{r.table}", {name}, "{name}")' for r in having[:1]]


def _route_table(brief: ServiceBrief) -> str:
    lines = [f'    ("{r.method}", "{r.path}", {r.status}, {r.function}),' for r in brief.routes]
    return "\n".join(["ROUTES = [", *lines, "]\n"])


def _docstring(brief: ServiceBrief) -> str:
    routes = "\n".join(f"    {line}" for line in usage(brief).splitlines())
    file = brief.file.rpartition("/")[2]
    started = f"    python {file} --port {brief.port} {brief.database_flags[0]} {brief.database}"
    return f'"""{_about(brief)}\n\n{started}\n\n{routes}\n"""\n'


def _about(brief: ServiceBrief) -> str:
    names = " and ".join(resource.name for resource in brief.resources) or "An HTTP service"
    return f"{names[0].upper()}{names[1:]} over HTTP, stored in an SQLite file."


def _sentence(brief: ServiceBrief, route: Route) -> str:
    """Say what a route does, in one line that can stand in a docstring."""
    resource = brief.resource(route.resource)
    if route.action != "custom" and resource is not None:
        words = {"create": "Make", "show": "Show", "change": "Change", "remove": "Delete", "store": "Store"}
        if route.action == "list":
            return f"List the {resource.name}."
        return f"{words[route.action]} {'an' if resource.one[0] in 'aeiou' else 'a'} {resource.one}."
    if route.action == "health":
        return "Say that the service is up."
    text = re.sub(r"\s+", " ", route.does).replace('"', "'").replace("\\", "").strip().rstrip(".")
    return f"{text[:1].upper()}{text[1:]}." if text else f"{route.function.replace('_', ' ').capitalize()}."
