from brackets import first_unbalanced as first

assert first("") == -1
assert first("no brackets") == -1
assert first("(a[b]{c})") == -1
assert first("a)b") == 1
assert first("([)]") == 2
assert first("(()") == 0
assert first("([{") == 2
assert first("{[]}()]") == 6
assert first("()(") == 2
assert first("[(])") == 2
