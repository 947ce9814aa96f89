from polynomial import Polynomial


def test_degree():
    assert Polynomial(1, 0, 3).degree == 2
    assert Polynomial(5, 0, 0).degree == 0
    assert Polynomial().degree == 0


def test_equality_ignores_zeros_at_the_end():
    assert Polynomial(1, 2) == Polynomial(1, 2, 0)
    assert Polynomial(1, 2) != Polynomial(2, 1)


def test_sum():
    assert Polynomial(1, 2) + Polynomial(0, 0, 4) == Polynomial(1, 2, 4)
    assert Polynomial(1, 2) + Polynomial(1, -2) == Polynomial(2)


def test_product():
    assert Polynomial(1, 1) * Polynomial(-1, 1) == Polynomial(-1, 0, 1)


def test_value():
    assert Polynomial(1, 0, 3)(2) == 13
    assert Polynomial()(9) == 0


def test_derivative():
    assert Polynomial(5, 1, 0, 2).derivative() == Polynomial(1, 0, 6)
    assert Polynomial(5).derivative() == Polynomial()


def test_text():
    assert str(Polynomial(1, -1, 3)) == "3x^2 - x + 1"
    assert str(Polynomial()) == "0"
    assert str(Polynomial(0, 1)) == "x"
    assert str(Polynomial(-2, 0, 0, -1)) == "-x^3 - 2"
