"""Outlined images: in sets that say so, pixels without outlines are unknown; no specimen is on both sides."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tools.mar import ROOT
from tools.problem import Problem
from training import real
from training.crops import UNKNOWN

SHARED = ROOT.parent / "shared" / "data" / "real"

SPECIMEN = {
    "ampis_powder": r"Sc\d+Tile",
    "nasa_superalloy": r"alloy\d+_spot\d+",
    "tbm_metal": r"\d+-",
}
"""Pattern of the specimen at the start of a name, for sets with several images of one; see the folder's README.md."""


def put(folder: Path, name: str, complete: bool) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    labels = np.zeros((40, 50), np.uint16)
    labels[5:20, 5:25] = 9
    Image.fromarray(np.full((40, 50, 3), 90, np.uint8)).save(folder / f"{name}.jpg")
    Image.fromarray(labels).save(folder / f"{name}_labels.png")
    about = {"image": f"{name}.jpg", "labels": f"{name}_labels.png", "complete": complete}
    (folder / f"{name}.json").write_text(json.dumps(about))


def test_what_is_not_outlined_is_unknown_in_a_partial_set_alone(tmp_path: Path) -> None:
    put(tmp_path / "whole", "a", True)
    put(tmp_path / "partly", "b", False)
    partly, whole = real.read(tmp_path)
    assert set(np.unique(whole.labels)) == {0, 9}
    assert set(np.unique(partly.labels)) == {UNKNOWN, 9}
    assert ((whole.labels == 9) == (partly.labels == 9)).all()
    assert {each.labels.dtype.name for each in (whole, partly)} == {"int32"}


def test_a_set_weighs_the_same_however_many_images_it_has(tmp_path: Path) -> None:
    for number in range(9):
        put(tmp_path / "many", str(number), True)
    put(tmp_path / "one", "a", False)
    draw, rng = real.Draw(real.read(tmp_path)), np.random.default_rng(0)
    partial = [bool((draw(rng)[1] == UNKNOWN).any()) for _ in range(300)]
    assert 0.4 < np.mean(partial) < 0.6


def test_a_folder_without_sets_is_named(tmp_path: Path) -> None:
    with pytest.raises(Problem, match="has no outlined images"):
        real.read(tmp_path)


@pytest.fixture(scope="module")
def names() -> dict[str, list[str]]:
    """Returns names of the shared images by set, since reading 325 images takes minutes."""
    if not SHARED.is_dir():
        pytest.skip(f"{SHARED} is not there")
    found: dict[str, list[str]] = {}
    for about in sorted(SHARED.glob("*/*.json")):
        found.setdefault(about.parent.name, []).append(about.stem)
    return found


def apart(collection: str, name: str) -> bool:
    nothing = np.zeros((1, 1, 3), np.uint8)
    return real.kept_apart(real.Outlined(name, collection, nothing, nothing[..., 0].astype(np.int32), True))


def test_no_specimen_is_on_both_sides(names: dict[str, list[str]]) -> None:
    for collection, pattern in SPECIMEN.items():
        sides: dict[str, set[bool]] = {}
        for name in names[collection]:
            specimen = re.match(pattern, name)
            assert specimen, f"{collection}/{name} does not say its specimen"
            sides.setdefault(specimen.group(), set()).add(apart(collection, name))
        torn = [specimen for specimen, on in sides.items() if len(on) == 2]
        assert not torn, f"{collection}: {torn} are learnt from and kept apart"


def test_each_set_is_on_both_sides_and_most_of_it_is_learnt_from(names: dict[str, list[str]]) -> None:
    assert set(real.KEPT_APART) == set(names)
    for collection, members in names.items():
        share = np.mean([apart(collection, name) for name in members])
        assert 0 < share < 0.5, collection
