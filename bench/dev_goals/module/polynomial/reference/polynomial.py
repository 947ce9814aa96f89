from itertools import zip_longest


class Polynomial:
    """A polynomial in x."""

    def __init__(self, *coefficients):
        kept = list(coefficients)
        while kept and kept[-1] == 0:
            kept.pop()
        self.coefficients = kept
        self.degree = max(0, len(kept) - 1)

    def __eq__(self, other):
        return self.coefficients == other.coefficients

    def __add__(self, other):
        pairs = zip_longest(self.coefficients, other.coefficients, fillvalue=0)
        return Polynomial(*(a + b for a, b in pairs))

    def __mul__(self, other):
        found = [0] * (len(self.coefficients) + len(other.coefficients))
        for i, a in enumerate(self.coefficients):
            for j, b in enumerate(other.coefficients):
                found[i + j] += a * b
        return Polynomial(*found)

    def __call__(self, x):
        return sum(c * x**power for power, c in enumerate(self.coefficients))

    def derivative(self):
        return Polynomial(*(power * c for power, c in enumerate(self.coefficients) if power))

    def __str__(self):
        text = ""
        for power, c in reversed(list(enumerate(self.coefficients))):
            if c:
                size = "" if abs(c) == 1 and power else str(abs(c))
                variable = {0: "", 1: "x"}.get(power, f"x^{power}")
                sign = (" - " if c < 0 else " + ") if text else ("-" if c < 0 else "")
                text += sign + size + variable
        return text or "0"
