"""The declaration of the versions to load."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grainserve.errors import InvalidConfiguration
from grainserve.rollout.declared import (
    NAME,
    Declarations,
    DeclaredModel,
    DeclaredVersion,
    from_yaml,
    to_yaml,
)
from grainserve.storage.bucket import Bucket

SHA = "ab" * 32
NAMES = st.from_regex(r"[a-z0-9._]{1,8}", fullmatch=True)
VERSIONS = st.dictionaries(
    NAMES,
    st.builds(
        DeclaredVersion,
        sha256=st.from_regex(r"[0-9a-f]{64}", fullmatch=True),
        loaded=st.booleans(),
        workers=st.none() | st.integers(1, 9),
    ),
    max_size=4,
)


@st.composite
def models(draw: st.DrawFn) -> DeclaredModel:
    versions = draw(VERSIONS)
    name = st.sampled_from([None, *versions])
    default = draw(st.sampled_from([None, *(name for name, each in versions.items() if each.loaded)]))
    return DeclaredModel(default, draw(name), draw(name), draw(st.none() | st.just("host (http://x)")), versions)


@settings(deadline=None)
@given(st.dictionaries(NAMES, models(), max_size=3))
def test_what_is_declared_reads_back(declaration: dict[str, DeclaredModel]) -> None:
    """This includes versions such as 1.0, 010 or 1_0, which YAML would read as numbers."""
    assert from_yaml(to_yaml(declaration), "here") == declaration


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "declares no models"),
        ("models: [", "declares no models"),
        ("models: {m: {}}", "versions"),
        ("models: {m: {versions: {1.0: {sha256: ab}}}}", "put it in quotes"),
        ("models: {m: {versions: {'1.0': {sha256: ab}}}}", "not 64 hex digits"),
        ("models: {m: {versions: {'1.0': {}}}}", "sha256"),
        ("models: {m: {surprise: 1, versions: {}}}", "surprise"),
        ("models: {m: {default: '2.0', versions: {}}}", r"does not list: \['2\.0'\]"),
        (f"models: {{m: {{default: '2.0', versions: {{'2.0': {{sha256: {SHA}, loaded: false}}}}}}}}", "is not loaded"),
    ],
)
def test_a_file_that_declares_nothing_is_told(text: str, what: str) -> None:
    with pytest.raises(InvalidConfiguration, match=what):
        from_yaml(text, "models.yaml")


def test_changes_of_many_are_all_there(bucket_name: str) -> None:
    barrier = threading.Barrier(3)

    def change(number: int) -> None:
        declarations = Declarations(Bucket(bucket_name))
        barrier.wait()
        version = DeclaredVersion(f"{number:064x}")
        declarations.change_model("m", lambda each: each.with_version(str(number), version))

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(change, range(3)))
    declarations = Declarations(Bucket(bucket_name))
    assert set(declarations.read()["m"].versions) == {"0", "1", "2"}
    declarations.change_model("m", lambda each: replace(each, default="1"))
    assert declarations.read()["m"].default == "1"
    assert Bucket(bucket_name).read(NAME) is not None
