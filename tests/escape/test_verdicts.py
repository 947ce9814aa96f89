"""Whether code under test can make a test that fails count as passed. What it can has a row, and is shown to be so.

Code and test share a process, so code that sets out to deceive the test will. A test that must not be deceived looks
from outside: a user's `--check`, or a test that starts the program anew.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from treadle.agents.trial import run_tests as build_runs_tests
from treadle.ports.sandbox import Limits, Sandbox
from treadle.sandboxes.choose import open_sandbox
from treadle.tools.test_runs import RESULTS, run_tests

LIMITS = Limits(wall_seconds=30.0)
TEST = "from code_ import answer\n\ndef test_answer():\n    assert answer() == 42\n"
WRONG = "def answer():\n    return 41\n"
REPORT = (
    '<testsuites><testsuite name="pytest" tests="1">'
    '<testcase classname="test_it" name="test_answer" file="test_it.py"/></testsuite></testsuites>'
)
FORGE = f"open({RESULTS!r}, 'w').write({REPORT!r})\n"

HELD = {
    "end_at_once": {"code_.py": "import os\nos._exit(0)\n"},
    "end_politely": {"code_.py": "raise SystemExit(0)\n"},
    "end_in_the_test": {"code_.py": "import os\ndef answer():\n    os._exit(0)\n"},
    "print_success": {"code_.py": "import os\nprint('test_it.py::test_answer PASSED\\n1 passed')\nos._exit(0)\n"},
    "leave_a_report_before": {"code_.py": WRONG, RESULTS: REPORT},
    "write_a_report_first": {"code_.py": FORGE + WRONG},
    "write_half_a_report": {"code_.py": f"import os\nopen({RESULTS!r}, 'w').write({REPORT[:50]!r})\nos._exit(0)\n"},
    "report_as_a_link": {"code_.py": f"import os\nos.symlink('/etc/passwd', {RESULTS!r})\nos._exit(0)\n"},
    "report_as_a_pipe": {"code_.py": f"import os\nos.mkfifo({RESULTS!r})\nos._exit(0)\n"},
    "report_as_a_folder": {"code_.py": f"import os\nos.mkdir({RESULTS!r})\nos._exit(0)\n"},
    "settings_that_collect_only": {"code_.py": WRONG, "pytest.ini": "[pytest]\naddopts = --collect-only\n"},
    "settings_that_choose_none": {"code_.py": WRONG, "pyproject.toml": "[tool.pytest.ini_options]\naddopts='-k no'\n"},
    "settings_that_report_elsewhere": {"code_.py": WRONG, "tox.ini": "[pytest]\naddopts = --junit-xml=other.xml\n"},
    "start_up_modules": {"code_.py": WRONG, "sitecustomize.py": FORGE + "import os\nos._exit(0)\n"},
    "user_modules": {"code_.py": WRONG, "usercustomize.py": FORGE + "import os\nos._exit(0)\n"},
    "path_files": {"code_.py": WRONG, "evil.pth": "import os; os._exit(0)\n"},
    "a_program_called_python": {
        "code_.py": WRONG,
        "python": "#!/bin/sh\nexit 0\n",
        "bin/python": "#!/bin/sh\nexit 0\n",
    },
}
NOT_HELD = {
    "forge_a_report_and_end": ({"code_.py": FORGE + "import os\nos._exit(0)\n"}, "one process writes the report"),
    "equal_to_anything": (
        {"code_.py": "class A:\n    def __eq__(self, other): return True\ndef answer():\n    return A()\n"},
        "the test believes what the code says of itself",
    ),
    "rewrite_results": (
        {
            "code_.py": WRONG,
            "conftest.py": "import pytest\n@pytest.hookimpl(hookwrapper=True)\n"
            "def pytest_runtest_makereport(item, call):\n    call.excinfo = None\n"
            "    outcome = yield\n    outcome.get_result().outcome = 'passed'\n",
        },
        "conftest.py is a part of the tests",
    ),
    "a_module_called_pytest": ({"code_.py": WRONG, "pytest.py": FORGE}, "`python -m` looks in the workspace first"),
}
ALL = {**HELD, **{name: files for name, (files, _) in NOT_HELD.items()}}


@pytest.fixture
async def sandbox(tmp_path: Path) -> AsyncIterator[Sandbox]:
    opened = await open_sandbox(tmp_path, limits=LIMITS)
    yield opened
    await opened.close()


@pytest.mark.parametrize("name", ALL)
async def test_code_deceives_the_test(name: str, sandbox: Sandbox) -> None:
    for path, text in {"test_it.py": TEST, **ALL[name]}.items():
        place = sandbox.workspace / path
        place.parent.mkdir(exist_ok=True)
        place.write_text(text)
        place.chmod(0o755)
    tool = await run_tests(sandbox, "pytest", [], LIMITS)
    assert tool.is_passed is (name in NOT_HELD), tool
    for path in (RESULTS, "other.xml"):
        assert not (sandbox.workspace / path).exists() or name in (
            "report_as_a_folder",
            "settings_that_report_elsewhere",
        )
    build = await build_runs_tests(sandbox, "test_it.py", LIMITS)
    assert ("test_answer" in build.passed) is (name in NOT_HELD), build
