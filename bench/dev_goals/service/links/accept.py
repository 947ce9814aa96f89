from service import Service

with Service("links.py") as call:
    code = call("POST", "/links", {"url": "https://example.org/a?b=c"}, status=201)["code"]
    assert call("POST", "/links", {"url": "https://example.org/a?b=c"}, status=200)["code"] == code
    other = call("POST", "/links", {"url": "http://example.org/"}, status=201)["code"]
    assert other != code
    call("POST", "/links", {"url": "ftp://example.org"}, status=400)
    call("POST", "/links", {}, status=400)
    status, headers, _ = call.raw("GET", f"/{code}")
    assert status == 302 and headers["Location"] == "https://example.org/a?b=c"
    assert call.raw("GET", "/no-such-code")[0] == 404
    call.again()
    call.raw("GET", f"/{code}")
    assert call("GET", f"/links/{code}") == {"code": code, "url": "https://example.org/a?b=c", "hits": 2}
    assert call("GET", f"/links/{other}")["hits"] == 0
    call("GET", "/links/no-such-code", status=404)
