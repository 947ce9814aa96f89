"""Settings: where they come from, which wins, and what is said about a wrong one."""

from __future__ import annotations

from pathlib import Path

import pytest

from treadle.errors import ConfigError
from treadle.settings import Settings, find_project, load_settings


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "project" / ".treadle").mkdir(parents=True)
    return tmp_path / "project"


def load(project: Path, home: Path, flags: dict[str, object] | None = None, **env: str) -> Settings:
    return load_settings(project, flags, {"HOME": str(home), **env})


def user_file(home: Path, text: str) -> None:
    (home / ".config" / "treadle").mkdir(parents=True)
    (home / ".config" / "treadle" / "treadle.toml").write_text(text)


def test_shipped_values_need_no_file(project, home):
    settings = load(project, home)
    assert settings.model.context == 8192
    assert settings.model.threads >= 1
    assert settings.model.cache_dir == home / ".cache" / "treadle" / "models"
    assert settings.store.url == f"sqlite:///{project}/.treadle/treadle.db"
    assert settings.origins == {}


def test_each_source_outranks_the_next(project, home):
    user_file(home, "[model]\ncontext = 1001\nthreads = 1\nparallel = 1\nidle_seconds = 1\nmodel = 'user'\n")
    (project / "treadle.toml").write_text("[model]\ncontext = 1002\nthreads = 2\nparallel = 2\nidle_seconds = 2\n")
    (project / ".env").write_text(
        "# ours\nexport TREADLE_MODEL_CONTEXT=1003\nTREADLE_MODEL_THREADS='3'\n"
        "TREADLE_MODEL_PARALLEL=3 # slots\nOTHER=1\n"
    )
    env = {"TREADLE_MODEL_CONTEXT": "1004", "TREADLE_MODEL_THREADS": "4"}
    found = load(project, home, {"model.context": 1005, "model.threads": None}, **env)
    model = found.model
    assert (model.context, model.threads, model.parallel, model.idle_seconds, model.model) == (1005, 4, 3, 2.0, "user")
    assert found.origins["model.context"] == "the flag --model.context"
    assert found.origins["model.threads"] == "TREADLE_MODEL_THREADS in the environment"
    assert found.origins["model.idle_seconds"] == str(project / "treadle.toml")


def test_flags_have_short_names(project, home):
    found = load(project, home, {"model": "m", "provider": "ollama", "sandbox": "none", "budget_tokens": 5})
    assert (found.model.model, found.model.provider, found.sandbox.backend) == ("m", "ollama", "none")
    assert found.build.budget_tokens == 5


@pytest.mark.parametrize(
    ("text", "named", "hint"),
    [
        ("[modle]\n", "'modle'", "'model'"),
        ("[model]\ncontxt = 1\n", "'contxt'", "'context'"),
    ],
)
def test_unknown_key_in_a_file_offers_the_nearest(project, home, text, named, hint):
    (project / "treadle.toml").write_text(text)
    with pytest.raises(ConfigError, match=named) as told:
        load(project, home)
    assert hint in told.value.hint
    assert str(project / "treadle.toml") in str(told.value)


def test_unknown_variable_offers_the_nearest(project, home):
    with pytest.raises(ConfigError) as told:
        load(project, home, TREADLE_MODLE="x")
    assert told.value.hint == "Did you mean 'TREADLE_MODEL'?"


def test_unknown_flag_is_an_error(project, home):
    with pytest.raises(ConfigError, match="'modell'"):
        load(project, home, {"modell": "x"})


