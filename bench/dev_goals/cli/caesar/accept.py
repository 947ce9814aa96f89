from program import Program

run = Program("caesar.py")
assert run("encode", "Xyz!").strip() == "Abc!"
assert run("decode", "Abc!").strip() == "Xyz!"
assert run("encode", "--shift", "13", "Hello, World 7").strip() == "Uryyb, Jbeyq 7"
assert run("decode", "--shift", "13", "Uryyb").strip() == "Hello"
assert run("encode", "--shift", "29", "aé").strip() == "dé"
assert run("encode", stdin="a b\nz").strip() == "d e\nc"
assert run("decode", "--shift", "1", stdin="b").strip() == "a"
run(fails=True)
run("encode", "--shift", "x", "a", fails=True)
