import re


def is_valid(number):
    plain = number.replace("-", "")
    if not re.fullmatch(r"[0-9]{9}[0-9X]", plain):
        return False
    digits = [10 if char == "X" else int(char) for char in plain]
    return sum(digit * (10 - place) for place, digit in enumerate(digits)) % 11 == 0
