from polynomial import Polynomial as P

assert str(P(0, 0, 1)) == "x^2" and str(P(-7)) == "-7" and str(P(1, 1, 1)) == "x^2 + x + 1"
assert str(P(0, -12, 4)) == "4x^2 - 12x"
assert (P(1, 2) * P()) == P() and (P(2) * P(1, 2, 3)) == P(2, 4, 6)
assert (P(1, 2, 3) + P(0, 0, -3)).degree == 1
assert P(1, 2, 3)(0) == 1 and P(1, 2, 3)(-1) == 2 and P(0, 0.5)(3) == 1.5
assert P(0, 0, 0, 1).derivative() == P(0, 0, 3) and P().derivative() == P() and P(1, 2).degree == 1
assert not P(1) == P(2) and P(0) == P()
