"""Walks through rectangles."""


def spiral(rows):
    """Return the values of a rectangle in clockwise spiral order."""
    raise NotImplementedError
