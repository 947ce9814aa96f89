"""Tests of a service, made by rule from its routes; and what stands above all of its tests."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from treadle.agents.service.shape import Field, Resource, Route, ServiceBrief
from treadle.agents.testcases import Case, Header

_HELPERS = '''def service(tmp_path):
    """Start the service on a database of its own; returns a function that sends one request and returns (status, JSON).

    Requests go through a pair of sockets, so that no port is needed.
    """
    handler = {module}.make_handler(str(tmp_path / "test.db"))

    def call(method, path, body=None, raw=None):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            threading.Thread(target=handler, args=(theirs, ("127.0.0.1", 0), None), daemon=True).start()
            connection = http.client.HTTPConnection("127.0.0.1")
            connection.sock = ours
            data = raw if raw is not None else None if body is None else json.dumps(body)
            connection.request(method, path, data, {{"Content-Type": "application/json", "Connection": "close"}})
            response = connection.getresponse()
            text = response.read()
            location = response.getheader("Location")
            return response.status, location if location else json.loads(text) if text else None

    return call
'''
_IMPORTS = (
    "import http.client",
    "import json",
    "import socket",
    "import subprocess",
    "import sys",
    "import threading",
    "from pathlib import Path",
    "import pytest",
)
_LOOPBACK = """def test_program_serves_over_loopback(tmp_path):
    try:
        socket.create_server(("127.0.0.1", 0)).close()
    except OSError as error:
        pytest.skip(f"no sockets here: {{error}}")
    program = str(Path(__file__).with_name("{file}"))
    command = [sys.executable, program, "--port", "0", "{flag}", str(tmp_path / "test.db")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        port = int(process.stdout.readline().rpartition(":")[2])
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("GET", "/no/such/path")
        response = connection.getresponse()
        assert response.status == 404
        assert "error" in json.loads(response.read())
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
"""


_ANSWERS = "answers?|returns?|gives?|shows?|responds? with"
_ADDING = re.compile(
    r"\badd(?:s|ing)?\s+(?:the\s+|an?\s+)?(\w+)\s+to\s+(?:the\s+|its\s+)?(?:\w+'s\s+)?(\w+)", re.IGNORECASE
)
_TAKING = re.compile(
    r"\b(?:takes?|subtracts?|removes?|deducts?|withdraws?)\s+(?:the\s+|an?\s+)?(\w+)\s+(?:from|off|out of)\s+"
    r"(?:the\s+|its\s+)?(?:\w+'s\s+)?(\w+)",
    re.IGNORECASE,
)
_SAME_AGAIN = re.compile(
    r"\bthe same \w+ (?:gets?|gives?|answers?|returns?|has) the same (\w+)(?:[^.;]{0,30}?\b(20\d)\b)?", re.IGNORECASE
)
_BEGINS = re.compile(r"\b(\w+) that does not (?:begin|start) with [^.;]{0,80}?\b(4\d\d)\b", re.IGNORECASE)


def header(brief: ServiceBrief) -> Header:
    """Say what stands above the tests."""
    imports = (*_IMPORTS, f"import {brief.module}")
    return Header(f"Tests for {brief.file}.", imports, _HELPERS.format(module=brief.module))


def cases_by_rule(brief: ServiceBrief) -> list[Case]:
    """Make the tests that need no model. They hold for every service with these routes."""
    found = [*_errors(brief)]
    for resource in brief.resources:
        found += _of_resource(brief, resource)
    found += [case for route in brief.custom for case in _of_custom(brief, route)]
    name = brief.file.rpartition("/")[2]
    loopback = _LOOPBACK.format(file=name, flag=brief.database_flags[0])
    return [*found, Case("test_program_serves_over_loopback", loopback, "rule")]


def shape(brief: ServiceBrief, route: Route) -> str:
    """What the things that a route is about look like as JSON, for whoever writes a test of it."""
    resource = brief.resource(route.parent or route.resource)
    if resource is None:
        return "`value` is the JSON of the answer."
    sample = {"id": 1, **resource.sample()}
    return f"`value` is the JSON of the answer. A {resource.one} is a dict like `{sample!r}`."


def opening(brief: ServiceBrief, route: Route) -> str:
    """The beginning of a test of a custom route: what it needs is made, and the route is called."""
    name, lines = _calling(brief, route)
    return _case(f"test_{name}", lines).source.rstrip()


def _errors(brief: ServiceBrief) -> Iterator[Case]:
    lines = ['status, value = call("GET", "/no/such/path/at/all")', "assert status == 404", 'assert "error" in value']
    yield _case("test_unknown_path_is_404", lines)
    paths = {route.path for route in brief.routes if "{" not in route.path}
    for path in sorted(paths):
        taken = {route.method for route in brief.routes if _matches(route.path, path)}
        free = next((method for method in ("PATCH", "DELETE", "PUT") if method not in taken), "")
        if free:
            yield _case("test_wrong_method_is_405", [f'assert call("{free}", "{path}", {{}})[0] == 405'])
            break
    writing = next((r for r in brief.routes if r.method == "POST" and "{" not in r.path), None)
    if writing:
        yield _case("test_broken_json_is_400", [f'assert call("POST", "{writing.path}", raw="{{oops")[0] == 400'])


def _of_resource(brief: ServiceBrief, resource: Resource) -> Iterator[Case]:
    making = _making(brief, resource)
    if making is None or making.action == "custom":
        return  # what a custom route answers is not known
    one, sample = resource.one, _body(resource, making)
    make = f'status, {one} = call("{making.method}", "{_filled(making)}", {sample!r})'
    lines = [f"sent = {sample!r}", make, f"assert status == {making.status}, {one}"]
    yield _case(f"test_make_{one}", [*lines, f"assert {{name: {one}[name] for name in sent}} == sent"])
    plain = {route.action: route for route in brief.routes if route.resource == resource.name}
    yield from _refusals(resource, making)
    if "list" in plain:
        lines = [make, f'status, found = call("GET", "{plain["list"].path}")', "assert status == 200"]
        yield _case(f"test_list_{resource.table}", [*lines, f"assert found == [{one}]"])
    key = f'{one}["{_key(resource, making)}"]'
    if "show" in plain:
        path = _path(plain["show"], key)
        lines = [make, f"assert call('GET', {path}) == (200, {one})", f"again = service(tmp_path)('GET', {path})"]
        yield _case(f"test_{one}_is_kept_over_a_restart", [*lines, f"assert again == (200, {one})"])
        yield _case(f"test_unknown_{one}_is_404", [f"assert call('GET', {_path(plain['show'], '999999')})[0] == 404"])
    if "change" in plain:
        yield _changing(resource, plain["change"], make, key)
    if "remove" in plain:
        path, status = _path(plain["remove"], key), plain["remove"].status
        lines = [make, f"assert call('DELETE', {path})[0] == {status}", f"assert call('DELETE', {path})[0] == 404"]
        yield _case(f"test_delete_{one}", lines)


def _refusals(resource: Resource, making: Route) -> Iterator[Case]:
    """What must be refused when something is made: missing, of the wrong type, out of bounds, or there twice."""
    body, one = _body(resource, making), resource.one
    for field in (field for field in resource.fields if field.name in body):
        for what, wrong in _wrong(field, body):
            line = f'assert call("{making.method}", "{_filled(making)}", {wrong!r})[0] == 400'
            yield _case(f"test_{one}_{what}_{field.name}_is_400", [line])
        if field.is_unique and making.action == "create":
            again = {**resource.sample(2), field.name: body[field.name]}
            lines = [f'call("POST", "{making.path}", {body!r})']
            lines.append(f'assert call("POST", "{making.path}", {again!r})[0] == 409')
            yield _case(f"test_{one}_same_{field.name}_is_409", lines)


def _wrong(field: Field, body: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    if field.is_required:
        yield "without", {name: value for name, value in body.items() if name != field.name}
    yield "wrong", {**body, field.name: {"not": "this"}}
    if field.choices:
        yield "unknown", {**body, field.name: "none of these"}
    if field.minimum is not None:
        low = field.minimum - (0 if field.is_above_minimum else 1)
        yield "low", {**body, field.name: int(low) if field.type == "integer" else low}


def _changing(resource: Resource, route: Route, make: str, key: str) -> Case:
    one, other = resource.one, resource.sample(2)
    lines = [make, f"sent = {other!r}", f'status, changed = call("{route.method}", {_path(route, key)}, sent)']
    lines += [f"assert status == {route.status}, changed", "assert {name: changed[name] for name in sent} == sent"]
    lines.append(f'assert call("{route.method}", {_path(route, "999999")}, sent)[0] == 404')
    return _case(f"test_change_{one}", lines)


def _of_custom(brief: ServiceBrief, route: Route) -> Iterator[Case]:
    """A custom route answers, whatever it answers, and refuses what it cannot read."""
    name, lines = _calling(brief, route)
    yield _case(f"test_{name}_answers", [*lines, "assert status < 500, value"])
    yield from _of_stored(brief, route, lines)
    yield from _of_words(route, lines)
    required = [field for field in route.takes if field.is_required]
    if required and route.method not in ("GET", "DELETE"):
        sent = {field.name: field.sample() for field in route.takes}
        wrong = lines[-1].replace(f", {sent!r})", ", {})")
        is_made = ".get(" not in wrong  # else there may be nothing yet to be about
        refused = f"assert {'status == 400' if is_made else '400 <= status < 500'}, value"
        yield _case(f"test_{name}_without_{required[0].name}_is_400", [*lines[:-1], wrong, refused])


def _of_stored(brief: ServiceBrief, route: Route, lines: list[str]) -> Iterator[Case]:
    """Where a route answers the thing that it is about: it is answered as it is stored, and sums are right."""
    resource, one = brief.resource(route.resource), ""
    shown = next((r for r in brief.routes if r.action == "show" and r.resource == route.resource), None)
    if resource is None or shown is None or route.method == "GET" or not route.names or len(lines) < 2:
        return
    one = resource.one
    if not re.search(
        rf"\b(?:{_ANSWERS})\s+(?:(?:the|an?|its|updated|changed|new)\s+)*(?:{one}|it)\b", route.does, re.I
    ):
        return
    then = f"if status == {route.status}:\n        assert"  # what is refused is another matter
    stored = f"{then} call('GET', {_path(shown, f'{one}[{shown.names[0]!r}]')}) == (200, value)"
    yield _case(f"test_{route.function}_answers_what_is_stored", [*lines, stored])
    for form, sign in ((_ADDING, "+"), (_TAKING, "-")):
        match = form.search(route.does)
        taken = next((field for field in route.takes if match and field.name == match[1]), None)
        into = resource.field(match[2]) if match else None
        if taken is not None and into is not None:
            total = f"{then} value['{into.name}'] == {one}['{into.name}'] {sign} {taken.sample()!r}"
            yield _case(f"test_{route.function}_changes_{into.name}", [*lines, total])


def _of_words(route: Route, lines: list[str]) -> Iterator[Case]:
    """What a route says of being asked the same again, and of how a value must begin."""
    same = _SAME_AGAIN.search(route.does)
    if same and route.method == "POST":
        again = [
            lines[-1].replace("status, value", "status, again"),
            f"assert again.get({same[1]!r}) == value[{same[1]!r}]",
        ]
        status = [f"assert status == {same[2]}, again"] if same[2] else []
        yield _case(f"test_{route.function}_same_again", [*lines, *again, *status])
    begins = _BEGINS.search(route.does)
    field = next((one for one in route.takes if begins and one.name == begins[1].lower() and one.type == "text"), None)
    if begins and field and route.method == "POST":
        sent = {one.name: one.sample() for one in route.takes}
        wrong = lines[-1].replace(repr(sent), repr({**sent, field.name: f"x{sent[field.name]}"}))
        yield _case(
            f"test_{route.function}_{field.name}_begins_wrong", [*lines[:-1], wrong, f"assert status == {begins[2]}"]
        )


def _calling(brief: ServiceBrief, route: Route) -> tuple[str, list[str]]:
    """The lines that make what a custom route is about, and call it with what it takes."""
    named = [resource for resource in brief.resources if route.names and resource.field(route.names[0])]
    resource = brief.resource(route.parent or route.resource) or next(iter(named), None)
    making = _making(brief, resource) if resource else None
    lines, key = _some(brief) if resource is None and route.method == "GET" and not route.names else [], "1"
    if resource is not None and making is not None and making != route:
        sample = _body(resource, making)
        lines.append(f'status, {resource.one} = call("{making.method}", "{_filled(making)}", {sample!r})')
        name = _key(resource, making)
        key = f'{resource.one}["{name}"]'
        if making.action == "custom":  # it may answer anything
            name = next((part for part in route.names if resource.field(part)), name)
            key = f'{resource.one}.get("{name}", 1)'
    body = {field.name: field.sample() for field in route.takes}
    if not body and resource is not None and not route.names and route.method == "POST":
        body = resource.sample()
    sent = f", {body!r}" if route.method not in ("GET", "DELETE") else ""
    return route.function, [*lines, f'status, value = call("{route.method}", {_path(route, key)}{sent})']


def _some(brief: ServiceBrief) -> list[str]:
    """Make two of the first resource, for a route that is about all of them."""
    for resource in brief.resources:
        making = _making(brief, resource)
        if making is not None and making.action == "create" and not making.names:
            bodies = [resource.sample(number) for number in (1, 2)]
            return [f'call("POST", "{making.path}", {body!r})' for body in bodies]
    return []


def _making(brief: ServiceBrief, resource: Resource | None) -> Route | None:
    own = [route for route in brief.routes if resource is not None and route.resource == resource.name]
    made = [route for route in own if route.action in ("create", "store")]
    custom = [route for route in own if route.action == "custom" and route.method == "POST" and not route.names]
    return next(iter([*made, *custom]), None)


def _body(resource: Resource, making: Route) -> dict[str, Any]:
    """What is sent to make one; what stands in the path is not in the body."""
    if making.action == "custom" and making.takes:
        return {field.name: field.sample() for field in making.takes}
    return {name: value for name, value in resource.sample().items() if name not in making.names}


def _filled(making: Route) -> str:
    """The path that makes one, with a key in its place."""
    path = making.path
    for name in making.names:
        path = path.replace(f"{{{name}}}", "some-key")
    return path


def _key(resource: Resource, making: Route) -> str:
    return making.names[0] if making.action == "store" else "id"


def _path(route: Route, key: str) -> str:
    """The path as Python, with one key in the first place, and 1 in the others."""
    path = route.path
    for number, name in enumerate(route.names):
        path = path.replace(f"{{{name}}}", "\0" if number == 0 else "1")
    if "\0" not in path:
        return repr(path)
    own = key.replace('"', "'")
    return 'f"' + path.replace("\0", f"{{{own}}}") + '"'


def _matches(pattern: str, path: str) -> bool:
    pairs = list(zip(pattern.split("/"), path.split("/"), strict=False))
    return pattern.count("/") == path.count("/") and all(a == b or a.startswith("{") for a, b in pairs)


def _case(name: str, lines: list[str]) -> Case:
    body = "\n".join(f"    {line}" for line in ["call = service(tmp_path)", *lines])
    return Case(name.lower(), f"def {name.lower()}(tmp_path):\n{body}\n", "rule")
