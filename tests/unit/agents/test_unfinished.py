"""Which files wait to be written, and what is made of an answer about one."""

from __future__ import annotations

from treadle.agents.relevance import Failure, read_failure
from treadle.agents.unfinished import (
    Unfinished,
    find_unfinished,
    finished,
    flaw_of,
    is_unfinished,
    what_is_wanted,
)

TEST = "from robot import NORTH, Robot\n\n\ndef test_begins():\n    assert Robot().direction == NORTH\n"
STUB = "NORTH = 1\n\n\nclass Robot:\n    def __init__(self):\n        pass\n"
FAILED = "FAILED robot_test.py::test_begins - AttributeError\n"


def find(texts: dict[str, str], output: str = FAILED) -> Unfinished | None:
    return find_unfinished(read_failure(output, texts), output, texts)


def test_empty_bodies_make_a_source_unfinished() -> None:
    assert is_unfinished("def f(x):\n    pass\n")
    assert is_unfinished('def f(x):\n    """Do it."""\n    raise NotImplementedError("f")\n')
    assert is_unfinished('class A:\n    """Nothing yet."""\n')
    assert is_unfinished("# Write it here.\n")


def test_working_code_is_not_unfinished() -> None:
    assert not is_unfinished("def f(x):\n    return x\n\n\ndef g(x):\n    return x\n\n\ndef h(x):\n    pass\n")
    assert not is_unfinished('class Refused(Exception):\n    """It was refused."""\n')
    assert not is_unfinished("RATE = 20\n")
    assert not is_unfinished("def f(:\n")


def test_file_that_a_failing_test_imports_and_that_is_empty_is_to_be_written() -> None:
    found = find({"robot.py": STUB, "robot_test.py": TEST, "other.py": "def f():\n    pass\n"})
    assert found is not None
    demanded = "from robot import NORTH, Robot\n\nassert Robot().direction == NORTH"
    assert (found.path, found.needed, found.tests) == ("robot.py", ("NORTH", "Robot"), demanded)


def test_module_that_is_not_there_is_to_be_written_where_the_test_looks_for_it() -> None:
    said = "ERROR robot_test.py\nE   ModuleNotFoundError: No module named 'robot'\n"
    found = find({"robot_test.py": TEST}, said)
    assert found is not None
    assert (found.path, found.source) == ("robot.py", "")
    assert find({"robot_test.py": TEST}, "ERROR robot_test.py\n") is None


def test_finished_code_and_several_unfinished_files_are_left_to_others() -> None:
    assert find({"robot.py": STUB.replace("pass", "self.direction = 2"), "robot_test.py": TEST}) is None
    two = TEST.replace("import NORTH", "import NORTH") + "\nimport map\n"
    assert find({"robot.py": STUB, "map.py": "def f():\n    pass\n", "robot_test.py": two}) is None


def test_what_an_answer_leaves_out_stays() -> None:
    unfinished = Unfinished("robot.py", f"import math\n{STUB}", ("NORTH", "Robot"), TEST)
    answer = "class Robot:\n    def __init__(self):\n        self.direction = NORTH\n\nprint(Robot())\n"
    source = finished(unfinished, answer)
    assert "NORTH = 1" in source and "import math" in source
    assert "print" not in source and source.count("class Robot") == 1
    assert flaw_of(unfinished, source, {}) == ""


def test_answer_without_a_needed_name_is_flawed() -> None:
    unfinished = Unfinished("robot.py", "", ("Robot",), TEST)
    assert "Robot" in flaw_of(unfinished, "def robot():\n    return 1\n", {})
    assert flaw_of(unfinished, "from parts import Arm\n\n\nclass Robot(Arm):\n    pass\n", {"parts.py": ""}) == ""


def test_instructions_beside_the_code_complete_a_short_goal() -> None:
    texts = {".docs/instructions.md": "# Robot\n\nIt turns.\n", "robot.py": STUB}
    assert what_is_wanted("Implement it", texts) == "Implement it\n\n# Robot\n\nIt turns."
    assert what_is_wanted("x" * 400, texts) == "x" * 400


def test_no_failing_test_is_nothing_to_write() -> None:
    assert find_unfinished(Failure((), (), ""), "", {"robot.py": STUB}) is None


def test_methods_and_properties_become_what_the_tests_take_them_for() -> None:
    tests = "def test_it():\n    assert Robot().place == (0, 0)\n    assert Robot().name() == 'R'\n"
    answer = (
        "class Robot:\n    def place(self):\n        return (0, 0)\n\n"
        "    @property\n    def name(self):\n        return 'R'\n\n    def turn(self):\n        return self\n"
    )
    source = finished(Unfinished("robot.py", "", ("Robot",), tests), answer)
    assert "@property\n    def place(self)" in source
    assert source.count("@property") == 1
    called = answer.replace("return self\n", "return self.place()\n")
    assert "@property\n    def place" not in finished(Unfinished("robot.py", "", ("Robot",), tests), called)
