"""Walks through rectangles."""


def spiral(rows):
    """Return the values of a rectangle in clockwise spiral order."""
    left, found = [list(row) for row in rows], []
    while left and left[0]:
        found += left.pop(0)
        left = [list(row) for row in zip(*left)][::-1]
    return found
