"""Training: its report must be true."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from grain_handler.grains import classify
from grain_handler.storage import weights
from grainserve.classifier.labelled import FEATURES, Labelled
from grainserve.classifier.model import UNKNOWN, Classifier, fitted_temperature, load, named, softened
from grainserve.classifier.train import train
from grainserve.errors import InvalidClassifier
from tests.unit.labelled import BOMBS, as_properties, draw, make_bomb, make_classifier


def labelled(values: NDArray[np.float64], classes: list[str], tables: NDArray[np.intp] | None = None) -> Labelled:
    tables = np.zeros(len(classes), np.intp) if tables is None else tables
    return Labelled(FEATURES, values, np.array(classes), tables, left_out=0)


def overlapping(rng: np.random.Generator, count: int, apart: float) -> Labelled:
    """Draws two classes `apart` standard deviations from each other, with heavier tails than the model assumes."""
    values = rng.standard_t(4, (2 * count, len(FEATURES)))
    values[count:, 0] += apart
    return labelled(values, ["a"] * count + ["b"] * count)


def test_classes_far_apart_are_told_apart(tmp_path: Path) -> None:
    card = make_classifier(tmp_path, {"quartz": 40, "biotite": 30, "opaque": 20}).card
    assert (card["grains"], card["tables"], card["folds"]) == (180, 2, "tables")
    assert card["accuracy"] == card["right"] == 1
    assert [sum(row) for row in card["confusion"]["rows"]] == [60, 40, 80]
    assert {name: row["grains"] for name, row in card["perClass"].items()} == {
        "biotite": 60,
        "opaque": 40,
        "quartz": 80,
    }
    # Grains of a class that was not shown are like no other class.
    assert card["novelty"] == {"biotite": 1, "opaque": 1, "quartz": 1}


def test_five_percent_of_known_grains_may_be_unlike_all(tmp_path: Path) -> None:
    classifier = make_classifier(tmp_path, {"quartz": 200, "biotite": 200})
    names, _ = classifier.name(draw(np.random.default_rng(99), 0.0, 1000))
    assert 0.01 < (names == UNKNOWN).mean() < 0.08


def test_a_confidence_is_how_often_it_is_right() -> None:
    """This holds even if the model is wrong about the tails; it is measured on grains that no fold has seen."""
    rng = np.random.default_rng(3)
    classifier = train(overlapping(rng, 500, apart=2.0), threshold=0.5)
    fresh = overlapping(rng, 4000, apart=2.0)
    shares, _ = classifier.judge(fresh.values)
    confidence, likeliest = shares.max(axis=1), np.array(classifier.classes)[shares.argmax(axis=1)]
    for low, high in ((0.5, 0.7), (0.7, 0.9), (0.9, 1.01)):
        those = (low <= confidence) & (confidence < high)
        assert (likeliest == fresh.classes)[those].mean() == pytest.approx(confidence[those].mean(), abs=0.1)


def test_the_automatic_threshold_is_the_lowest_that_is_right_enough() -> None:
    card = (classifier := train(overlapping(np.random.default_rng(3), 500, apart=3.2))).card
    outcomes = {row["threshold"]: row["right"] for row in card["rejection"]}
    assert card["right"] == outcomes[classifier.threshold] >= 0.95
    assert classifier.threshold > 0.5
    assert all(right < 0.95 for threshold, right in outcomes.items() if threshold < classifier.threshold)


def test_classes_that_measurements_do_not_tell_apart_make_no_classifier() -> None:
    data = overlapping(np.random.default_rng(3), 100, apart=0.0)
    with pytest.raises(InvalidClassifier, match=r"do not tell these classes apart: .* or say --threshold 0\.5"):
        train(data)
    assert train(data, threshold=0.5).card["accuracy"] < 0.65


def test_grains_are_held_out_singly_where_a_class_is_in_one_table_only() -> None:
    values = np.concatenate([draw(np.random.default_rng(0), centre, 20) for centre in (0.0, 20.0)])
    classes = ["quartz"] * 20 + ["biotite"] * 20
    assert train(labelled(values, classes, np.repeat([0, 1], 20))).card["folds"] == "grains"
    assert train(labelled(values, classes, np.tile([0, 1], 20))).card["folds"] == "tables"
    assert train(labelled(values, classes)).card["folds"] == "grains"


@pytest.mark.parametrize("few", [1, 2, 4, 9])
def test_a_table_with_few_grains_is_not_learnt_from_alone(few: int) -> None:
    """If it were, the allowed distance would be so large that nothing is unknown, or training would fail."""
    values = np.concatenate([draw(np.random.default_rng(0), centre, 40 + few) for centre in (0.0, 20.0)])
    classes = ["quartz"] * (40 + few) + ["biotite"] * (40 + few)
    tables = np.tile(np.repeat([0, 1], [40, few]), 2)
    classifier = train(labelled(values, classes, tables))
    assert classifier.card["folds"] == "grains"
    names, _ = classifier.name(draw(np.random.default_rng(1), 10.0, 200))
    assert (names == UNKNOWN).mean() > 0.9


def test_a_file_has_all_of_it(tmp_path: Path) -> None:
    classifier = make_classifier(tmp_path)
    classifier.save(tmp_path / "a.skops")
    again = load(tmp_path / "a.skops")
    values = draw(np.random.default_rng(5), 1.0, 50)
    for ours, theirs in zip(classifier.judge(values), again.judge(values), strict=True):
        assert ours == pytest.approx(theirs)
    assert (again.features, again.threshold, again.classes) == (FEATURES, classifier.threshold, ["biotite", "quartz"])
    assert classifier.card.items() <= again.card.items()


@pytest.mark.parametrize("centre", [0.0, 4.0, 10.0, 16.0, 1000.0])
def test_client_and_worker_say_the_same(tmp_path: Path, centre: float) -> None:
    classifier = make_classifier(tmp_path)
    classifier.save(tmp_path / "a.skops")
    worker = classify.load(weights.fetch(str(tmp_path / "a.skops"), tmp_path))
    values = draw(np.random.default_rng(5), centre, 50)
    values[7, 3] = np.nan
    names, confidences = classifier.name(values)
    theirs = worker.name([as_properties(row) for row in values])
    assert [each.name for each in theirs] == names.tolist()
    assert [each.confidence for each in theirs] == pytest.approx(confidences.tolist())


def test_a_file_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "a.skops").write_bytes(b"PK\x03\x04 and so on")
    with pytest.raises(InvalidClassifier, match="damaged or no classifier"):
        load(tmp_path / "a.skops")


@pytest.mark.parametrize("kind", BOMBS)
def test_a_file_that_unpacks_to_gigabytes_is_refused_before_it_does(kind: str, tmp_path: Path) -> None:
    make_classifier(tmp_path).save(tmp_path / "a.skops")
    bomb = make_bomb(kind, tmp_path / "a.skops")
    load(tmp_path / "a.skops")  # keep imports out of the count
    tracemalloc.start()
    with pytest.raises(InvalidClassifier, match=r"damaged or no classifier|no need of: SparseMatrixNode"):
        load(bomb)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # An array that claims petabytes counts as if it had them; no memory is touched.
    assert kind == "a claim" or peak < 40 * 2**20


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), hotness=st.floats(1.0, 8.0))
def test_the_temperature_undoes_what_was_too_sure(seed: int, hotness: float) -> None:
    """Right probabilities, made too confident by a power, are right again at that temperature."""
    rng = np.random.default_rng(seed)
    right = rng.dirichlet([1.0, 1.0, 1.0], 3000)
    truth = (right.cumsum(axis=1) > rng.uniform(size=(3000, 1))).argmax(axis=1)
    too_sure = softened(right, 1 / hotness)
    assert fitted_temperature(too_sure, truth) == pytest.approx(hotness, rel=0.15)
    assert softened(too_sure, hotness) == pytest.approx(right, abs=1e-6)


@settings(deadline=None)
@given(st.floats(0, 1), st.floats(0, 1), st.integers(0, 2**32 - 1))
def test_a_higher_threshold_names_fewer(one: float, other: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    shares, away = rng.dirichlet([1.0, 1.0, 1.0], 50), rng.uniform(0, 10, 50)
    names = np.array(["a", "b", "c"])
    low, high = (named(names, shares, away, threshold=threshold, farthest=5.0)[0] for threshold in sorted((one, other)))
    assert set(np.flatnonzero(high != UNKNOWN)) <= set(np.flatnonzero(low != UNKNOWN))
    assert (low[away > 5] == UNKNOWN).all()


def test_a_classifier_says_nothing_of_no_grains(tmp_path: Path) -> None:
    classifier: Classifier = make_classifier(tmp_path)
    names, confidences = classifier.name(np.zeros((0, len(FEATURES))))
    assert names.tolist() == confidences.tolist() == []
