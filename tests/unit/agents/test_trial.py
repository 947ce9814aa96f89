"""Tests run one by one, whatever the code does to the run."""

from __future__ import annotations

from pathlib import Path

import pytest

from treadle.agents.trial import RESULTS, essence, run_command, run_tests
from treadle.egress.allowed import Egress
from treadle.ports.sandbox import Limits, Sandbox
from treadle.sandboxes.choose import open_sandbox, probe


@pytest.fixture
async def sandbox(tmp_path: Path) -> Sandbox:
    return await open_sandbox(tmp_path, backend="none")


def write(sandbox: Sandbox, code: str, tests: str) -> None:
    (sandbox.workspace / "code.py").write_text("")
    (sandbox.workspace / "mod.py").write_text(code)
    (sandbox.workspace / "test_mod.py").write_text("import pytest\nimport mod\n" + tests)


async def test_each_test_is_reported_with_the_essence_of_its_failure(sandbox: Sandbox) -> None:
    write(
        sandbox,
        "def f(x):\n    return x\n",
        "def test_a():\n    assert mod.f(1) == 1\n\ndef test_b():\n    assert mod.f('helo') == 'hello'\n\n"
        "@pytest.mark.parametrize('x', [1, 2])\ndef test_c(x):\n    assert mod.f(x) == 1\n\n"
        "def test_d():\n    pytest.skip()\n",
    )
    outcome = await run_tests(sandbox, "test_mod.py", Limits(wall_seconds=30))
    assert outcome.passed == {"test_a"}
    assert set(outcome.failed) == {"test_b", "test_c"}
    assert "assert 'helo' == 'hello'" in outcome.failed["test_b"]
    assert outcome.broken == ""


async def test_folders_above_the_workspace_need_not_be_readable(tmp_path: Path) -> None:
    found = {backend.name: backend for backend in await probe()}["landlock"]
    if not found.ok:
        pytest.skip(f"no landlock here: {found.why}")
    sandbox = await open_sandbox(tmp_path, backend="landlock")
    write(sandbox, "", "def test_a():\n    assert mod\n")
    outcome = await run_tests(sandbox, "test_mod.py", Limits(wall_seconds=30))
    assert (outcome.broken, outcome.passed) == ("", {"test_a"})


async def test_module_that_does_not_import_breaks_the_whole(sandbox: Sandbox) -> None:
    write(sandbox, "raise RuntimeError('no')\n", "def test_a():\n    assert True\n")
    outcome = await run_tests(sandbox, "test_mod.py", Limits(wall_seconds=30))
    assert "RuntimeError: no" in outcome.broken
    assert not outcome.passed


async def test_process_that_ends_early_passes_nothing(sandbox: Sandbox) -> None:
    write(
        sandbox,
        "import os\n\ndef f():\n    os._exit(0)\n",
        "def test_a():\n    assert True\n\ndef test_b():\n    mod.f()\n",
    )
    outcome = await run_tests(sandbox, "test_mod.py", Limits(wall_seconds=30))
    assert not outcome.passed
    assert outcome.broken


async def test_endless_test_fails_and_the_others_still_run(sandbox: Sandbox) -> None:
    ends = "def test_{}():\n    assert True\n\n"
    write(sandbox, "", ends.format("a") + "def test_b():\n    while True:\n        pass\n\n" + ends.format("c"))
    outcome = await run_tests(sandbox, "test_mod.py", Limits(wall_seconds=4))
    assert outcome.passed == {"test_a", "test_c"}
    assert "endless" in outcome.failed["test_b"]


async def test_forged_report_is_replaced_by_the_real_one(sandbox: Sandbox) -> None:
    forged = '<testsuite><testcase classname="x" name="test_a"/></testsuite>'
    write(sandbox, f"open('{RESULTS}', 'w').write('''{forged}''')\n", "def test_a():\n    assert False\n")
    outcome = await run_tests(sandbox, "test_mod.py", Limits(wall_seconds=30))
    assert set(outcome.failed) == {"test_a"}
    assert not outcome.passed


async def test_command_tells_how_it_ended(sandbox: Sandbox) -> None:
    good = await run_command(sandbox, "echo fine && true", Limits(wall_seconds=10))
    bad = await run_command(sandbox, "echo broken >&2; exit 3", Limits(wall_seconds=10))
    slow = await run_command(sandbox, "sleep 30", Limits(wall_seconds=1))
    assert (good["ok"], good["exit_code"], good["output"]) == (True, 0, "fine")
    assert (bad["ok"], bad["exit_code"], bad["output"]) == (False, 3, "broken")
    assert not slow["ok"]
    assert "did not end within 1 seconds" in slow["output"]


def test_essence_is_the_same_in_each_run() -> None:
    said = "E   assert <a.Box object at 0x7f34ab0df890>.n == 3, at 0x12"
    assert essence(said) == "assert <a.Box object>.n == 3, at 0x12"


def test_essence_is_short() -> None:
    output = "noise\n" * 100 + "E   assert 1 == 2\nE    +  where 1 = f()\n" + "more noise\n" * 100
    assert essence(output) == "assert 1 == 2\n+  where 1 = f()"
    assert essence("Traceback:\n  File x\n====\n\nValueError: no\n") == "Traceback:\n  File x\nValueError: no"
    assert len(essence("x" * 10_000)) < 250


async def test_command_that_asks_for_a_host_that_is_not_allowed_says_so(tmp_path: Path) -> None:
    if not {found.name: found.ok for found in await probe()}["bubblewrap"]:
        pytest.skip("bubblewrap does not work here")
    listed = await open_sandbox(tmp_path, backend="bubblewrap", egress=Egress.to(["a.example"]))
    code = "import urllib.request as u; u.urlopen('http://b.example/')"
    told = await run_command(listed, f'python -c "{code}"', Limits(wall_seconds=30))
    assert told["output"].endswith("Only the user can allow more.]") and not told["ok"]
    assert [one["host"] for one in told["network"]] == ["b.example"]
