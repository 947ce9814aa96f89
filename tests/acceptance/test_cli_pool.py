"""`treadle pool serve | watch | log` as users run them."""

from __future__ import annotations

import json
import signal
import urllib.request
from pathlib import Path

import pytest
from commandline import Commands, until

from treadle.settings import load_settings

SIMPLE = '[pools.simple]\nmodels = ["smollm2:135m"]\nslots = 2\n'


def test_a_pool_is_served_looked_at_and_ended(treadle: Commands) -> None:
    treadle.write("pool.toml", SIMPLE)
    process = treadle.start("pool", "serve", "--port", "0")
    said = until(process, "Its key: ")
    assert "The pool answers at http://127.0.0.1:" in said
    seen = treadle("pool", "watch")
    assert seen.code == 0 and "policy fair" in seen.out and "nothing waits" in seen.out
    assert treadle("pool", "log", "simple").code == 0
    url, key = said.split("answers at ")[1].split("/v1.")[0], said.split("Its key: ")[1].strip()
    asked = urllib.request.Request(f"{url}/v1/models", headers={"Authorization": f"Bearer {key}"})
    with urllib.request.urlopen(asked, timeout=20) as answer:
        assert "simple" in {model["id"] for model in json.load(answer)["data"]}
    wrong = treadle("pool", "watch", "--url", url, TREADLE_POOL_KEY="wrong")
    assert wrong.code == 4 and "does not accept the key" in wrong.err
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    gone = treadle("pool", "watch")
    assert gone.code == 5 and "hint: Start one: treadle pool serve" in gone.err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[pools.simple]\nmodels = ["smolm2:135m"]\n', "no model 'smolm2:135m'"),
        ("policy = 'fare'\n", "no policy 'fare'"),
        ("memory_gb = -1\n", "memory_gb is -1"),
        ("x =\n", "is not TOML"),
    ],
)
def test_a_wrong_set_up_is_refused_before_anything_is_served(treadle: Commands, text: str, message: str) -> None:
    treadle.write("own.toml", text)
    done = treadle("pool", "serve", "--config", "own.toml", "--port", "0")
    assert done.code == 2 and message in done.err and "hint: " in done.err and "Traceback" not in done.err


@pytest.mark.model
@pytest.mark.slow
def test_a_real_model_answers_through_the_pool(treadle: Commands) -> None:
    cache = load_settings(Path.cwd()).model.cache_dir
    if not list(cache.glob("SmolLM2-135M*.gguf")):
        pytest.skip("smollm2:135m is not here: treadle models pull smollm2:135m")
    treadle.env["TREADLE_MODELS_DIR"] = str(cache)
    treadle.write("pool.toml", SIMPLE)
    process = treadle.start("pool", "serve", "--port", "0")
    said = until(process, "Its key: ")
    url, key = said.split("answers at ")[1].split("/v1.")[0], said.split("Its key: ")[1].strip()
    body = {"model": "simple", "messages": [{"role": "user", "content": "Say hi."}], "max_tokens": 8}
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    asked = urllib.request.Request(f"{url}/v1/chat/completions", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(asked, timeout=50) as answer:
        told = json.load(answer)
    assert told["model"] == "smollm2:135m" and told["usage"]["completion_tokens"] > 0
    kinds = [json.loads(line)["kind"] for line in treadle("pool", "log", "--json").out.splitlines()]
    assert [kind for kind in kinds if kind != "hold"] == ["load", "loaded", "start", "finish"]
    assert treadle("models", "unload").code == 0
