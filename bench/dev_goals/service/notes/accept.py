from service import Service

with Service("notes.py") as call:
    assert call("GET", "/notes") == []
    first = call("POST", "/notes", {"text": "milk"}, status=201)
    second = call("POST", "/notes", {"text": "zwölf 'quoted'"}, status=201)
    assert first["text"] == "milk" and first["id"] != second["id"]
    assert [note["text"] for note in call("GET", "/notes")] == ["milk", "zwölf 'quoted'"]
    assert call("GET", f"/notes/{second['id']}") == second
    call("POST", "/notes", {"text": ""}, status=400)
    call("POST", "/notes", {}, status=400)
    call("GET", "/notes/999", status=404)
    call.again()
    assert call("GET", f"/notes/{first['id']}") == first
    call("DELETE", f"/notes/{first['id']}", status=204)
    call("DELETE", f"/notes/{first['id']}", status=404)
    assert call("GET", "/notes") == [second]
