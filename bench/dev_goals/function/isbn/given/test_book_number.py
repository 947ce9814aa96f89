from book_number import is_valid


def test_valid_with_dashes():
    assert is_valid("3-598-21508-8")


def test_valid_without_dashes():
    assert is_valid("3598215088")


def test_wrong_check_digit():
    assert not is_valid("3-598-21508-9")


def test_x_as_check_digit():
    assert is_valid("3-598-21507-X")


def test_x_elsewhere():
    assert not is_valid("3-598-2X507-9")


def test_too_short():
    assert not is_valid("359821507")


def test_too_long():
    assert not is_valid("3598215078X")


def test_letters():
    assert not is_valid("3-598-P1581-X")
