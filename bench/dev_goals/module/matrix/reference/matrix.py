def _shape(a):
    return len(a), len(a[0]) if a else 0


def add(a, b):
    if _shape(a) != _shape(b):
        raise ValueError("the shapes differ")
    return [[x + y for x, y in zip(row, other)] for row, other in zip(a, b)]


def multiply(a, b):
    if _shape(a)[1] != _shape(b)[0]:
        raise ValueError("the shapes do not fit")
    return [[sum(x * y for x, y in zip(row, column)) for column in zip(*b)] for row in a]


def transpose(a):
    return [list(column) for column in zip(*a)]


def determinant(a):
    if any(len(row) != len(a) for row in a):
        raise ValueError("the matrix is not square")
    if len(a) == 1:
        return a[0][0]
    minors = ([row[:i] + row[i + 1 :] for row in a[1:]] for i in range(len(a)))
    return sum((-1) ** i * a[0][i] * determinant(minor) for i, minor in enumerate(minors))


def identity(n):
    return [[int(i == j) for j in range(n)] for i in range(n)]
