from textstats import average_length, count_sentences, count_words, most_common

assert count_words("It's 5 o'clock.") == 3
assert count_words("") == 0 and count_words("one, two -- three") == 3
assert [tuple(pair) for pair in most_common("b a b c a d", 2)] == [("a", 2), ("b", 2)]
assert [tuple(pair) for pair in most_common("The cat. the CAT, the dog", 5)] == [("the", 3), ("cat", 2), ("dog", 1)]
assert list(most_common("", 3)) == []
assert average_length("one three") == 4 and average_length("a bb bb") == 1.67 and average_length("") == 0
assert count_sentences("Really?! Yes. No") == 3 and count_sentences("") == 0
assert count_sentences("Hello.") == 1 and count_sentences("Wait... what?") == 2 and count_sentences("no end") == 1
