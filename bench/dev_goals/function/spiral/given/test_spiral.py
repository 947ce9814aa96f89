import pytest

from spiral import spiral


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([], []),
        ([[1]], [1]),
        ([[1, 2], [3, 4]], [1, 2, 4, 3]),
        ([[1, 2, 3], [4, 5, 6], [7, 8, 9]], [1, 2, 3, 6, 9, 8, 7, 4, 5]),
        ([[1, 2, 3, 4], [5, 6, 7, 8]], [1, 2, 3, 4, 8, 7, 6, 5]),
    ],
)
def test_spiral(rows, expected):
    assert spiral(rows) == expected


def test_the_rectangle_is_left_as_it_was():
    rows = [[1, 2], [3, 4]]
    spiral(rows)
    assert rows == [[1, 2], [3, 4]]
