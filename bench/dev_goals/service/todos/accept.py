from service import Service

with Service("todos.py") as call:
    assert call("GET", "/todos") == []
    one, two, three = (call("POST", "/todos", {"title": title}, status=201) for title in ("one", "two", "three"))
    assert one["title"] == "one" and one["done"] is False
    assert call("PATCH", f"/todos/{two['id']}", {"done": True}) == {**two, "done": True}
    assert call("PATCH", f"/todos/{three['id']}", {"title": "drei"})["title"] == "drei"
    assert [todo["title"] for todo in call("GET", "/todos")] == ["one", "two", "drei"]
    assert [todo["title"] for todo in call("GET", "/todos?done=true")] == ["two"]
    assert [todo["title"] for todo in call("GET", "/todos?done=false")] == ["one", "drei"]
    call("POST", "/todos", {}, status=400)
    assert call.raw("POST", "/todos", "{not json")[0] == 400
    call("PATCH", "/todos/999", {"done": True}, status=404)
    call("DELETE", f"/todos/{one['id']}", status=204)
    call("DELETE", f"/todos/{one['id']}", status=404)
    call("GET", "/nothing", status=404)
    call.again()
    assert call("GET", "/todos") == [{**two, "done": True}, {**three, "title": "drei"}]
