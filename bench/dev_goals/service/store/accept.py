from service import Service

with Service("kv.py") as call:
    assert call("GET", "/keys") == []
    assert call.raw("PUT", "/keys/apple", b"red")[0] == 201
    assert call.raw("PUT", "/keys/apple", b"green")[0] == 204
    assert call.raw("PUT", "/keys/app", bytes(range(256)))[0] == 201
    assert call.raw("PUT", "/keys/a%20b%C3%BC", b"space")[0] == 201
    assert call.raw("PUT", "/keys/pear", b"")[0] == 201
    assert call.raw("GET", "/keys/apple")[::2] == (200, b"green")
    assert call.raw("GET", "/keys/app")[2] == bytes(range(256))
    assert call.raw("GET", "/keys/pear")[::2] == (200, b"")
    assert call.raw("GET", "/keys/none")[0] == 404
    assert call("GET", "/keys") == ["a bü", "app", "apple", "pear"]
    assert call("GET", "/keys?prefix=app") == ["app", "apple"]
    call.again()
    assert call.raw("GET", "/keys/a%20b%C3%BC")[2] == b"space"
    assert call.raw("DELETE", "/keys/apple")[0] == 204 and call.raw("DELETE", "/keys/apple")[0] == 404
    assert call.raw("GET", "/keys/apple")[0] == 404
