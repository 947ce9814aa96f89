def first_unbalanced(text):
    pairs, open_ones = {")": "(", "]": "[", "}": "{"}, []
    for place, char in enumerate(text):
        if char in pairs.values():
            open_ones.append((char, place))
        elif char in pairs:
            if not open_ones or open_ones.pop()[0] != pairs[char]:
                return place
    return open_ones[-1][1] if open_ones else -1