def test_variables_of_our_tests_are_no_settings(project, home):
    load(project, home, TREADLE_TEST_ANYTHING="x")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("context = 'long'", "a whole number"),
        ("context = 1.5", "a whole number"),
        ("context = true", "a whole number"),
        ("context = 1", "256 or more"),
        ("idle_seconds = 'x'", "a number"),
        ("model = 3", "text"),
        ("provider = 'olama'", "auto or embedded or ollama or openai"),
        ("cache_dir = 3", "a path"),
        ("idle_seconds = nan", "or more"),
    ],
)
def test_wrong_value_names_file_key_and_what_is_expected(project, home, line, expected):
    (project / "treadle.toml").write_text(f"[model]\n{line}\n")
    with pytest.raises(ConfigError) as told:
        load(project, home)
    for part in (str(project / "treadle.toml"), "model." + line.split()[0], expected):
        assert part in str(told.value)


def test_wrong_value_in_the_environment_names_the_variable(project, home):
    with pytest.raises(ConfigError, match="TREADLE_MODEL_THREADS in the environment"):
        load(project, home, TREADLE_MODEL_THREADS="many")


def test_file_that_is_no_toml_is_one_clear_error(project, home):
    (project / "treadle.toml").write_text("[model\n")
    with pytest.raises(ConfigError, match="is not TOML"):
        load(project, home)


def test_paths_in_a_file_are_relative_to_it_and_know_the_home(project, home):
    (project / "treadle.toml").write_text("[model]\ncache_dir = 'files'\n")
    assert load(project / ".treadle", home).model.cache_dir == project / "files"


@pytest.mark.parametrize(
    "text",
    [
        "[model]\nopenai_api_key_env = 'AWS_SECRET'\n",
        "[sandbox]\nbackend = 'none'\n",
        "[model]\nruntime_dir = '/tmp/x'\n",
    ],
)
def test_cloned_project_cannot_switch_off_the_sandbox_or_name_a_secret(project, home, text):
    (project / "treadle.toml").write_text(text)
    with pytest.raises(ConfigError, match="a project may not set"):
        load(project, home)


def test_cloned_env_file_cannot_either(project, home):
    (project / ".env").write_text("TREADLE_SANDBOX=none\n")
    with pytest.raises(ConfigError, match="a project may not set"):
        load(project, home)


def test_project_may_choose_a_stricter_sandbox_and_the_user_any(project, home):
    (project / "treadle.toml").write_text("[sandbox]\nbackend = 'landlock'\n")
    assert load(project, home).sandbox.backend == "landlock"
    assert load(project, home, TREADLE_SANDBOX="none").sandbox.backend == "none"


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("0.0.0.0", "http://127.0.0.1:11434"),
        ("gpu:8080", "http://gpu:8080"),
        ("https://gpu.example.com", "https://gpu.example.com:443"),
        ("[::1]:9", "http://[::1]:9"),
    ],
)
def test_ollama_host_is_read_as_ollama_reads_it(project, home, host, url):
    assert load(project, home, OLLAMA_HOST=host).model.ollama_url == url


def test_our_own_variable_outranks_ollama_host(project, home):
    found = load(project, home, TREADLE_OLLAMA_URL="http://a:1", OLLAMA_HOST="b:2")
    assert found.model.ollama_url == "http://a:1"


def test_key_is_read_from_the_named_variable_and_never_shown(project, home):
    found = load(project, home, TREADLE_OPENAI_API_KEY_ENV="MY_KEY", MY_KEY="sk-secret")
    assert found.model.openai_api_key == "sk-secret"
    assert "sk-secret" not in repr(found)


def test_openai_key_goes_to_openai_and_nowhere_else(project, home):
    key = {"OPENAI_API_KEY": "sk-secret"}
    assert load(project, home, TREADLE_OPENAI_BASE_URL="https://evil.example.com/v1", **key).model.openai_api_key == ""
    assert load(project, home, TREADLE_OPENAI_BASE_URL="https://api.openai.com/v1", **key).model.openai_api_key != ""


