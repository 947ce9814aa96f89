"""What a goal says about a service is read by rule; nothing is made up where it is silent."""

from __future__ import annotations

import json

import pytest
from tests.unit.agents.fakes import FakeContext

from treadle.agents.ask import Asker
from treadle.agents.prompt import Prompts
from treadle.agents.service.brief import make_service_brief
from treadle.agents.service.reading import fields_in, is_service, mentions
from treadle.agents.service.shape import Field, ServiceBrief, singular
from treadle.models.adapters.scripted import ScriptedModel


async def brief_of(goal: str, *answers: str) -> ServiceBrief:
    asker = Asker(FakeContext(), ScriptedModel(answers), "m")  # type: ignore[arg-type]
    return await make_service_brief(goal, asker, Prompts.load())


def said(fields: tuple[Field, ...]) -> dict[str, str]:
    return {field.name: field.type for field in fields}


@pytest.mark.parametrize(
    ("goal", "expected"),
    [
        ("Build a REST API for notes", True),
        ("GET /health returns ok", True),
        ("An HTTP server that stores scores in SQLite", True),
        ("A function that parses HTTP headers", False),
        ("A command-line client for a REST API", False),
        ("A todo app for the terminal", False),
    ],
)
def test_services_are_told_from_other_goals(goal: str, expected: bool) -> None:
    assert is_service(goal) is expected


def test_routes_are_found_however_they_are_written() -> None:
    goal = (
        "- `POST /notes` creates one\n- GET /notes/:id\n- PUT /notes/<int:note_id> and DELETE /notes/{note_id}\n"
        "GET/POST /tags, GET /notes?tag=x&limit=5. Also GET /notes/7/history."
    )
    found = [(mention.method, mention.path) for mention in mentions(goal)]
    assert found == [
        ("POST", "/notes"),
        ("GET", "/notes/{id}"),
        ("PUT", "/notes/{note_id}"),
        ("DELETE", "/notes/{note_id}"),
        ("GET", "/tags"),
        ("POST", "/tags"),
        ("GET", "/notes"),
        ("GET", "/notes/{id}/history"),
    ]
    assert next(m for m in mentions(goal) if (m.method, m.path) == ("GET", "/notes")).query == ("tag", "limit")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('with {"title": "x", "price": 3.5, "done": false}', {"title": "text", "price": "number", "done": "boolean"}),
        ('with JSON {"title": ..., "body": ...}', {"title": "text", "body": "text"}),
        ('{"name": "string", "stock": "integer"}', {"name": "text", "stock": "integer"}),
        ("{title, year, tags}", {"title": "text", "year": "integer", "tags": "list"}),
        ("with fields name, amount (number) and paid", {"name": "text", "amount": "number", "paid": "boolean"}),
        ("Each book has a title and a year, stored in books.db", {"title": "text", "year": "integer"}),
        ("returns everything", {}),
    ],
)  # fmt: skip
def test_fields_are_found_with_their_types(text: str, expected: dict[str, str]) -> None:
    assert said(fields_in(text)) == expected


async def test_what_the_goal_says_of_a_field_is_kept() -> None:
    goal = (
        "REST API for items: name (required, unique), quantity (integer, non-negative), price must be positive.\n"
        "POST /items {name, quantity, price, size, note} ; GET /items. size is one of small, large; "
        "the note is optional. quantity defaults to 1."
    )
    [items] = (await brief_of(goal)).resources
    name, quantity, price, size, note = items.fields
    assert (name.is_unique, name.is_required) == (True, True)
    assert (quantity.type, quantity.minimum, quantity.default, quantity.is_required) == ("integer", 0, 1, False)
    assert (price.minimum, price.is_above_minimum) == (0, True)
    assert size.choices == ("small", "large")
    assert (note.is_required, note.is_unique) == (False, False)


