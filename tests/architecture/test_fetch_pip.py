"""The set-up's way to pip on a Python without `ensurepip`: the newest wheel that suits, and only verified bytes."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "fetch_pip.py"


@pytest.fixture(scope="module")
def fetch_pip() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fetch_pip", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def make_index(folder: Path, *links: str) -> dict[str, str]:
    """Write an index of one page, and return an environment in which pip would ask it and nothing else."""
    page = folder / "simple" / "pip" / "index.html"
    page.parent.mkdir(parents=True)
    page.write_text("<!DOCTYPE html><html><body>" + "\n".join(links) + "</body></html>", encoding="utf-8")
    return {"PIP_INDEX_URL": (folder / "simple").as_uri(), "PIP_EXTRA_INDEX_URL": " ", "HOME": str(folder)}


def link(folder: Path, name: str, content: bytes | None = None, attributes: str = "") -> str:
    """Write a file and return its link, with the digest of `content` if that is given instead of its own."""
    (folder / name).write_bytes(name.encode())
    digest = hashlib.sha256(name.encode() if content is None else content).hexdigest()
    return f'<a href="{(folder / name).as_uri()}#sha256={digest}" {attributes}>{name}</a>'


def test_the_newest_released_wheel_that_suits_this_python_is_taken(fetch_pip: ModuleType, tmp_path: Path) -> None:
    env = make_index(
        tmp_path,
        link(tmp_path, "pip-9.0.3-py2.py3-none-any.whl"),
        link(tmp_path, "pip-26.3-py3-none-any.whl", attributes='data-requires-python="&gt;=3.10"'),
        link(tmp_path, "pip-26.10-py3-none-any.whl", attributes='data-requires-python="&gt;=3.10"'),
        link(tmp_path, "pip-27.0b1-py3-none-any.whl"),
        link(tmp_path, "pip-28.0-py3-none-any.whl", attributes='data-yanked="broken"'),
        link(tmp_path, "pip-29.0-py3-none-any.whl", attributes='data-requires-python="&gt;=3.99"'),
        link(tmp_path, "pip-30.0.tar.gz"),
    )
    wheel = fetch_pip.newest(tmp_path / "out", env)
    assert wheel.name == "pip-26.10-py3-none-any.whl"
    assert wheel.read_bytes() == b"pip-26.10-py3-none-any.whl"


def test_a_wheel_with_other_bytes_than_the_index_names_is_not_kept(fetch_pip: ModuleType, tmp_path: Path) -> None:
    env = make_index(tmp_path, link(tmp_path, "pip-26.3-py3-none-any.whl", content=b"something else"))
    with pytest.raises(fetch_pip.NoPip, match=r"pip 26\.3 has not the SHA-256"):
        fetch_pip.newest(tmp_path / "out", env)
    assert not (tmp_path / "out").exists()


def test_a_wheel_without_a_digest_is_not_taken(fetch_pip: ModuleType, tmp_path: Path) -> None:
    env = make_index(tmp_path, '<a href="pip-26.3-py3-none-any.whl">pip-26.3-py3-none-any.whl</a>')
    with pytest.raises(fetch_pip.NoPip, match="no pip wheel with a SHA-256"):
        fetch_pip.newest(tmp_path / "out", env)


def test_an_error_does_not_show_the_password_of_the_index(fetch_pip: ModuleType, tmp_path: Path) -> None:
    missing = (tmp_path / "absent").as_uri().replace("file://", "file://user:secret@")
    env = {"PIP_INDEX_URL": missing, "PIP_EXTRA_INDEX_URL": " ", "HOME": str(tmp_path)}
    with pytest.raises(fetch_pip.NoPip) as caught:
        fetch_pip.newest(tmp_path / "out", env)
    assert "secret" not in str(caught.value)


def test_the_environment_wins_over_the_configuration_file(fetch_pip: ModuleType, tmp_path: Path) -> None:
    config = tmp_path / "pip.conf"
    config.write_text("[global]\nindex-url = https://one.example/simple\ncert = /a.pem\n", encoding="utf-8")
    env = {"PIP_CONFIG_FILE": str(config), "HOME": str(tmp_path)}
    assert fetch_pip.pip_settings(env)["index-url"] == "https://one.example/simple"
    settings = fetch_pip.pip_settings({**env, "PIP_INDEX_URL": "https://two.example/simple"})
    assert (settings["index-url"], settings["cert"]) == ("https://two.example/simple", "/a.pem")
