import re
from itertools import groupby


def encode(text):
    runs = [(len(list(group)), char) for char, group in groupby(text)]
    return "".join(f"{count if count > 1 else ''}{char}" for count, char in runs)


def decode(text):
    return "".join(char * int(count or 1) for count, char in re.findall(r"(\d*)(\D)", text))
