from service import Service

with Service("stock.py") as call:
    assert call("GET", "/value") == {"value": 0}
    tea = call("POST", "/products", {"name": "tea", "price": 450, "count": 3}, status=201)
    assert {key: tea[key] for key in ("name", "price", "count")} == {"name": "tea", "price": 450, "count": 3}
    cup = call("POST", "/products", {"name": "cup", "price": 1250, "count": 0}, status=201)
    call("POST", "/products", {"name": "tea", "price": 1, "count": 1}, status=409)
    for wrong in ({"name": "x", "price": -1, "count": 1}, {"name": "x", "price": 1, "count": "many"}, {"price": 1, "count": 1}):
        call("POST", "/products", wrong, status=400)
    assert [product["name"] for product in call("GET", "/products")] == ["cup", "tea"]
    assert call("POST", f"/products/{tea['id']}/sell", {"count": 2})["count"] == 1
    call("POST", f"/products/{tea['id']}/sell", {"count": 2}, status=409)
    assert call("GET", f"/products/{tea['id']}")["count"] == 1
    call("POST", f"/products/{cup['id']}/restock", {"count": 5})
    call.again()
    assert call("GET", f"/products/{cup['id']}")["count"] == 5
    assert call("GET", "/value") == {"value": 450 + 5 * 1250}
    call("POST", "/products/999/sell", {"count": 1}, status=404)
    call("GET", "/products/999", status=404)
