from spiral import spiral

assert spiral([[1, 2, 3]]) == [1, 2, 3]
assert spiral([[1], [2], [3]]) == [1, 2, 3]
assert spiral([[1, 2], [3, 4], [5, 6]]) == [1, 2, 4, 6, 5, 3]
assert spiral([[1, 2, 3], [4, 5, 6], [7, 8, 9], [10, 11, 12]]) == [1, 2, 3, 6, 9, 12, 11, 10, 7, 4, 5, 8]
rows = [["a", "b"], ["c", "d"]]
assert spiral(rows) == ["a", "b", "d", "c"] and rows == [["a", "b"], ["c", "d"]]
assert spiral([]) == []
