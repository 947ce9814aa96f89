"""A build over several machines: hosts with networks and file systems of their own, one of which dies in the middle."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator

import pytest
from commandline import SLUG, WRONG_SLUG, Commands, until
from hosts import HostCommands, Network, network_or_skip

from treadle.testing.postgres import server_or_skip, wheel_binaries

GOAL = "slug.py with slugify(text) and tests"
CHECK = "python -c \"from slug import slugify; assert slugify('A b') == 'a-b'\""
TEST = "from slug import slugify\n\n\ndef test_it():\n    assert slugify('A b') == 'a-b'\n"
READY = "takes tasks of builds"

pytestmark = [pytest.mark.usefixtures("sandboxed"), pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def network() -> Iterator[Network]:
    pytest.importorskip("asyncpg")
    server = server_or_skip(wheel_binaries)
    network = network_or_skip(server.folder / ".s.PGSQL.5432")
    yield network
    network.end()


def by_node(events: list[dict[str, object]]) -> dict[str, set[str]]:
    """Node -> names of the hosts that finished it."""
    found: dict[str, set[str]] = {}
    for event in events:
        if event["type"] == "NodeFinished":
            payload = event["payload"]
            node = str(payload["node"]).rpartition("/")[2]  # type: ignore[index]
            found.setdefault(node, set()).add(payload["worker"].rsplit("-", 2)[0])  # type: ignore[index]
    return found


def senders(events: list[dict[str, object]]) -> set[str]:
    return {event["payload"]["host"] for event in events if event["type"] == "TreeShared"}  # type: ignore[index]


def test_a_build_is_done_by_workers_elsewhere_though_one_dies_and_its_repository_is_at_home_only(
    network: Network,
) -> None:
    home, mill, loom = (network.host(name, "over_hosts") for name in ("home", "mill", "loom"))
    assert isinstance(mill, HostCommands)
    provider = home.good_script()
    building = home.start("build", GOAL, "--out", "made", "--check", CHECK, "--elsewhere", "--provider", provider)
    assert "No worker has scripted (scripted) yet" in until(building, "run      ")
    mill.good_script()
    mill.hang_at("Check that")  # it writes the code and tests it, and never comes to write tests
    dying = mill.start("worker", "--provider", provider, "--lease", "2")
    until(building, "test: done")
    dying.send_signal(signal.SIGKILL)
    dying.communicate()
    loom.good_script()
    until(loom.start("worker", "--provider", provider, "--lease", "2"), READY)
    out, said = building.communicate(timeout=120)
    assert building.returncode == 0, said + out

    events = home.events()
    hosts = by_node(events)
    assert hosts["write"] == {"mill"} and hosts["test"] >= {"mill"}
    assert hosts["write_tests"] == hosts["prove"] == hosts["verify"] == {"loom"} and hosts["commit"] == {"home"}
    assert senders(events) == {"mill", "loom"}
    replies = [(event["activation"], event["step"]) for event in events if event["type"] == "ModelReplied"]
    assert len(replies) == len(set(replies))
    assert home.run(sys.executable, "-m", "pytest", "-q", "made").code == 0
    assert "Add slug.py" in home.run("git", "-C", "made", "log").out
    assert not mill.exists("made") and not loom.exists("made")
    assert "+def slugify" in home("debug").out  # trees that were made elsewhere, fetched to be shown


def test_a_repository_is_changed_elsewhere_and_gets_its_branch_at_home_although_the_command_there_was_killed(
    network: Network,
) -> None:
    home, mill = (network.host(name, "over_hosts_repo") for name in ("home", "mill"))
    commit_all(home, {"slug.py": WRONG_SLUG, "test_slug.py": TEST})
    provider = home.script(("Find the mistake", SLUG))
    building = home.start("build", "make the test pass", "--repo", "repo", "--elsewhere", "--provider", provider)
    until(building, "open: done")
    building.send_signal(signal.SIGKILL)
    building.communicate()
    run_id = home.latest()["run_id"]
    mill.script(("Find the mistake", SLUG))
    until(mill.start("worker", "--provider", provider, "--lease", "2"), READY)
    refused = mill("resume", run_id)
    assert refused.code == 1 and "was started in /mnt/project on home" in refused.err
    done = home("resume", run_id)
    assert done.code == 0, done.err

    events = home.events()
    hosts = by_node(events)
    assert hosts["analyse"] == hosts["fix"] == hosts["verify"] == {"mill"}
    assert hosts["open"] == hosts["commit"] == {"home"}
    base, change = [event["payload"] for event in events if event["type"] == "TreeShared"]
    assert (base["host"], change["host"], change["base"]) == ("home", "mill", base["tree"])
    assert "strip('-')\n" in home.run("git", "-C", "repo", "show", f"treadle/{run_id}:slug.py").out
    assert home.run("cat", "repo/slug.py").out == WRONG_SLUG
    assert not mill.exists("repo")


def commit_all(host: Commands, files: dict[str, str]) -> None:
    """Make a repository in the project's folder `repo`."""
    host.run("git", "init", "-q", "-b", "main", "repo")
    for name, text in files.items():
        host.write(f"repo/{name}", text)
    host.run("git", "-C", "repo", "add", "-A")
    me = ("-c", "user.name=a", "-c", "user.email=a@b")
    assert host.run("git", "-C", "repo", *me, "commit", "-qm", "x").code == 0