async def test_routes_are_sorted_into_plain_ones_and_those_for_a_model() -> None:
    goal = (
        "Accounts over HTTP: POST /api/accounts {owner, balance}, GET /api/accounts, GET /api/accounts/{id}, "
        "POST /api/accounts/{id}/deposit {amount} adds the amount, GET /api/accounts/richest, "
        "DELETE /api/accounts/{id} answers 200, GET /health"
    )
    brief = await brief_of(goal)
    found = {f"{route.method} {route.path}": (route.action, route.status) for route in brief.routes}
    assert found == {
        "GET /health": ("health", 200),
        "POST /api/accounts": ("create", 201),
        "GET /api/accounts": ("list", 200),
        "GET /api/accounts/richest": ("custom", 200),
        "GET /api/accounts/{id}": ("show", 200),
        "POST /api/accounts/{id}/deposit": ("custom", 200),
        "DELETE /api/accounts/{id}": ("remove", 200),
    }
    paths = [route.path for route in brief.routes]
    assert paths.index("/api/accounts/richest") < paths.index("/api/accounts/{id}")
    deposit = next(route for route in brief.routes if route.path.endswith("deposit"))
    assert (deposit.function, deposit.parameters) == ("deposit_account", ("db", "account_id", "body"))
    assert brief.assumptions == ("the code goes into accounts_service.py",)


async def test_a_key_in_the_path_stands_for_the_id() -> None:
    brief = await brief_of('A store: PUT /kv/{key} with {"value": "x"}, GET /kv/{key}, DELETE /kv/{key} over HTTP')
    assert [route.action for route in brief.routes] == ["store", "show", "remove"]
    assert [(field.name, field.is_unique) for field in brief.resources[0].fields] == [("key", True), ("value", False)]


async def test_a_model_is_asked_only_for_what_is_open_and_its_answer_is_told() -> None:
    columns = [
        {"name": "title", "type": "text", "required": True},
        {"name": "done", "type": "boolean", "required": False},
    ]
    answer = json.dumps({"tables": [{"name": "todos", "columns": columns}]})
    brief = await brief_of("Make a Flask todo web service with a database at app.py, port 9000", answer)
    assert brief.file == "app.py" and brief.port == 9000
    assert [f"{route.method} {route.path}" for route in brief.routes] == [
        "POST /todos",
        "GET /todos",
        "GET /todos/{id}",
        "PUT /todos/{id}",
        "DELETE /todos/{id}",
    ]
    assert any(line.startswith("routes:") for line in brief.assumptions)
    assert "todos have title (text), done (boolean)" in brief.assumptions
    assert "only the standard library is used, not Flask" in brief.assumptions


async def test_a_model_that_says_nothing_useful_leads_to_a_plain_service() -> None:
    brief = await brief_of("Make a web service with a database", "no", '{"tables": [{"name": "a b"}]}')
    assert [resource.name for resource in brief.resources] == ["items"]


def test_one_of_many() -> None:
    words = {"notes": "note", "categories": "category", "boxes": "box", "addresses": "address", "status": "status"}
    assert {word: singular(word) for word in words} == words


async def test_what_is_answered_beyond_what_is_sent_is_a_column_that_the_service_fills() -> None:
    goal = 'Todos over HTTP: POST /todos {"title": "..."} answers 201 with {"id", "title", "done"}; GET /todos by title'
    brief = await brief_of(goal)
    title, done = brief.resources[0].fields
    assert (title.is_required, done.is_required, done.default) == (True, False, False)
    assert brief.routes[0].order == "title" or brief.routes[1].order == "title"


async def test_things_that_belong_to_others_have_a_table_of_their_own() -> None:
    goal = (
        "HTTP service: POST /posts {title}, GET /posts/ID. POST /posts/ID/comments {text}\nstores one. "
        "GET /posts/ID/comments newest first."
    )
    brief = await brief_of(goal)
    assert [(r.name, [f.name for f in r.fields]) for r in brief.resources] == [
        ("posts", ["title"]),
        ("comments", ["post_id", "text"]),
    ]
    nested = {route.method: route for route in brief.routes if route.path == "/posts/{id}/comments"}
    assert {method: (route.action, route.parent) for method, route in nested.items()} == {
        "POST": ("create", "posts"),
        "GET": ("list", "posts"),
    }
    assert (nested["GET"].order, nested["POST"].parameters) == ("id DESC", ("db", "post_id", "body"))


@pytest.mark.parametrize(
    ("does", "expected"),
    [
        ("stores one; a missing title is 400", False),
        ("409 if the name exists already", False),
        ("a url that does not begin with https is 400", True),
        ("400 if the option is none of the poll's", True),
        ("an unknown id is 404", False),
    ],
)
async def test_what_is_refused_for_reasons_of_its_own_is_not_plain(does: str, expected: bool) -> None:
    brief = await brief_of(f"HTTP: POST /things {{name}} {does}. GET /things")
    assert (brief.routes[0].action == "custom" or brief.routes[1].action == "custom") is expected
