"""What `servers.yaml` and `routing_config.yaml` may say, and what is said about mistakes in them."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest

from treadle.domain.inventory import Inventory
from treadle.errors import ConfigError
from treadle.models.inventory.read import Found, load_inventory, read_inventory
from treadle.settings import Variables, load_settings

EXAMPLES = Path(__file__).parents[3] / "examples"

SERVERS = """
servers:
  box:
    address: 10.0.0.5
    gpus: [2x RTX 5060 Ti 16GB]
    services:
      ollama:
        models:
          a:4b: {size_gb: 4}
          b:30b: {size_gb: 20}
"""
ROUTING = """
routing:
  tiers: {tiny: [a:4b], small: [b:30b]}
  escalation: {tiny: small}
"""


def read(folder: Path, text: str, routing: str = "", **variables: str) -> Found:
    files = [folder / "servers.yaml"]
    files[0].write_text(text)
    if routing:
        files.append(folder / "routing_config.yaml")
        files[1].write_text(routing)
    return read_inventory(tuple(files), Variables(variables))


def good(folder: Path, text: str, routing: str = "", **variables: str) -> Inventory:
    found = read(folder, text, routing, **variables)
    assert not found.problems
    return found.inventory


def test_the_described_system_is_expressed_as_a_whole():
    found = read_inventory((EXAMPLES / "servers.yaml",))
    assert not found.problems
    inventory = found.inventory
    assert set(inventory.services) == {
        "epyc_server.vllm",
        "epyc_server.ollama",
        "rtx4060_server.ollama",
        "anthropic",
    }
    vllm, cpu = inventory.services["epyc_server.vllm"], inventory.services["epyc_server.ollama"]
    assert (vllm.url, vllm.memory_gb, len(vllm.gpus)) == ("http://192.168.1.11:8000/v1", 32.0, 2)
    assert (cpu.url, cpu.gpus, cpu.memory_gb) == ("http://192.168.1.11:11434", (), 96.0)
    assert inventory.infrastructure == {"rabbitmq": "192.168.1.49:5672", "redis": "192.168.1.44:6379"}
    tiers = inventory.routing.tiers
    assert tiers["large"][0] == "gpt-oss:20b" and tiers["frontier"] == ("claude-sonnet-4",)
    contexts = {tier: {inventory.models[name].context for name in names} for tier, names in tiers.items()}
    assert contexts == {"tiny": {32768}, "small": {32768}, "large": {65536}, "frontier": {200_000}}


def test_the_laptop_of_4_gb_is_valid():
    found = read_inventory((EXAMPLES / "servers_laptop.yaml",))
    assert not found.problems
    assert found.inventory.services["laptop.embedded"].memory_gb == 3.5


def test_what_the_documentation_shows_is_valid(tmp_path):
    page = (EXAMPLES.parent / "docs" / "howto" / "models.md").read_text()
    servers, routing = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    inventory = good(tmp_path, servers, routing)
    assert inventory.services["gpu_box.ollama"].memory_gb == 16.0
    assert inventory.routing.budgets == {"money": 2.5, "tokens": 400_000, "seconds": 3600}


def test_the_address_of_a_server_is_written_once(tmp_path):
    text = (EXAMPLES / "servers.yaml").read_text()
    moved = good(tmp_path, text.replace("192.168.1.11", "epyc.local"))
    assert {s.url for s in moved.services.values() if s.name.startswith("epyc")} == {
        "http://epyc.local:8000/v1",
        "http://epyc.local:11434",
    }


def test_variables_override_addresses_and_it_is_said(tmp_path):
    text = SERVERS + ROUTING + "infrastructure: {redis: 10.0.0.9:6379, rabbitmq: {host: 10.0.0.8, port: 5672}}\n"
    found = read(tmp_path, text, BOX_HOST="10.9.9.9", REDIS_HOST="cache", RABBITMQ_PORT="tcp://10.1.1.1:5673")
    assert found.inventory.services["box.ollama"].url == "http://10.9.9.9:11434"
    assert found.inventory.infrastructure == {"redis": "cache:6379", "rabbitmq": "10.0.0.8:5673"}
    assert any("BOX_HOST in the environment" in note for note in found.notes)


def test_routing_may_lie_in_a_file_of_its_own(tmp_path):
    inventory = good(tmp_path, SERVERS, "tiers: {small: [b:30b]}\ndomains: {code-general: small}\nescalation: {}\n")
    assert inventory.routing.agents == {"code_general": "small"} and inventory.routing.escalation == {}
    assert inventory.routing.default_tier == "small"


def test_models_may_name_their_service_and_another_name(tmp_path):
    text = SERVERS + "models:\n  a@slow: {service: box.ollama, served_as: 'a:4b', context: 16k}\n" + ROUTING
    entry = good(tmp_path, text).models["a@slow"]
    assert (entry.served_as, entry.context, entry.service) == ("a:4b", 16384, "box.ollama")


def test_a_model_file_lies_beside_the_inventory(tmp_path):
    text = (
        "servers:\n  me:\n    address: localhost\n    services:\n      embedded: {models: {own: {served_as: x.gguf}}}\n"
    )
    inventory = good(tmp_path, text + "routing: {tiers: {small: [own]}, escalation: {}}\n")
    assert inventory.models["own"].served_as == str(tmp_path / "x.gguf")
    assert inventory.services["me.embedded"].kind == "llama_cpp"


@pytest.mark.parametrize(
    ("change", "line", "what", "hint"),
    [
        (("gpus:", "gpu:"), 5, "no key 'gpu'", "'gpus'"),
        (("2x RTX 5060 Ti 16GB", "RTX 5060"), 5, "is no card", "2x RTX 5060 Ti 16GB"),
        (("10.0.0.5", "10.0.0.5:80"), 3, "no host name", "Ports"),
        (("ollama:", "olama:"), 7, "no kind", "ollama"),
        (("ollama:", "x: {kind: olama}\n      ollama:"), 7, "'olama' is not known", "'ollama'"),
        (("size_gb: 20", "size_gb: 40"), 10, "can never be loaded", "smaller"),
        (("size_gb: 20", "size_gb: 0"), 10, "more is expected", "Leave it out"),
        (("size_gb: 20", "size_gb: big"), 10, "a number is expected", ""),
        (("size_gb: 20", "context: 12"), 10, "256 or more", ""),
        (("size_gb: 20", "abilities: [tool]"), 10, "'tool' is not known", "'tools'"),
        (("b:30b:", "a:4b:"), 10, "given twice, first in line 9", ""),
        (("        models:", "        requests_per_minute: 0\n        models:"), 8, "It is 0", "no limit"),
        (("        models:", "        api_key_env: sk-123\n        models:"), 8, "no name of a variable", ".env"),
        (("        models:", "        url: http://x\n        models:"), 8, "no url of its own", "providers"),
        (("        models:", "        gpus: [2]\n        models:"), 8, "2 is no card", "0 to 1"),
        (("[a:4b]", "[a:5b]"), 13, "no model 'a:5b'", "'a:4b'"),
        (("[a:4b]", "[]"), 13, "has no models", ""),
        (("tiny: [a", "huge: [a"), 13, "no tier 'huge'", ""),
        (("{tiny: small}", "{tiny: small, small: tiny}"), 14, "in a circle: tiny -> small -> tiny", ""),
        (("{tiny: small}", "{tiny: tiny}"), 14, "in a circle: tiny -> tiny", ""),
        (("{tiny: small}", "{tiny: large}"), 14, "The tier 'large' has no models", ""),
        (("{tiny: small}", "{tiny: small}\n  agents: {coder: smal}"), 15, "'smal' is not known", "'small'"),
        (("{tiny: small}", "{tiny: small}\n  complexity: {hard: small}"), 15, "'hard' is not known", ""),
        (("{tiny: small}", "{tiny: small}\n  budgets: {money: 0}"), 15, "more is expected", "no limit"),
        (("servers:", "infrastructure: {redis: {address: r, password: hunter2}}\nservers:"), 2, "password", ".env"),
        (("servers:", "models: {x: {service: box.olama}}\nservers:"), 2, "no service 'box.olama'", "'box.ollama'"),
        (("servers:", "providers: {x: {kind: openai}}\nservers:"), 2, "no url", ""),
        (("servers:", "a: [\nservers:"), 4, "no YAML", ""),
        (("servers:", "a: !!python/name:os.system x\nservers:"), 2, "not understood", ""),
    ],
)
def test_a_mistake_is_told_with_its_line_and_a_cure(tmp_path, change, line, what, hint):
    text = SERVERS + ROUTING
    assert change[0] in text
    problems = read(tmp_path, text.replace(*change, 1)).problems
    told = [problem for problem in problems if what in str(problem)]
    assert told, problems
    assert (told[0].file, told[0].line) == (str(tmp_path / "servers.yaml"), line)
    assert hint in told[0].hint
    assert "sk-123" not in str(problems) and "hunter2" not in str(problems)


def test_all_mistakes_are_told_at_once_in_order(tmp_path):
    text = (SERVERS + ROUTING).replace("gpus", "gpu").replace("[a:4b]", "[a:5b]").replace("address:", "addres:")
    lines = [problem.line for problem in read(tmp_path, text).problems]
    assert len(lines) >= 4 and lines == sorted(lines)


def test_a_key_in_the_wrong_place_is_not_repeated_in_any_error(tmp_path):
    text = SERVERS + ROUTING + "providers:\n  anthropic: {api_key: sk-ant-canary, api_key_env: AIzaCanary}\n"
    assert "anary" not in str(ConfigError.of(read(tmp_path, text).problems))


def test_aliases_that_multiply_are_stopped(tmp_path):
    levels = "\n".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]" for n in range(1, 9))
    assert "says too much" in str(read(tmp_path, f"l0: &l0 [x]\n{levels}\n").problems)
    assert "says too much" in str(read(tmp_path, "a: &a [*a]\n").problems)


@pytest.mark.parametrize("data", [b"\xff\xfe\x00", b"[1, 2]", b"text", b"\x00", b"a: b: c"])
def test_what_is_no_mapping_is_one_clear_problem(tmp_path, data):
    (tmp_path / "servers.yaml").write_bytes(data)
    problems = read_inventory((tmp_path / "servers.yaml",)).problems
    assert len(problems) == 1 and problems[0].file.endswith("servers.yaml")


TYPOS = [
    "0",
    "-1",
    "[]",
    "{}",
    "null",
    "'",
    "- a",
    ".nan",
    "[1, [2]]",
    ": ",
    "*x",
    "12:30",
    "<<:",
    "\x00",
    "[::",
    "9" * 25,
]


@pytest.mark.parametrize("seed", range(100))
def test_whatever_is_mistyped_is_a_problem_or_an_inventory_and_never_a_crash(tmp_path, seed):
    chance = random.Random(seed)
    lines = (EXAMPLES / "servers.yaml").read_text().splitlines()
    for _ in range(3):
        at = chance.randrange(len(lines))
        cut = chance.randrange(len(lines[at]) + 1)
        key = lines[at].partition(":")[0]
        changed = [lines[at][:cut] + chance.choice(TYPOS), f"{key}: {chance.choice(TYPOS)}", lines[at].strip(), ""]
        lines[at] = chance.choice(changed)
    found = read(tmp_path, "\n".join(lines))
    assert all(problem.file for problem in found.problems)
    named = {name for models in found.inventory.routing.tiers.values() for name in models}
    assert found.problems or named <= set(found.inventory.models)


@pytest.mark.parametrize(("address", "is_good"), [("::1", True), ("[::1]", True), ("1:2", False), ("a b", False)])
def test_an_address_is_a_host_or_an_ip_address(tmp_path, address, is_good):
    found = read(tmp_path, (SERVERS + ROUTING).replace("10.0.0.5", f"'{address}'"))
    assert (not found.problems) is is_good
    if is_good:
        assert found.inventory.services["box.ollama"].url == "http://[::1]:11434"


def test_files_are_found_in_the_project_or_where_the_variables_say(tmp_path):
    def load(**env: str) -> Inventory | None:
        return load_inventory(load_settings(tmp_path, {}, {"HOME": str(tmp_path), **env}))

    assert load() is None
    (tmp_path / "servers.yaml").write_text(SERVERS)
    (tmp_path / "routing_config.yaml").write_text("tiers: {small: [b:30b]}\nescalation: {}\n")
    assert load().routing.tiers == {"small": ("b:30b",)}
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "s.yaml").write_text((SERVERS + ROUTING).replace("box", "crate"))
    (tmp_path / "routing_config.yaml").unlink()
    (tmp_path / ".env").write_text("SERVERS_CONFIG_PATH=config/s.yaml\nCRATE_HOST=1.2.3.4\n")
    assert load().services["crate.ollama"].url == "http://1.2.3.4:11434"
    with pytest.raises(ConfigError, match="cannot be read"):
        load(TREADLE_SERVERS="/nowhere.yaml")


def test_several_wrong_settings_are_told_at_once(tmp_path):
    (tmp_path / "treadle.toml").write_text("[model]\ncontxt = 1\nthreads = 'x'\n\n[bild]\n")
    with pytest.raises(ConfigError) as told:
        load_settings(tmp_path, {}, {"HOME": str(tmp_path), "TREADLE_MODLE": "x"})
    assert [problem.line for problem in told.value.problems] == [2, 3, 5, 0]
