from service import Service

with Service("polls.py") as call:
    tea = call("POST", "/polls", {"question": "Tea?", "options": ["yes", "no", "later"]}, status=201)["id"]
    cake = call("POST", "/polls", {"question": "Cake?", "options": ["yes", "no"]}, status=201)["id"]
    assert tea != cake
    for options in ([], ["yes"], ["yes", "yes"]):
        call("POST", "/polls", {"question": "?", "options": options}, status=400)
    for option in ("yes", "later", "yes"):
        call("POST", f"/polls/{tea}/votes", {"option": option}, status=204)
    call("POST", f"/polls/{cake}/votes", {"option": "later"}, status=400)
    call("POST", "/polls/999/votes", {"option": "yes"}, status=404)
    call("GET", "/polls/999", status=404)
    call.again()
    found = call("GET", f"/polls/{tea}")
    assert found["votes"] == {"yes": 2, "no": 0, "later": 1} and found["question"] == "Tea?" and found["id"] == tea
    assert call("GET", f"/polls/{cake}")["votes"] == {"yes": 0, "no": 0}
    assert [poll["question"] for poll in call("GET", "/polls")] == ["Tea?", "Cake?"]