def test_xdg_folders_are_honoured_and_relative_ones_ignored(project, home, tmp_path):
    (tmp_path / "runtime").mkdir()
    env = {"XDG_CACHE_HOME": str(tmp_path / "cache"), "XDG_RUNTIME_DIR": str(tmp_path / "runtime")}
    found = load(project, home, **env).model
    assert (found.cache_dir, found.runtime_dir) == (tmp_path / "cache/treadle/models", tmp_path / "runtime/treadle")
    found = load(project, home, XDG_CACHE_HOME="cache", XDG_RUNTIME_DIR="/nonexistent/run").model
    assert found.cache_dir == home / ".cache/treadle/models"
    assert found.runtime_dir.parent == home / ".cache/treadle"


def test_project_is_the_nearest_marked_folder_upwards(project):
    (project / "a" / "b").mkdir(parents=True)
    assert find_project(project / "a" / "b") == project
    (project / "a" / "treadle.toml").write_text("")
    assert find_project(project / "a" / "b") == project / "a"


def test_project_is_else_the_git_root_else_the_folder_itself(tmp_path):
    (tmp_path / "repo" / "src").mkdir(parents=True)
    assert find_project(tmp_path / "repo" / "src") == tmp_path / "repo" / "src"
    (tmp_path / "repo" / ".git").write_text("gitdir: elsewhere")
    assert find_project(tmp_path / "repo" / "src") == tmp_path / "repo"


def test_tools_are_lists_in_files_and_commas_in_variables(project, home):
    (project / "treadle.toml").write_text('[tools]\nenabled = ["bash"]\n[tools.agents]\nwriter = ["done"]\n')
    settings = load(project, home)
    assert (settings.tools.enabled, settings.tools.agents) == (("bash",), {"writer": ("done",)})
    assert load(project, home, TREADLE_TOOLS_ENABLED="done, *").tools.enabled == ("done", "*")


@pytest.mark.parametrize("text", ['enabled = "bash"', "enabled = [1]", "agents = []", "agents = {writer = 1}"])
def test_tools_that_are_no_lists_are_refused(project, home, text):
    (project / "treadle.toml").write_text(f"[tools]\n{text}\n")
    with pytest.raises(ConfigError, match="expected a"):
        load(project, home)


def test_allowed_hosts_come_from_the_user_and_from_no_project(project, home):
    hosts = 'allow_hosts = ["pypi.org", "*.example.org:8443"]'
    (project / "treadle.toml").write_text(f"[sandbox]\n{hosts}\n")
    with pytest.raises(ConfigError, match=r"may not set sandbox\.allow_hosts to \['pypi\.org', ") as told:
        load(project, home)
    assert "the flag --allow-host, as TREADLE_SANDBOX_ALLOW_HOSTS in the environment" in told.value.hint
    (project / "treadle.toml").unlink()
    assert load(project, home).sandbox.allow_hosts == ()
    user_file(home, f"[sandbox]\n{hosts}\n")
    assert load(project, home).sandbox.allow_hosts == ("pypi.org", "*.example.org:8443")
    assert load(project, home, TREADLE_SANDBOX_ALLOW_HOSTS="a.example, b.example").sandbox.allow_hosts[1] == "b.example"


@pytest.mark.parametrize("name", ["TREADLE_SANDBOX_ALLOW_HOSTS", "TREADLE_TOOLS_ALLOW"])
def test_host_that_cannot_be_allowed_is_told_with_its_place(project, home, name):
    with pytest.raises(ConfigError, match=f"{name} in the environment: .*'10.0.0.0/8' is no host") as wrong:
        load(project, home, **{name: "pypi.org,10.0.0.0/8"})
    assert "Write a host such as" in wrong.value.hint


@pytest.mark.parametrize("text", ['allow = ["h.example"]', 'search_url = "http://127.0.0.1/{query}"'])
def test_a_project_opens_no_network_to_tools(project, home, text):
    (project / "treadle.toml").write_text(f"[tools]\n{text}\n")
    with pytest.raises(ConfigError, match="a project may not set") as told:
        load(project, home)
    assert "flag" not in told.value.hint
    (project / "treadle.toml").unlink()
    user_file(home, f"[tools]\n{text}\n")
    assert load(project, home).tools.allow or load(project, home).tools.search_url
