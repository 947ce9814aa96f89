class Polynomial:
    """A polynomial in x."""
