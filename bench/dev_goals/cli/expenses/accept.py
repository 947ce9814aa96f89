from program import Program

run = Program("expenses.py")
assert run("total").strip().endswith("0.00")
run("list")
run("add", "12.5", "food", "--note", "pizza night")
run("add", "3", "bus")
run("add", "7.25", "food")
shown = run("list").strip().splitlines()
assert len(shown) == 3 and "pizza night" in shown[0] and "food" in shown[0] and "12.5" in shown[0], shown
assert [line.strip().lstrip("#[(")[0] for line in shown] == ["1", "2", "3"], shown
food = run("list", "--category", "food").strip().splitlines()
assert len(food) == 2 and "bus" not in "".join(food)
assert "22.75" in run("total")
run("remove", "2")
assert "bus" not in run("list") and "19.75" in run("total")
run("remove", "9", fails=True)
run("add", "much", "food", fails=True)
assert "pizza night" in (run.folder / "expenses.json").read_text()
