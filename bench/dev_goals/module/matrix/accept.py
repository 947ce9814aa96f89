from matrix import add, determinant, identity, multiply, transpose

assert add([[1, 2], [3, 4]], [[10, 20], [30, 40]]) == [[11, 22], [33, 44]]
assert multiply([[1, 2, 3], [4, 5, 6]], [[1, 2], [3, 4], [5, 6]]) == [[22, 28], [49, 64]]
assert [list(row) for row in transpose([[1, 2, 3], [4, 5, 6]])] == [[1, 4], [2, 5], [3, 6]]
assert identity(3) == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
a = [[2, 0, 1], [1, 3, 2], [1, 1, 4]]
assert determinant(a) == 18 and a == [[2, 0, 1], [1, 3, 2], [1, 1, 4]]
assert determinant([[7]]) == 7 and determinant([[1, 2], [3, 4]]) == -2
assert determinant([[1, 2, 3, 4], [5, 6, 7, 8], [2, 6, 4, 8], [3, 1, 1, 2]]) == 72
for wrong in (lambda: add([[1]], [[1, 2]]), lambda: multiply([[1, 2]], [[1, 2]]), lambda: determinant([[1, 2]])):
    try:
        wrong()
    except ValueError:
        continue
    raise AssertionError("a wrong shape was not refused")
