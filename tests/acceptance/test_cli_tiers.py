"""`treadle build` over an inventory with tiers: escalation, fallback, money and time."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from typing import Any

import pytest
from commandline import ASSERTIONS, SLUG, WRONG_SLUG, Commands, until
from models_by_rules import ChatServer, chat_server

GOAL = "slug.py with slugify(text) and tests"
CHECK = "python -c \"from slug import slugify; assert slugify('A b') == 'a-b'\""
GOOD = [("Check that", ASSERTIONS), ("It is wrong", SLUG), ("complete file `slug.py`", SLUG)]
BAD = [("Check that", ASSERTIONS), ("It is wrong", WRONG_SLUG), ("complete file `slug.py`", WRONG_SLUG)]
SERVERS = """\
servers:
  here:
    address: 127.0.0.1
    services:
      chat:
        kind: openai
        port: {port}
        models:
          weak: {{}}
          gone: {{}}
          strong: {{price: {{input_per_million: 10, output_per_million: 20}}}}
routing:
  tiers:
    tiny: [gone, weak]
    small: [strong]
  default: tiny
  escalation: {{tiny: small}}
"""

pytestmark = [pytest.mark.usefixtures("sandboxed"), pytest.mark.slow]


@pytest.fixture
def server(treadle: Commands) -> Iterator[ChatServer]:
    with chat_server({"weak": BAD, "gone": [], "strong": GOOD}) as server:
        treadle.write("servers.yaml", SERVERS.format(port=server.url.rpartition(":")[2].removesuffix("/v1")))
        yield server


def build(treadle: Commands, *options: str) -> Any:
    return treadle("build", GOAL, "--out", "made", "--check", CHECK, "--max-rounds", "1", *options)


def test_a_build_climbs_from_a_model_that_fails_and_the_log_says_why(treadle: Commands, server: ChatServer) -> None:
    done = build(treadle)
    assert done.code == 0, done.err
    assert "tiers    tiny (gone, weak), then small (strong)" in done.err
    assert "tier tiny" in done.out and "tier small" in done.out
    assert [line for line in done.out.splitlines() if line.split()[:1] == ["cost"]]
    logs = treadle("logs").out
    [said] = [line for line in logs.splitlines() if "Escalated from tier tiny to tier small" in line]
    assert "acceptance check fails" in said and "model=strong" in said
    assert "; not gone: There is no model" in logs
    debug = treadle("debug").out
    assert "Escalated from tier tiny to tier small" in debug and "did not answer" in debug
    assert "Treadle-Model: strong, weak" in treadle.run("git", "-C", "made", "log", "-1", "--format=%B").out


def test_money_is_kept_before_a_question_and_a_retry_asks_whom_the_plan_names(
    treadle: Commands, server: ChatServer
) -> None:
    done = build(treadle, "--budget-money", "0.001")
    assert done.code == 1 and "money" in done.err and "treadle retry" in done.err and "--budget-money" in done.err
    assert "strong" not in server.asked
    inventory = (treadle.folder / "servers.yaml").read_text()
    treadle.write("servers.yaml", inventory.replace("tiny: [gone, weak]", "tiny: [strong]"))
    retried = treadle("retry", "--budget-money", "1", "--json")
    assert retried.code == 0, retried.err
    report = retried.lines[-1]
    assert report["versions"][0] == {"round": 0, "tier": "tiny", "model": "weak"}
    assert report["cost"] == pytest.approx(server.asked.count("strong") * (100 * 10 + 50 * 20) / 1e6)
    assert "budget  money: 0.0" in treadle("status").out


def test_a_price_that_nobody_knows_and_a_budget_of_money_do_not_go_together(treadle: Commands) -> None:
    inventory = SERVERS.format(port=9).replace("kind: openai", "kind: openai\n        api_key_env: SOME_KEY")
    treadle.write("servers.yaml", inventory)
    done = treadle("build", GOAL, "--budget-money", "1", SOME_KEY="secret-value")
    assert done.code == 2 and "costs is not known" in done.err and "servers.yaml" in done.err
    assert "secret-value" not in done.err + done.out


def test_when_all_models_of_a_tier_are_down_each_is_named(treadle: Commands, server: ChatServer) -> None:
    server.models["weak"] = []
    done = build(treadle)
    assert done.code == 5
    assert "No model of tier 'tiny' answered" in done.err
    assert "gone: " in done.err and "weak: " in done.err
    assert "strong" not in server.asked


POOLED = """\
servers:
  here:
    address: 127.0.0.1
    services:
      router:
        kind: llama_server
        port: {port}
        memory_gb: 4
        models:
          weak: {{size_gb: 3}}
          strong: {{size_gb: 3}}
routing: {{tiers: {{tiny: [weak], small: [strong]}}, default: tiny, escalation: {{tiny: small}}}}
"""


def test_a_build_asks_the_pool_that_is_served_here_and_the_pool_swaps_its_models(treadle: Commands) -> None:
    with chat_server({"weak": BAD, "strong": GOOD}) as server:
        treadle.write("servers.yaml", POOLED.format(port=server.url.rpartition(":")[2].removesuffix("/v1")))
        pool = treadle.start("pool", "serve", "--port", "0")
        until(pool, "Its key: ")
        done = build(treadle)
        assert done.code == 0, done.err
        happened = [json.loads(line) for line in treadle("pool", "log", "--json").out.splitlines()]
        finished = [line["model"] for line in happened if line["kind"] == "finish"]
        assert len(finished) == len(server.asked) and set(finished) == {"weak", "strong"}
        assert [line["model"] for line in happened if line["kind"] == "loaded"] == ["weak", "strong"]
        assert server.loaded == {"strong"}
        pool.send_signal(signal.SIGTERM)
        assert pool.wait(30) == 0
        assert treadle("build", GOAL, "--out", "again", "--check", CHECK, "--max-rounds", "1").code == 0
