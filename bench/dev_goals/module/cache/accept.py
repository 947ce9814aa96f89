from lru import LRUCache

cache = LRUCache(2)
cache.put("a", 1)
cache.put("b", 2)
assert cache.get("a") == 1 and list(cache.keys()) == ["b", "a"]
cache.put("c", 3)
assert "b" not in cache and "a" in cache and len(cache) == 2
assert cache.get("b") is None and cache.get("b", 7) == 7
cache.put("a", 10)
assert list(cache.keys()) == ["c", "a"] and cache.get("a") == 10
assert "c" in cache and list(cache.keys()) == ["c", "a"]
cache.put("d", 4)
assert list(cache.keys()) == ["a", "d"]
one = LRUCache(1)
one.put(1, None)
one.put(2, "x")
assert len(one) == 1 and 1 not in one and one.get(2) == "x"
for wrong in (0, -1):
    try:
        LRUCache(wrong)
    except ValueError:
        continue
    raise AssertionError("a capacity below 1 was not refused")
