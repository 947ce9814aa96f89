"""The brief of a service: what the goal says by rule, and by a model's answer what it leaves open."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from treadle.agents.ask import Asker, Question
from treadle.agents.prompt import Prompts
from treadle.agents.service import reading
from treadle.agents.service.reading import Mention
from treadle.agents.service.shape import Action, Field, FieldType, Resource, Route, ServiceBrief, Value, singular

_PREFIX = re.compile(r"^(/api(?:/v\d+)?|/v\d+)(?=/)")
_HEALTH = {"/health", "/healthz", "/ping", "/status"}
_MORE = re.compile(
    r"\b(?:decreas|increas|increment|decrement|comput|calculat|generat|short(?:en| code)|redirect|hash|overlap|transfer"
    r"|deduct|subtract|assign|average|sum of|total|random|only if|unless|except|refuse|overdue|atomic|the same )",
    re.IGNORECASE,
)
_FRAMEWORK = re.compile(r"\b(flask|fastapi|django|aiohttp|starlette|bottle|tornado|sqlalchemy)\b", re.IGNORECASE)
_STATUS: dict[Action, int] = {"create": 201, "remove": 204}
_FILE = re.compile(r"(?<![\w/.-])((?:[A-Za-z_]\w*/)*[A-Za-z_]\w*\.py)\b")
_NAME = {"type": "string", "pattern": "^[a-z][a-z_]{1,20}$"}
_FIELD = {
    "type": "object",
    "properties": {
        "name": _NAME,
        "type": {"type": "string", "enum": ["text", "integer", "number", "boolean"]},
        "required": {"type": "boolean"},
    },
    "required": ["name", "type", "required"],
    "additionalProperties": False,
}
_TABLE = {
    "type": "object",
    "properties": {"name": _NAME, "columns": {"type": "array", "minItems": 1, "maxItems": 6, "items": _FIELD}},
    "required": ["name", "columns"],
    "additionalProperties": False,
}
_TABLES = {
    "type": "object",
    "properties": {"tables": {"type": "array", "minItems": 1, "maxItems": 3, "items": _TABLE}},
    "required": ["tables"],
    "additionalProperties": False,
}


@dataclass(frozen=True, slots=True)
class _Read:
    """What the rules found: the routes as written, and the resources with the fields that are known."""

    mentions: tuple[Mention, ...]
    resources: tuple[Resource, ...]
    prefix: str

    @property
    def is_complete(self) -> bool:
        return bool(self.resources) and all(resource.fields for resource in self.resources)


async def make_service_brief(
    goal: str, asker: Asker, prompts: Prompts, *, files: Sequence[str] = (), seed: int = 0
) -> ServiceBrief:
    """Make the brief of a service. A model is asked only where the goal does not say what is stored.

    `files` are those that the task may write; the first Python file among them is the service. A model whose answer
    cannot be used leads to a plain service, not to an error.
    """
    read = _read(goal)
    answer: Mapping[str, Any] = {}
    if not read.is_complete:
        text = prompts["analyse_service"].render(goal=goal)
        question = Question(text, max_tokens=400, seed=seed, json_schema=_TABLES)
        given = await asker.ask_json("analyse", question)
        answer = given if isinstance(given, dict) else {}
    return _brief(goal, read, _tables(answer), files)


def _read(goal: str) -> _Read:
    mentions = reading.mentions(goal)
    prefixes = {match[1] for mention in mentions if (match := _PREFIX.match(mention.path))}
    prefix = max(prefixes, key=len) if prefixes else ""
    inner = [replace(mention, path=mention.path.removeprefix(prefix)) for mention in mentions]
    if mentions:
        names = [name for name in reading.about(inner) if _is_resource(name, inner)]
    else:
        names = reading.resource_words(goal)[:1]
    return _Read(tuple(mentions), tuple(Resource(name, _fields(name, goal, inner)) for name in names), prefix)


def _is_resource(name: str, mentions: Sequence[Mention]) -> bool:
    """What can be made and looked at, or is a plural that can be made."""
    own = {
        (m.method, bool(re.search(r"\}$", m.path))) for m in mentions if re.fullmatch(rf"/{name}(/\{{\w+\}})?", m.path)
    }
    is_made = ("POST", False) in own or ("PUT", True) in own
    is_seen = ("GET", False) in own or ("GET", True) in own or ("DELETE", True) in own
    return is_made and (is_seen or name.endswith("s"))


def _fields(name: str, goal: str, mentions: Sequence[Mention]) -> tuple[Field, ...]:
    """The fields of a resource, from the route that makes one, or from the sentences that speak of it."""
    one = singular(name)
    making = [m for m in mentions if m.path in (f"/{name}", f"/{name}/{{id}}") and m.method in ("POST", "PUT")]
    found = next((m.body for m in making if m.body), ())
    found = found or next((said for m in making if (said := reading.fields_in(m.does))), ())
    if not found:
        named = re.search(rf"\b(?:{one}|{name})\s*:\s+(?P<list>[^.;\n{{}}/]+)", goal, re.IGNORECASE)
        found = reading.fields_in(f"fields {named['list']}") if named else ()
    if not found:
        spoken = [s for s in re.split(r"(?<=[.;])\s+|\n", goal) if re.search(rf"\b(?:{one}|{name})\b", s, re.I)]
        found = max((reading.fields_in(sentence) for sentence in spoken), key=len, default=())
    keys = re.findall(rf"/{name}/\{{(\w+)\}}", " ".join(mention.path for mention in mentions))
    found = tuple(reading.refined(_key(field, keys), goal, one) for field in found if field.name != name)
    made = [f for m in mentions if m.path == f"/{name}" and m.method == "POST" for f in reading.answered(m.does)]
    shown = [f for m in mentions if re.fullmatch(rf"/{name}/\{{\w+\}}", m.path) for f in reading.answered(m.does)]
    made += [field for field in shown if field.type in ("integer", "boolean")]
    found += tuple(_answered_too(found, made))
    is_stored_by_key = (
        bool(keys) and "id" not in keys and not any(m.method == "POST" and m.path == f"/{name}" for m in mentions)
    )
    if is_stored_by_key and keys[0] not in [field.name for field in found]:
        return (Field(keys[0], is_unique=True), *found)
    return found


def _answered_too(found: Sequence[Field], answered: Sequence[Field]) -> list[Field]:
    """What is answered beyond what is sent: columns that the service fills in."""
    known = {field.name for field in found}
    filled: dict[FieldType, Value] = {"boolean": False, "integer": 0, "number": 0}
    more = {field.name: field for field in answered if field.name not in known}
    return [replace(field, is_required=False, default=filled.get(field.type)) for field in more.values()]


def _key(field: Field, keys: Sequence[str]) -> Field:
    """A field that stands in the path in place of the id names one thing only."""
    return replace(field, is_unique=True) if field.name in keys and field.name != "id" else field


def _tables(answer: Mapping[str, Any]) -> list[Resource]:
    found = []
    for table in answer.get("tables") or []:
        if not isinstance(table, dict) or not str(table.get("name", "")).isidentifier():
            continue
        fields: list[Field] = []
        for column in table.get("columns") or []:
            note = f"{column.get('type', '')} {'required' if column.get('required') else 'optional'}"
            made = reading.make_field(str(column.get("name", "")), note)
            fields += [made] if made and made.name not in [field.name for field in fields] else []
        if fields:
            fields[0] = replace(fields[0], is_required=True)
            found.append(Resource(str(table["name"]), tuple(fields)))
    return found


def _brief(goal: str, read: _Read, tables: list[Resource], files: Sequence[str]) -> ServiceBrief:
    resources = tuple(_completed(resource, tables) for resource in read.resources) or tuple(tables[:3])
    if not resources and not read.mentions:
        resources = (Resource("items", (Field("name"),)),)
    resources += tuple(_hidden(resources, tables))
    resources += tuple(_nested(read, resources))
    routes = _routes(goal, read, resources) if read.mentions else _plain_routes(resources)
    file = next(
        (path for path in files if path.endswith(".py") and not path.rpartition("/")[2].startswith("test_")), ""
    )
    named = _FILE.search(goal)
    file = file or (named[1] if named else f"{resources[0].table if resources else 'http'}_service.py")
    brief = ServiceBrief(
        goal,
        file,
        resources,
        tuple(routes),
        port=reading.port(goal),
        database=reading.database_file(goal, f"{resources[0].table if resources else 'data'}.db"),
        database_flags=reading.database_flags(goal),
    )
    return replace(brief, assumptions=tuple(_assumptions(brief, read, bool(files or named))))


def _completed(resource: Resource, tables: Sequence[Resource]) -> Resource:
    if resource.fields:
        return resource
    same = next((table for table in tables if singular(table.name) == resource.one), None)
    return Resource(resource.name, (same or (tables[0] if tables else None) or Resource("", (Field("name"),))).fields)


def _nested(read: _Read, resources: Sequence[Resource]) -> list[Resource]:
    """Things that belong to others, such as the votes of `POST /polls/{id}/votes {option}`: tables of their own."""
    found: dict[str, Resource] = {}
    for mention in read.mentions:
        match = re.fullmatch(r"/([\w-]+)/\{\w+\}/([a-z][\w-]*s)", mention.path.removeprefix(read.prefix))
        owner = next((resource for resource in resources if match and resource.name == match[1]), None)
        if match is None or owner is None or mention.method != "POST" or match[2] in [r.name for r in resources]:
            continue
        sent = mention.body or reading.fields_in(mention.does)
        if sent:
            found[match[2]] = Resource(match[2], (Field(f"{owner.one}_id", "integer"), *sent))
    return list(found.values())


def _hidden(resources: Sequence[Resource], tables: Sequence[Resource]) -> list[Resource]:
    """Tables that only custom routes use: those that the model names, where the goal's routes show no resource."""
    return [] if resources else list(tables[:2])


