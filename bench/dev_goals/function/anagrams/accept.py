from anagrams import group_anagrams as group

assert group(["listen", "cat", "silent", "act", "dog"]) == [["listen", "silent"], ["cat", "act"]]
assert group([]) == []
assert group(["a", "b"]) == []
assert group(["Tea", "eat", "ATE"]) == [["Tea", "eat", "ATE"]]
assert group(["aab", "abb", "baa"]) == [["aab", "baa"]]
assert group(["x", "ab", "y", "ba", "x"]) == [["x", "x"], ["ab", "ba"]]
