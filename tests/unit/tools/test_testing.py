"""Tests are run in the sandbox, whatever they are written for, and reported one by one."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.tools.conftest import Hands

from treadle.tools.reports import (
    Case,
    read_any,
    read_cargo,
    read_go,
    read_jest,
    read_junit,
    read_started,
    read_tap,
    read_unittest,
)
from treadle.tools.test_runs import RESULTS, find_runner

PYTEST = """\
import pytest

def test_good():
    assert True

class TestGroup:
    @pytest.mark.parametrize("x", [1, 2])
    def test_bad(self, x):
        assert x == 1

def test_later():
    pytest.skip("later")
"""


async def test_pytest_reports_each_case_by_the_name_that_runs_it_alone(hands: Hands) -> None:
    await hands("write_file", path="tests/test_a.py", content=PYTEST)
    result = await hands("run_tests")
    assert (result.is_error, result.exit_code, result.changed) == (True, 1, ())
    assert result.text.startswith("2 passed, 1 failed, 1 skipped (pytest)")
    assert "FAILED tests/test_a.py::TestGroup::test_bad[2]\nassert 2 == 1" in result.text
    assert (result.data["passed"], result.data["failed"]) == (2, 1)
    alone = await hands("run_tests", targets=["tests/test_a.py::TestGroup::test_bad[1]"])
    assert (alone.is_error, alone.text) == (False, "1 passed, 0 failed (pytest)")
    assert not (hands.folder / RESULTS).exists()


async def test_file_that_does_not_import_is_told(hands: Hands) -> None:
    await hands("write_file", path="test_a.py", content="import nowhere\n")
    result = await hands("run_tests")
    assert result.is_error and "No module named 'nowhere'" in result.text


async def test_no_tests_are_no_success(hands: Hands) -> None:
    result = await hands("run_tests")
    assert result.is_error and "No test could run" in result.text


async def test_test_that_never_ends_is_named_and_what_ended_before_counts(hands: Hands) -> None:
    code = "def test_a():\n    pass\n\ndef test_b():\n    while True:\n        pass\n"
    await hands("write_file", path="test_a.py", content=code)
    result = await hands("run_tests", seconds=6)
    assert result.is_error and "1 passed, 1 failed" in result.text and "endless loop" in result.text


async def test_plugins_are_loaded_where_tests_need_them(hands: Hands) -> None:
    code = "import pytest\n\n@pytest.mark.asyncio\nasync def test_a():\n    pass\n"
    await hands("write_file", path="test_a.py", content=code)
    assert (await hands("run_tests")).text == "1 passed, 0 failed (pytest)"


async def test_targets_that_were_made_up_are_told_with_what_to_do(hands: Hands) -> None:
    await hands("write_file", path="test_a.py", content="def test_a():\n    pass\n")
    for target in ("test1", "tests/test_b.py::test_c"):
        result = await hands("run_tests", targets=[target])
        assert result.is_error and "Leave out `targets`" in result.text
    assert not (await hands("run_tests", targets=["test_a.py::test_a"])).is_error


async def test_target_that_would_be_an_option_is_refused(hands: Hands) -> None:
    result = await hands("run_tests", targets=["--junit-xml=/tmp/x"])
    assert result.is_error and "begins with a dash" in result.text


async def test_report_that_the_code_replaced_by_a_link_is_not_followed(hands: Hands) -> None:
    (hands.folder.parent / "host.xml").write_text('<testsuite><testcase classname="a" name="test_x"/></testsuite>')
    code = (
        f"import atexit, os\natexit.register(lambda: (os.unlink('{RESULTS}'), os.symlink('../host.xml', '{RESULTS}')))"
    )
    await hands("write_file", path="test_a.py", content=f"{code}\ndef test_a():\n    pass\n")
    result = await hands("run_tests")
    assert result.is_error and "test_x" not in result.text


async def test_unittest_is_run_and_read(hands: Hands) -> None:
    code = "import unittest\n\nclass T(unittest.TestCase):\n    def test_a(self):\n        pass\n\n"
    code += '    def test_b(self):\n        """Words."""\n        self.assertEqual(1, 2)\n\n    @unittest.skip("x")\n'
    await hands("write_file", path="test_u.py", content=code + "    def test_c(self):\n        pass\n")
    result = await hands("run_tests", runner="unittest")
    assert result.text.startswith("1 passed, 1 failed, 1 skipped (unittest)")
    assert "FAILED test_u.T.test_b" in result.text and "AssertionError: 1 != 2" in result.text


async def test_node_is_found_by_its_file_run_and_read(hands: Hands) -> None:
    if (await hands("bash", command="node --test --help >/dev/null && node --version")).exit_code != 0:
        pytest.skip("no node in the sandbox here")
    code = "const test = require('node:test');\ntest('adds', () => {});\n"
    code += "test('fails', () => { throw new Error('no'); });\n"
    await hands("write_file", path="package.json", content="{}")
    await hands("write_file", path="a.test.js", content=code)
    result = await hands("run_tests")
    assert result.text.startswith("1 passed, 1 failed (node)") and "FAILED fails\nno" in result.text


CARGO = """\
running 4 tests
test tests::adds ... ok
test tests::later ... ignored
test tests::fails ... FAILED
test tests::panics - should panic ... ok

failures:

---- tests::fails stdout ----

thread 'tests::fails' (7) panicked at src/lib.rs:4:26:
assertion `left == right` failed
  left: 2
 right: 3


failures:
    tests::fails