def _plain_routes(resources: Sequence[Resource]) -> list[Route]:
    routes = []
    for resource in resources:
        path, one = f"/{resource.name}", f"/{resource.name}/{{id}}"
        written = [("POST", path), ("GET", path), ("GET", one), ("PUT", one), ("DELETE", one)]
        routes += [_route("", Mention(method, where, ""), where, resources, []) for method, where in written]
    return routes


def _routes(goal: str, read: _Read, resources: Sequence[Resource]) -> list[Route]:
    """The routes of the goal, in the order in which they are tried: `/items/low-stock` before `/items/{id}`."""
    routes: list[Route] = []
    for mention in read.mentions:
        inner = mention.path.removeprefix(read.prefix)
        routes.append(_route(goal, mention, inner, resources, [route.function for route in routes]))
    return sorted(routes, key=lambda route: [part.startswith("{") for part in route.path.split("/")])


def _route(goal: str, mention: Mention, inner: str, resources: Sequence[Resource], taken: Sequence[str]) -> Route:
    """Say what a route does. `inner` is its path without `/api` and the like."""
    resource = next((r for r in resources if re.match(rf"/{re.escape(r.name)}(?:/|$)", inner)), None)
    action = _action(mention, inner, resource)
    inside = re.fullmatch(r"/[\w-]+/\{\w+\}/([\w-]+)", inner)
    child = next((r for r in resources if inside and resource and r.name == inside[1]), None)
    parent = ""
    if child is not None and resource is not None and child.field(f"{resource.one}_id"):
        parent, resource = resource.name, child
        action = _action(mention, f"/{child.name}", child)
    status = reading.status_of(mention.does, mention.method) or _STATUS.get(action, 200)
    names = [field.name for field in resource.fields] if resource else []
    route = Route(mention.method, mention.path, action, resource.name if resource else "", mention.does, status)
    route = replace(route, query=mention.query, order=reading.order_of(mention.does, names), parent=parent)
    if action == "custom":
        takes = mention.body or (reading.fields_in(mention.does) if mention.method != "GET" else ())
        is_making = inner == f"/{route.resource}" and mention.method == "POST"
        status = reading.status_of(mention.does, mention.method) or (201 if is_making else 200)
        takes = tuple(replace(reading.refined(field, goal, ""), is_unique=False) for field in takes)
        name = reading.function_name(mention.method, inner, taken)
        made = replace(route, takes=takes, function=name, status=status)
        sum = reading.sum_of(made, resource) if resource else None
        if (
            sum is not None
            and (sum[1] == "-" or re.search(r"(?:deposit|restock)$", inner))
            and takes[0].minimum is None
        ):
            made = replace(made, takes=(replace(takes[0], minimum=0, is_above_minimum=True),))
        return replace(made, sum=sum)
    return replace(route, function=_plain_name(action, mention.method, resource))


