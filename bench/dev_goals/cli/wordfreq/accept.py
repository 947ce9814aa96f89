from program import Program

run = Program("wordfreq.py")
run.write("in.txt", "The cat, the dog;\nthe Cat - a dog9dog\n")
lines = lambda text: [line.split() for line in text.strip().splitlines()]
assert lines(run("in.txt"))[:2] == [["3", "dog"], ["2", "the"]], run("in.txt")
assert lines(run("in.txt", "--ignore-case")) == [["3", "dog"], ["3", "the"], ["2", "cat"], ["1", "a"]]
assert lines(run("--top", "2", "in.txt")) == [["3", "dog"], ["2", "the"]]
assert lines(run(stdin="b a b")) == [["2", "b"], ["1", "a"]]
assert lines(run("--top", "1", "--ignore-case", stdin="B b a a A")) == [["3", "a"]]
assert run(stdin="").strip() == ""
run("missing.txt", fails=True)
