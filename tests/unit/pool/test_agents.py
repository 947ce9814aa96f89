"""Agent pools as configuration: what is read, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from treadle.errors import UsageError
from treadle.pool.agents import OTHERS, default_config, parse_config, read_config


def test_the_shipped_set_up_has_the_four_pools() -> None:
    config = default_config()
    assert list(config.pools) == ["orchestrator", "simple", "medium", "complex"]
    assert config.memory_gb == 4.0 and config.policy == "fair"
    assert config.is_pinned("qwen2.5-coder:0.5b") and not config.is_pinned("smollm2:135m")
    assert config.slots_of("smollm2:135m") == 2 and config.slots_of("other") is None
    assert config.pool_of("smollm2:135m") == "simple" and config.pool_of("other") == OTHERS


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"polcy": "fair"}, "no key in the test 'polcy'"),
        ({"policy": "fare"}, "no policy 'fare'"),
        ({"policy": 3}, "policy is 3"),
        ({"memory_gb": 0}, "memory_gb is 0"),
        ({"memory_gb": float("nan")}, "memory_gb is nan"),
        ({"memory_gb": True}, "memory_gb is True"),
        ({"pools": []}, "pools is []"),
        ({"pools": {"simple": 1}}, "pools.simple is not a table"),
        ({"pools": {"simple": {}}}, "pools.simple: models is []"),
        ({"pools": {"simple": {"models": ["a", "a"]}}}, "without repetition"),
        ({"pools": {"simple": {"models": ["a"], "slots": 0}}}, "slots is 0"),
        ({"pools": {"simple": {"models": ["a"], "slots": True}}}, "slots is True"),
        ({"pools": {"simple": {"models": ["a"], "pinned": "yes"}}}, "pinned is 'yes'"),
        ({"pools": {"simple": {"model": ["a"]}}}, "no key in the test: pools.simple 'model'"),
    ],
)
def test_a_mistake_is_told_with_its_place(data: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as told:
        parse_config(data, "the test")
    assert message in str(told.value) and told.value.hint


def test_a_file_that_is_none_is_told(tmp_path: Path) -> None:
    for content in (None, b"x = ", b"\xff"):
        path = tmp_path / "pool.toml"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(UsageError, match=r"pool\.toml"):
            read_config(path)
