from program import Program

run = Program("csvsum.py")
run.write("s.csv", 'region,amount,note\nwest,10.5,a\neast,2,"b, c"\nwest,,x\neast,0.25,\n')
assert run("s.csv", "--column", "amount").strip() == "12.75"
assert run("s.csv", "--column", "amount", "--by", "region").split("\n")[:2] == ["east: 2.25", "west: 10.50"]
assert run("--by", "note", "--column", "amount", "s.csv").strip().splitlines()[-1] == "b, c: 2.00"
run.write("e.csv", "region,amount\n")
assert run("e.csv", "--column", "amount").strip() == "0.00"
assert run("s.csv", "--column", "price", fails=True).strip()
assert run("s.csv", "--column", "amount", "--by", "town", fails=True).strip()
assert run("none.csv", "--column", "amount", fails=True).strip()
