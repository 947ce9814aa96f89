from book_number import is_valid

assert is_valid("0-306-40615-2")
assert is_valid("080442957X")
assert is_valid("0-8044-2957-X")
for wrong in ("", "-", "X", "0-306-40615-3", "030640615", "03064061522", "X804429570", "0804429X7X", "0 306 40615 2",
              "0-306-4061A-2", "134456729", "98245726788"):
    assert not is_valid(wrong), wrong
