"""Classifiers in the worker: the classes of grains, and refused files."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skops.io
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from grain_handler.errors import ClassifierError
from grain_handler.grains.classify import UNKNOWN, Classifier, Named, given, load
from grain_handler.storage import weights
from grainserve.classifier.labelled import FEATURES
from tests.unit.labelled import BOMBS, as_properties, draw, make_bomb, make_classifier


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("classifier")
    make_classifier(folder).save(folder / "minerals.skops")
    return folder / "minerals.skops"


def read(path: Path) -> Classifier:
    return load(weights.fetch(str(path), path.parent))


Change = Callable[..., Path]


@pytest.fixture
def changed(file: Path, tmp_path: Path) -> Change:
    """Returns the classifier's file with some content replaced."""

    def change(**content: Any) -> Path:
        path = tmp_path / "changed.skops"
        skops.io.dump(skops.io.load(file, trusted=[]) | content, path)
        return path

    return change


def test_grains_are_named(file: Path) -> None:
    rng = np.random.default_rng(9)
    grains = [as_properties(row) for centre in (0.0, 20.0) for row in draw(rng, centre, 200)]
    named = read(file).name(grains)
    assert {each.source for each in named} == {"classifier"}
    for part, name in ((named[:200], "quartz"), (named[200:], "biotite")):
        right = [each for each in part if each.name == name]
        assert len(right) > 180
        assert all(each.confidence is not None and each.confidence > 0.99 for each in right)


@pytest.mark.parametrize("centre", [40.0, 10.0, 1e6])
def test_what_is_like_no_class_is_unknown(file: Path, centre: float) -> None:
    """This holds however likely the likeliest class is: far away one class is always the nearest."""
    rows = draw(np.random.default_rng(9), centre, 50)
    assert read(file).name([as_properties(row) for row in rows]) == [Named(UNKNOWN, 0.0, "classifier")] * 50


def test_what_is_not_likely_enough_is_unknown_and_says_how_likely(changed: Change) -> None:
    rows = draw(np.random.default_rng(9), 10.0, 200)
    named = read(changed(threshold=0.9, farthest=100.0, temperature=20.0)).name([as_properties(row) for row in rows])
    assert {each.name for each in named if (each.confidence or 0) < 0.9} == {UNKNOWN}
    assert any(0.5 <= (each.confidence or 0) < 0.9 for each in named)
    assert UNKNOWN not in {each.name for each in named if (each.confidence or 0) >= 0.9}


def test_a_grain_without_a_measurement_is_unknown_and_the_others_are_not(file: Path) -> None:
    rows = draw(np.random.default_rng(9), 0.0, 3)
    rows[1, 0] = np.nan
    first, lacking, last = read(file).name([as_properties(row) for row in rows])
    assert lacking == Named(UNKNOWN, 0.0, "classifier")
    assert first.name == last.name == "quartz"


def test_no_grains(file: Path) -> None:
    assert read(file).name([]) == []


def test_without_a_classifier_the_label_is_given() -> None:
    assert given("sand", 2) == [Named("sand", None, "given")] * 2


@pytest.mark.parametrize("length", [0, 100, -1])
def test_a_truncated_file(file: Path, tmp_path: Path, length: int) -> None:
    path = tmp_path / "cut.skops"
    path.write_bytes(file.read_bytes()[:length])
    with pytest.raises(ClassifierError, match="damaged or no classifier"):
        read(path)


def test_another_file(tmp_path: Path) -> None:
    path = tmp_path / "other.skops"
    skops.io.dump({"weights": [1, 2]}, path)
    with pytest.raises(ClassifierError, match=r"no 'grainserve classifier 1': make one with `grainserve classifier tr"):
        read(path)


def test_code_in_a_file_is_refused_before_it_runs(changed: Change, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    with pytest.raises(ClassifierError, match="holds what a classifier has no need of"):
        read(changed(pipeline=functools.partial(os.mkdir, mark)))
    assert not mark.exists()


@pytest.mark.parametrize("kind", BOMBS)
def test_a_file_that_unpacks_to_gigabytes_is_refused_before_it_does(kind: str, file: Path, tmp_path: Path) -> None:
    bomb = make_bomb(kind, Path(shutil.copy(file, tmp_path)))
    checkpoint = weights.fetch(str(bomb), tmp_path)
    read(file)  # keep imports out of the count
    tracemalloc.start()
    with pytest.raises(ClassifierError, match=r"damaged or no classifier|no need of: SparseMatrixNode"):
        load(checkpoint)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # An array that claims petabytes counts as if it had them; no memory is touched.
    assert kind == "a claim" or peak < 40 * 2**20


def test_another_pipeline_is_refused(changed: Change) -> None:
    other = make_pipeline(StandardScaler(), LogisticRegression())
    with pytest.raises(ClassifierError, match="no 'grainserve classifier 1'"):
        read(changed(pipeline=other))


def test_another_scikit_learn(changed: Change) -> None:
    with pytest.raises(ClassifierError, match=r"trained with scikit-learn 0\.24\.2, this worker has .* train it again"):
        read(changed(scikit_learn="0.24.2"))


def test_measurements_that_are_not_made(changed: Change) -> None:
    with pytest.raises(ClassifierError, match="measurements that this worker does not make: birefringence; train"):
        read(changed(features=["birefringence", "solidity"]))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("features", ["solidity"]),
        ("grains", np.zeros((50, 3))),
        ("grains", np.zeros((3, len(FEATURES)))),
        ("threshold", "high"),
        ("pipeline", make_pipeline(StandardScaler(), LinearDiscriminantAnalysis())),
    ],
)
def test_a_file_whose_parts_do_not_fit_is_refused_before_an_image_comes(changed: Change, key: str, value: Any) -> None:
    with pytest.raises(ClassifierError, match=r"changed\.skops is damaged, its parts do not fit"):
        read(changed(**{key: value}))


def test_a_file_that_lacks_a_part_is_refused(file: Path, tmp_path: Path) -> None:
    content = skops.io.load(file, trusted=[])
    del content["farthest"], content["whitening"]
    skops.io.dump(content, tmp_path / "lacking.skops")
    with pytest.raises(ClassifierError, match="is damaged, it lacks farthest, whitening: upload it again"):
        read(tmp_path / "lacking.skops")


def test_scikit_learn_is_not_loaded_without_a_classifier() -> None:
    module = "grain_handler.grains.classify"
    code = f"import sys, {module}; print([name for name in ('sklearn', 'skops') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