test result: FAILED. 2 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.17s
"""


def test_what_cargo_prints_is_read() -> None:
    cases = read_cargo(CARGO)
    assert [(case.name, case.state) for case in cases] == [
        ("tests::adds", "passed"),
        ("tests::later", "skipped"),
        ("tests::fails", "failed"),
        ("tests::panics", "passed"),
    ]
    assert "left: 2" in cases[2].told and cases[2].function == "fails"


def test_lines_of_go_are_read() -> None:
    lines = [
        '{"Action":"run","Package":"shop","Test":"TestAdd"}',
        '{"Action":"output","Package":"shop","Test":"TestAdd","Output":"    a_test.go:9: got 2, want 3\\n"}',
        '{"Action":"fail","Package":"shop","Test":"TestAdd","Elapsed":0.5}',
        '{"Action":"pass","Package":"shop","Test":"TestSub","Elapsed":0}',
        '{"Action":"fail","Package":"shop","Elapsed":0.6}',
        "no JSON",
    ]
    assert read_go("\n".join(lines)) == [
        Case("shop.TestAdd", "failed", 0.5, "    a_test.go:9: got 2, want 3", "TestAdd"),
        Case("shop.TestSub", "passed", 0.0, "", "TestSub"),
    ]


JEST = {
    "testResults": [
        {
            "name": "/workspace/sum.test.js",
            "assertionResults": [
                {"fullName": "sum adds", "status": "passed", "duration": 26},
                {
                    "fullName": "sum fails",
                    "status": "failed",
                    "failureMessages": [
                        "Error: expect(received).toBe(expected)\n\nExpected: 2\n    at Object.toBe (a.js:1:1)"
                    ],
                },
                {"fullName": "sum later", "status": "pending"},
            ],
        },
        {
            "name": "/workspace/bad.test.js",
            "status": "failed",
            "message": "no './x'\n  at b.js",
            "assertionResults": [],
        },
    ]
}
TAP = """\
TAP version 13
# Subtest: outer
    ok 1 - in a
      ---
      duration_ms: 0.79158
      ...
    not ok 2 - in b
      ---
      location: 't.mjs:2:70'
      error: '1 == 2'
      stack: |-
        Test.run (node:internal)
      ...
    1..2
not ok 1 - outer
  ---
  error: '1 subtest failed'
  ...
ok 2 - later # SKIP not yet
not ok 3 some day # TODO
not ok 4 - plain
# got 1
ok
1..5
"""
PRINTED = {
    "jest": "npm said\n" + json.dumps(JEST),
    "tap": TAP,
    "go": '{"Action":"pass","Package":"shop","Test":"TestSub"}',
    "junit": '<?xml version="1.0"?><testsuite><testcase classname="C" name="a"/></testsuite>',
    "cargo": CARGO,
    "unittest": "test_a (m.T.test_a) ... ok\n\nRan 1 test in 0.1s\n\nOK\n",
}


def test_json_of_jest_is_read() -> None:
    cases = read_jest(PRINTED["jest"])
    assert [(case.name, case.state) for case in cases] == [
        ("/workspace/sum.test.js > sum adds", "passed"),
        ("/workspace/sum.test.js > sum fails", "failed"),
        ("/workspace/sum.test.js > sum later", "skipped"),
        ("/workspace/bad.test.js", "error"),
    ]
    assert cases[1].told == "Error: expect(received).toBe(expected)\nExpected: 2" and cases[3].told == "no './x'"


def test_innermost_tests_of_tap_are_read() -> None:
    assert [(case.name, case.state, case.told) for case in read_tap(TAP)] == [
        ("outer > in a", "passed", ""),
        ("outer > in b", "failed", "error: '1 == 2'"),
        ("later", "skipped", ""),
        ("some day", "skipped", ""),
        ("plain", "failed", "got 1"),
        ("", "passed", ""),
    ]


@pytest.mark.parametrize(
    ("form", "count"), [("jest", 4), ("tap", 6), ("go", 1), ("junit", 1), ("cargo", 4), ("unittest", 1)]
)
async def test_what_a_command_prints_is_read_whatever_its_form(hands: Hands, form: str, count: int) -> None:
    assert len(read_any(PRINTED[form])) == count
    await hands("write_file", path="report", content=PRINTED[form])
    result = await hands("run_tests", command="cat report; exit 1")
    assert result.is_error and len(result.data["cases"]) == count and "(other)" in result.text
    assert "/workspace" not in result.text


async def test_command_without_a_report_is_no_success(hands: Hands) -> None:
    result = await hands("run_tests", command="echo all is well")
    assert result.is_error and "No test could run:\nall is well" in result.text


@pytest.mark.parametrize(
    ("package", "runner"),
    [
        ('{"devDependencies": {"jest": "1"}}', "jest"),
        ('{"dependencies": {"vitest": "1"}}', "vitest"),
        ("[1]", "node"),
        ("{", "node"),
    ],
)
async def test_runner_is_found_in_what_a_package_needs(hands: Hands, package: str, runner: str) -> None:
    await hands("write_file", path="package.json", content=package)
    assert await find_runner(hands.context.sandbox.files) == runner


def test_started_tests_are_read_with_their_parameters() -> None:
    text = "t.py::test_a[x y] PASSED  [ 50%]\nt.py::T::test_b FAILED\nt.py::test_c "
    ended = [("t.py::test_a[x y]", "passed"), ("t.py::T::test_b", "failed")]
    assert list(read_started(text)) == [*ended, ("t.py::test_c", None)]


@given(st.text(max_size=300) | st.text(alphabet='<>/= "abtestcasename:.-()\n', max_size=300))
def test_reading_any_output_never_fails_and_invents_nothing(text: str) -> None:
    for read in (read_cargo, read_go, read_unittest):
        assert all(case.name in text for case in read(text))
    assert all(case.function in text for case in read_tap(text))
    assert isinstance(read_any(text), list)
    try:
        read_junit(text)
    except ValueError:
        pass
