from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from image.ready import problems, wanted
from tests.unit.image.torchserve import Fake, Model, serving


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    return tmp_path / "draining"


def test_a_model_that_is_named_wants_a_worker(marker: Path) -> None:
    fake = Fake({name: Model() for name in "abcde"})
    with serving(fake) as management:
        assert problems(management, {"b", "e"}, marker) == []
        # The model is on the third page of the list.
        fake.models["e"].status = "UNLOADING"
        assert problems(management, {"b", "e"}, marker) == ["e has no READY worker"]
        fake.models["b"].pids = []
        assert problems(management, {"b", "e"}, marker) == ["b has no READY worker", "e has no READY worker"]
        del fake.models["b"]
        assert problems(management, {"b"}, marker) == ["b is not registered"]


def test_a_model_beside_it_decides_nothing(marker: Path) -> None:
    """It is declared once and loads in all pods at the same time, or never: no pod may leave the Service for it."""
    with serving(Fake({"a": Model(), "new": Model([])})) as management:
        assert problems(management, {"a"}, marker) == []
        assert problems(management, {"new"}, marker) == ["new has no READY worker"]


def test_where_none_is_named_one_is_enough(marker: Path) -> None:
    fake = Fake({"a": Model([]), "b": Model()})
    with serving(fake) as management:
        assert problems(management, set(), marker) == []
        fake.models["b"].pids = []
        assert problems(management, set(), marker) == ["no model has a READY worker"]
        fake.models["a"].status = "LOADING"
        fake.models["a"].pids = [13]
        assert problems(management, set(), marker) == ["no model has a READY worker"]


@pytest.mark.parametrize("models", [set(), {"a"}])
def test_without_a_model_or_a_server_it_is_not(marker: Path, models: set[str]) -> None:
    with serving(Fake()) as management:
        assert problems(management, models, marker) == ["no model is registered"]
    (problem,) = problems(management, models, marker)
    assert "does not answer" in problem


def archive(file: Path, model: str) -> None:
    with zipfile.ZipFile(file, "w") as opened:
        opened.writestr("MAR-INF/MANIFEST.json", f'{{"model": {{"modelName": "{model}", "modelVersion": "2.0"}}}}')


def test_models_are_named_by_what_is_registered_and_by_what_is_served(tmp_path: Path) -> None:
    archive(tmp_path / "sam_tiny-2.0.mar", "sam_tiny")
    archive(tmp_path / "sam_vit_b.mar", "sam_vit_b")
    store = {"GRAINSERVE_MODEL_STORE": str(tmp_path)}
    assert wanted(store) == wanted({**store, "GRAINSERVE_MODELS": "", "GRAINSERVE_MODEL": ""}) == set()
    assert wanted({**store, "GRAINSERVE_MODEL": "sam_vit_h"}) == {"sam_vit_h"}
    named = {**store, "GRAINSERVE_MODELS": "sam_tiny-2.0  sam_vit_b", "GRAINSERVE_MODEL": "sam_tiny"}
    assert wanted(named) == {"sam_tiny", "sam_vit_b"}
    with pytest.raises(FileNotFoundError):
        wanted({**store, "GRAINSERVE_MODELS": "sam_vit_l"})
