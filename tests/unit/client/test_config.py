from __future__ import annotations

import pytest

from grainserve import config
from grainserve.errors import InvalidConfiguration
from grainserve.storage.bucket import EMULATOR, connect

WRONG = {
    "127.0.0.1:8080": "http://127.0.0.1:8080",
    "localhost": "http://localhost",
    "gpu.lab.example:8080/": "http://gpu.lab.example:8080",
    "http:/127.0.0.1": "http://127.0.0.1:8080",
    "http://": "http://127.0.0.1:8080",
    "ftp://host": "http://host",
}


@pytest.mark.parametrize("value", WRONG)
@pytest.mark.parametrize("variable", [config.TORCHSERVE, config.MANAGEMENT])
def test_a_host_without_http_is_told_as_that(variable: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(InvalidConfiguration) as error:
        config.setting(None, variable)
    said = f"{variable} is {value!r}: an address begins with http:// or https://, such as {WRONG[value]}"
    assert str(error.value) == said


def test_so_is_the_emulators(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(EMULATOR, "127.0.0.1:4443")
    with pytest.raises(InvalidConfiguration, match=r"STORAGE_EMULATOR_HOST is '127\.0\.0\.1:4443'"):
        connect()


@pytest.mark.parametrize("value", ["http://127.0.0.1:8080", "https://gpu.lab.example", "HTTP://host/", "none"])
def test_addresses_are_taken_as_they_are(value: str) -> None:
    assert config.setting(value, config.MANAGEMENT) == value


def test_variants_are_named_by_option_or_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (config.VARIANTS, config.PROMPT_MODEL):
        monkeypatch.delenv(name, raising=False)
    assert config.variants((), "sam_vit_b") == {"fast": "sam_vit_b-prompt"}
    monkeypatch.setenv(config.PROMPT_MODEL, "mine")
    assert config.variants((), "sam_vit_b") == {"fast": "mine"}
    monkeypatch.setenv(config.VARIANTS, "fast=sam_tiny-prompt, accurate=sam_vit_h-prompt,")
    assert list(config.variants((), "x").items()) == [("fast", "sam_tiny-prompt"), ("accurate", "sam_vit_h-prompt")]
    assert config.variants(["best=a.b_c-1"], "x") == {"best": "a.b_c-1"}


@pytest.mark.parametrize(
    "given", [["fast"], ["=a"], ["fast="], ["Fast=a"], ["fast=a/b"], ["fast=../a"], ["fast=a?b"], ["fast=a", "fast=b"]]
)
def test_a_variant_that_is_none_stops_the_start(given: list[str]) -> None:
    with pytest.raises(InvalidConfiguration, match="variant"):
        config.variants(given, "sam_tiny")
