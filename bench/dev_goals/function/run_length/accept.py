from run_length import decode, encode

for text in ("", "a", "aa", "ab", "aabccc", "  x  ", "Q" * 100 + "R", "aAaA", "..--.."):
    assert decode(encode(text)) == text, text
assert encode("  ab") == "2 ab"
assert encode("Q" * 100 + "R") == "100QR"
assert decode("10x2y") == "x" * 10 + "yy"
assert decode("ab2 c") == "ab  c"