def _plain_name(action: Action, method: str, resource: Resource | None) -> str:
    if resource is None:
        return "health"
    verb = {"create": "create", "list": "list", "show": "get", "remove": "delete", "store": "store"}.get(
        action, "update"
    )
    verb = "replace" if method == "PUT" and action == "change" else verb
    return f"{verb}_{resource.table if action == 'list' else resource.one}"


def _action(mention: Mention, inner: str, resource: Resource | None) -> Action:
    if mention.method == "GET" and inner in _HEALTH and resource is None:
        return "health"
    if resource is None or _MORE.search(mention.does) or reading.is_conditional(mention.does):
        return "custom"
    if mention.method == "GET" and _has_more(mention, resource):
        return "custom"
    if inner == f"/{resource.name}":
        plain: dict[str, Action] = {"POST": "create", "GET": "list"}
        return plain.get(mention.method, "custom")
    named = re.fullmatch(rf"/{re.escape(resource.name)}/\{{(\w+)\}}", inner)
    if named and (named[1] in ("id", f"{resource.one}_id") or resource.field(named[1])):
        if mention.method == "PUT" and resource.fields[0].name == named[1] and resource.fields[0].is_unique:
            return "store"
        single: dict[str, Action] = {"GET": "show", "PUT": "change", "PATCH": "change", "DELETE": "remove"}
        return single.get(mention.method, "custom")
    return "custom"


def _has_more(mention: Mention, resource: Resource) -> bool:
    """Whether an answer holds what is no column of the resource."""
    known = {field.name for field in resource.fields}
    return any(field.name not in known for field in reading.answered(mention.does))


def _assumptions(brief: ServiceBrief, read: _Read, has_file: bool) -> list[str]:
    said = [] if has_file else [f"the code goes into {brief.file}"]
    if not read.mentions:
        said.append("routes: " + ", ".join(f"{route.method} {route.path}" for route in brief.routes))
    if not read.is_complete:
        for resource in brief.resources:
            said.append(
                f"{resource.name} have " + ", ".join(f"{field.name} ({field.type})" for field in resource.fields)
            )
    framework = _FRAMEWORK.search(brief.goal)
    if framework:
        said.append(f"only the standard library is used, not {framework[1]}")
    return said
