"""What a goal says about a service in so many words: routes, fields, flags, status codes. Rules only, no model."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from treadle.agents.service.shape import Field, FieldType, Resource, Route, singular

_METHODS = "GET|POST|PUT|PATCH|DELETE"
_ROUTE = re.compile(
    rf"\b(?P<methods>(?:{_METHODS})(?:\s*(?:/|,|\band\b|\bor\b|\|)\s*(?:{_METHODS}))*)`?\s+[`\"']?(?P<path>/[^\s`\"',;()]*)"
)
_PART = re.compile(r"\{(?:\w+:)?(\w+)(?::\w+)?\}|<(?:\w+:)?(\w+)>|:(\w+)|(?<=/)(\d+|[A-Z][A-Z_]*)(?=/|$)")
_PAIRS = re.compile(r"\{[^{}]*\}")
_STATUS = re.compile(r"\b(20[0-6]|30[12378]|40[0-9]|422)\b")
_SERVICE = re.compile(
    r"\b(?:https?\b[^.\n]{0,30}\b(?:service|server)|rest(?:ful)?\b|web[- ]?service|micro-?service|api\b)", re.IGNORECASE
)
_WORD_TYPES: dict[str, FieldType] = {
    "str": "text", "string": "text", "text": "text", "date": "text", "datetime": "text", "url": "text",
    "int": "integer", "integer": "integer", "whole": "integer",
    "float": "number", "number": "number", "decimal": "number", "real": "number", "numeric": "number",
    "bool": "boolean", "boolean": "boolean", "flag": "boolean", "true": "boolean", "false": "boolean",
    "list": "list", "array": "list",
}  # fmt: skip
_NUMBERS = "price amount balance cost total temperature weight value rating"
_INTEGERS = (
    "count qty quantity year age stock score pages priority votes size capacity seats minutes seconds duration points "
    "level position hits clicks views visits likes uses"
)
_BOOLEANS = "done completed complete active enabled finished read archived available paid published urgent checked"
_NAMED_TYPES: dict[str, FieldType] = {
    **dict.fromkeys(_NUMBERS.split(), "number"),
    **dict.fromkeys(_INTEGERS.split(), "integer"),
    **dict.fromkeys(_BOOLEANS.split(), "boolean"),
    "tags": "list",
    "labels": "list",
}
_GIVEN_BY_US = {"id", "created_at", "updated_at", "created"}
_BEHIND = re.compile(
    r"(?:stored|kept|saved|using|backed|in|on|at|where|which|that|each|plus|persisted|returned|creates|with)$"
)
"""Words with which a list of fields is over."""
_NO_FIELDS = {"field", "fields", "the", "following", "json", "object"}
_LISTED = re.compile(
    r"\b(?:each|every|an?|the|with|has|have|having|of)?\s*(?:\w+\s+)?\b(?:with|has|have|having|fields?|columns?|attributes?|properties)\b"
    r"(?:\s+(?:an?|the|these|fields?|columns?|attributes?|properties|following))*\s*[:=]?\s+(?P<list>[^.;\n{}]+)",
    re.IGNORECASE,
)
_ITEM = re.compile(
    r"^(?:an?\s+|the\s+|its\s+|and\s+|optional\s+|required\s+|unique\s+|integer\s+|boolean\s+|numeric\s+|text\s+|string\s+)*`?(?P<name>[a-z][a-z_0-9]*)`?\s*(?:[(:]\s*(?P<note>[^)]*)\)?|(?P<more>(?:\s+\w+){0,4}))?\s*$"
)


@dataclass(frozen=True, slots=True)
class Mention:
    """One route as the goal writes it."""

    method: str
    path: str
    does: str
    query: tuple[str, ...] = ()
    body: tuple[Field, ...] = ()
    """Fields of a body in braces behind it."""


def is_service(goal: str) -> bool:
    """Tell whether a goal asks for a service: it names routes, or says so."""
    return bool(_ROUTE.search(goal)) or (bool(_SERVICE.search(goal)) and not re.search(r"\bclient\b", goal, re.I))


def mentions(goal: str) -> list[Mention]:
    """Find the routes of a goal in order, each once, with what is said behind it."""
    found: dict[tuple[str, str], Mention] = {}
    matches = list(_ROUTE.finditer(goal))
    for number, match in enumerate(matches):
        end = matches[number + 1].start() if number + 1 < len(matches) else len(goal)
        does = _said(goal[match.end() : end])
        path, _, query = match["path"].partition("?")
        for method in re.findall(_METHODS, match["methods"]):
            mention = Mention(method, _clean(path), does, _query(query), _body(does) if method != "GET" else ())
            key = (method, re.sub(r"\{\w+\}", "{}", mention.path))
            before = found.get(key)
            found[key] = _merged(before, mention) if before else mention
    return list(found.values())


def fields_in(text: str) -> tuple[Field, ...]:
    """Find the fields that a text lists: in braces, or behind words like `with` and `fields`."""
    in_braces = _body(text)
    if in_braces:
        return in_braces
    best: tuple[Field, ...] = ()
    for match in _LISTED.finditer(text):
        listed = _items(match["list"])
        best = listed if len(listed) > len(best) else best
    return best


def refined(field: Field, goal: str, one: str) -> Field:
    """Add what the goal says of a field elsewhere: unique, optional, a default, choices, a minimum."""
    name = re.escape(field.name).replace("_", "[ _]")
    near = re.compile(rf"\b{name}\b`?(?=(?P<after>[^.;\n]{{0,80}}))", re.IGNORECASE)
    for match in near.finditer(goal):
        said = match["after"]
        own = said[: _next_comma(said)]
        if re.search(rf"\bunique\b[\w\s]{{0,12}}\b{name}\b", goal, re.I) or re.search(
            r"\b(?:is|must be|are)?\s*unique\b", own, re.I
        ):
            field = replace(field, is_unique=True)
        if re.match(r"\s*\([^)]*\boptional\b|\s+(?:is|may be)\s+(?:optional|left out|missing)", said, re.IGNORECASE):
            field = replace(field, is_required=False)
        if re.match(r"\s*(?:must be|has to be|is)\s+new\b", own, re.IGNORECASE):
            field = replace(field, is_unique=True)
        if re.match(r"(?:\s+and\s+\w+)?\s+(?:must be|are|is)\s+(?:an?\s+)?(?:whole numbers?|integers?)", said, re.I):
            field = replace(field, type="integer")
        field = _with_default(field, own)
        field = _with_choices(field, said)
        field = _with_minimum(field, said)
    same = rf"\b(?:same|duplicate)\s+{name}\b[^.]{{0,40}}\b409\b"
    there = rf"\b409\b[^.,;)]{{0,40}}\b{name}\b[^.;)]{{0,30}}\b(?:exists|taken|already|used)\b"
    if re.search(f"{same}|{there}", goal, re.IGNORECASE):
        field = replace(field, is_unique=True)
    if re.search(rf"\boptional\s+`?{name}\b", goal, re.IGNORECASE):
        field = replace(field, is_required=False)
    return field


def make_field(name: str, note: str = "") -> Field | None:
    """Make a field of its name and what is said of it in its own brackets; None if it is not for the client to give."""
    if name in _GIVEN_BY_US or not name.isidentifier():
        return None
    words = re.findall(r"[a-z]+", note.lower())
    typed = next((_WORD_TYPES[word] for word in words if word in _WORD_TYPES), None)
    type = typed or _type_of(name)
    is_optional = "optional" in words or "nullable" in words or (type == "boolean" and "required" not in words)
    field = Field(name, type, is_required=not is_optional, is_unique="unique" in words)
    if type == "boolean":
        field = replace(field, default=False)
    return _with_minimum(_with_choices(_with_default(field, note), f" {note}"), note)


def answered(does: str) -> tuple[Field, ...]:
    """The fields of what a route answers: those of the last braces behind it, where there are two, or an answer."""
    blocks = _PAIRS.findall(does)
    if len(blocks) < 2 and not re.search(r"\b(?:answers?|returns?|gives?|responds?)\b[^{}]*\{", does):
        return ()
    return _json_fields(blocks[-1]) or _items(blocks[-1][1:-1].replace('"', "")) if blocks else ()


def order_of(does: str, fields: Iterable[str]) -> str:
    """By which column a list is sorted: SQL, `id` if the goal does not say."""
    for name in fields:
        if re.search(rf"\b(?:highest|largest|most|latest)\s+{re.escape(name)}s?\s+first\b", does, re.IGNORECASE):
            return f"{name} DESC"
        if re.search(rf"\b(?:by|order of)\s+(?:the\s+)?`?{re.escape(name)}\b", does, re.IGNORECASE):
            return name
    return "id DESC" if re.search(r"\b(?:newest|most recent|latest|last)\s+first\b", does, re.IGNORECASE) else "id"


_CLIENT_ERROR = re.compile(r"\b(?:400|409|422)\b")
_EXPLAINED = re.compile(
    r"\b(?:missing|empty|blank|without|required|json|broken|invalid body|exists?|already|taken|duplicate|new|unique|"
    r"at least|negative|positive|non-?empty|must be an?|one of|whole number)\b",
    re.IGNORECASE,
)


def is_conditional(does: str) -> bool:
    """Tell whether a route refuses for a reason that no rule of a field covers."""
    clauses = re.split(r"[.;]\s|,\s(?=(?:and|but|else)\b)", does)
    return any(_CLIENT_ERROR.search(clause) and not _EXPLAINED.search(clause) for clause in clauses)


def status_of(does: str, method: str) -> int | None:
    """The status code that a route answers with when it works, if the goal says it."""
    codes = [int(code) for code in _STATUS.findall(does)]
    return next((code for code in codes if code < 400), None)


def database_flags(goal: str) -> tuple[str, ...]:
    """The option that names the database file, as the goal spells it; `--db` works in any case."""
    named = re.findall(r"--(?:db|database|data|file|storage|sqlite)(?:-(?:file|path))?\b", goal)
    return tuple(dict.fromkeys([*named, "--db"]))


def database_file(goal: str, default: str) -> str:
    named = re.search(r"\b([\w-]+\.(?:db|sqlite3?))\b", goal)
    return named[1] if named else default


def port(goal: str) -> int:
    named = re.search(
        r"\bport\s*(?:number\s*|is\s*|=\s*|:\s*)?(\d{2,5})\b|(?:localhost|127\.0\.0\.1):(\d{2,5})\b", goal, re.I
    )
    number = int(named[1] or named[2]) if named else 8000
    return number if 0 < number < 65536 else 8000


def resource_words(goal: str) -> list[str]:
    """Plural nouns that a goal without routes seems to be about, the likeliest first."""
    found = re.findall(
        r"\b(?:manage|manages|managing|store|stores|storing|keep|keeps|track|tracks|tracking|of|for|crud\s+(?:for|on)|create)\s+"
        r"(?:an?\s+|the\s+|my\s+|your\s+)?(?:(?:small|simple|personal)\s+)?([a-z]+s)\b",
        goal.lower(),
    )
    return list(
        dict.fromkeys(word for word in found if word not in {"this", "its", "tests", "fields", "users'", "clients"})
    )


def _clean(path: str) -> str:
    path = path.rstrip("./:*") if len(path) > 1 else path
    named = _PART.sub(lambda match: "{" + next(filter(None, match.groups())).lower() + "}", path)
    return re.sub(r"\{\d+\}", "{id}", named) or "/"


def _said(text: str) -> str:
    """What stands behind a route: up to an empty line or the next item of a list, in one line."""
    part = re.split(r"\n\s*\n|\n\s*(?:[-*+]|\d+[.)])\s", text.strip("`\"' "))[0]
    return " ".join(part.strip(" -:\u2013\u2014\u2192`*").split()).rstrip(" -*,;(`")[:400]


def _query(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(re.findall(r"(\w+)=?", re.sub(r"=[^&]*", "=", text))))


def _merged(before: Mention, again: Mention) -> Mention:
    query = tuple(dict.fromkeys([*before.query, *again.query]))
    return replace(
        before, does="; ".join(filter(None, [before.does, again.does])), query=query, body=before.body or again.body
    )


def _body(text: str) -> tuple[Field, ...]:
    """Read the first `{...}` with more than an answer in it: JSON, or names with perhaps types."""
    for block in _PAIRS.findall(text):
        inside = block[1:-1].strip()
        if not inside or (re.fullmatch(r"\w+", inside) and f"/{block}" in text):
            continue
        found = _json_fields(block) or _items(inside)
        if found:
            return found
    return ()


def _json_fields(block: str) -> tuple[Field, ...]:
    try:
        value = json.loads(block)
    except ValueError:
        return ()
    types: dict[type, FieldType] = {bool: "boolean", int: "integer", float: "number", str: "text", list: "list"}
    made = []
    for name, sample in value.items():
        field = make_field(str(name))
        if field is not None and type(sample) in types:
            given = _WORD_TYPES.get(sample.lower(), "text") if isinstance(sample, str) else types[type(sample)]
            named = _type_of(field.name)
            kept = "number" if given == "integer" and named == "number" else given
            made.append(
                replace(field, type=kept, is_required=kept != "boolean", default=False if kept == "boolean" else None)
            )
    return tuple(made)


def _items(text: str) -> tuple[Field, ...]:
    """Read `title, price (number) and a done flag`."""
    pieces = re.split(r",(?![^(]*\))|\s+and\s+(?![^(]*\))|;", text)
    made: dict[str, Field] = {}
    for piece in pieces:
        match = _ITEM.match(piece.strip().replace('"', "").replace("'", ""))
        if not match or _BEHIND.match(match["name"]):
            break
        if match["name"] in _NO_FIELDS:
            continue
        field = make_field(
            match["name"], " ".join(filter(None, [match["note"], match["more"], piece[: match.start("name")]]))
        )
        if field is not None:
            made.setdefault(field.name, field)
    return tuple(made.values())


def _type_of(name: str) -> FieldType:
    last = name.rpartition("_")[2]
    if name.startswith(("is_", "has_")):
        return "boolean"
    if last == "id" or name.startswith("num_"):
        return "integer"
    return _NAMED_TYPES.get(name) or _NAMED_TYPES.get(last) or "text"


def _next_comma(text: str) -> int:
    match = re.search(r",(?![^(]*\))|\)", text)
    return match.start() if match else len(text)


def _with_default(field: Field, said: str) -> Field:
    match = re.search(r"\bdefaults?\b(?:\s*(?:to|is|value|=|:))*\s*[\"'`]?([\w.-]+)", said, re.IGNORECASE)
    if not match:
        return field
    word = match[1].rstrip(".")
    value: str | int | float | bool = word
    if field.type == "boolean":
        value = word.lower() in ("true", "1", "yes")
    elif field.type in ("integer", "number"):
        if not re.fullmatch(r"-?\d+(\.\d+)?", word):
            return field
        value = int(word) if field.type == "integer" else float(word)
    return replace(field, default=value, is_required=False)


def _with_choices(field: Field, said: str) -> Field:
    match = re.search(
        r"\bone of:?\s*([^.;)\n]+)|\bmust be (?=\S+(?:,| or ))([^.;)\n]+)|\(((?:\w+\s*[|/]\s*)+\w+)\)", said
    )
    if not match or field.choices:
        return field
    text = re.sub(r"\b(?:or|and)\b", ",", match[1] or match[2] or match[3])
    words = [word.strip(" \"'`") for word in re.split(r"[,|/]", text) if word.strip()]
    kept = tuple(word for word in words if re.fullmatch(r"[A-Za-z][\w-]{0,20}", word))
    if len(kept) < 2 or len(kept) < len(words):
        return field
    return replace(field, type="text", choices=kept)


def _with_minimum(field: Field, said: str) -> Field:
    if field.type not in ("integer", "number") or field.minimum is not None:
        return field
    near = said[:60]
    if re.search(r"\b(?:non-?negative|not (?:be )?negative|>=\s*0|at least 0|0 or more)", near, re.I):
        return replace(field, minimum=0)
    if re.search(r"\b(?:positive|greater than (?:0|zero)|above (?:0|zero)|more than (?:0|zero))\b|>\s*0\b", near, re.I):
        return replace(field, minimum=0, is_above_minimum=True)
    match = re.search(r"\b(?:at least|minimum(?: of)?|>=)\s*(\d+)", near, re.I)
    return replace(field, minimum=float(match[1])) if match else field


_ADDS = re.compile(r"\b(?:adds?|increas\w+|increments?|deposits?|restocks?|raises? the)\b", re.IGNORECASE)
_TAKES = re.compile(
    r"\b(?:takes?|subtracts?|deducts?|decreas\w+|decrements?|withdraws?|removes?|sells?|lowers?)\b", re.IGNORECASE
)
_MORE_THAN_A_SUM = re.compile(
    r"\b(?:transfer|histor\w*|record|total|average|log|both|random|generate|unless|except|only|each|every)\b|\{[^{}]*:[^{}]*\}.*\{",
    re.IGNORECASE,
)


def sum_of(route: Route, resource: Resource) -> tuple[str, str, str] | None:
    """Tell whether a route only adds what it takes to a column, or takes it away: the column, the sign, the field."""
    is_of_one = route.names[:1] == ("id",) and len(route.names) == 1 and route.method in ("POST", "PUT", "PATCH")
    numbers = [field for field in route.takes if field.type in ("integer", "number")]
    if not is_of_one or len(route.takes) != 1 or not numbers or _MORE_THAN_A_SUM.search(route.does):
        return None
    said = f"{route.does} {route.path.rpartition('/')[2]}"
    adds, takes = _ADDS.search(said), _TAKES.search(said)
    if bool(adds) == bool(takes):
        return None
    own = [field for field in resource.fields if field.type in ("integer", "number")]
    prose = _PAIRS.sub("", route.does)
    named = [field for field in own if re.search(rf"\b{re.escape(field.name)}\b", prose, re.IGNORECASE)]
    other = [field for field in named if field.name != numbers[0].name]
    same = [field for field in own if field.name == numbers[0].name]
    into = next(iter([*other, *same]), None)
    return (into.name, "+" if adds else "-", numbers[0].name) if into is not None else None


def about(routes: Iterable[Mention]) -> list[str]:
    """The first parts of the paths, in order: what the service is about."""
    parts = [mention.path.strip("/").split("/")[0] for mention in routes]
    return list(dict.fromkeys(part for part in parts if part and not part.startswith("{")))


def function_name(method: str, path: str, taken: Sequence[str]) -> str:
    """Name the function behind a custom route: `deposit_account` for `POST /accounts/{id}/deposit`."""
    parts = [part for part in path.strip("/").split("/") if part and not part.startswith("{")]
    verb = {"GET": "get", "POST": "create", "PUT": "set", "PATCH": "change", "DELETE": "remove"}[method]
    words = [re.sub(r"\W", "_", part) for part in parts]
    if len(words) > 1 and method in ("POST", "PUT", "PATCH"):
        name = "_".join([*words[1:], singular(words[0])])
    else:
        is_one = method == "POST" or path.endswith("}")
        named = [*words[:-1], singular(words[-1]) if is_one else words[-1]] if words else ["item"]
        name = "_".join([verb, *named])
    while name in taken:
        name += f"_{method.lower()}"
    return name
