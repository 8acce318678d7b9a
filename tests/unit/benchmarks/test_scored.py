"""The figures of the accuracy benchmark, its classical baseline and its report."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from skimage.draw import disk, ellipse

from benchmarks.accuracy import summarise
from benchmarks.scored import report
from benchmarks.scored.figures import SIZES, figures, mean, summary
from benchmarks.scored.images import Known, coins, real, synthetic
from benchmarks.scored.watershed import Recipe, recipes

SIDE = 160


@pytest.fixture
def discs() -> Known:
    """Draws nine bright discs of radius 14 on dark ground."""
    labels = np.zeros((SIDE, SIDE), np.int32)
    for number in range(9):
        labels[disk((30 + 48 * (number // 3), 30 + 48 * (number % 3)), 14)] = number + 1
    image = np.where(labels > 0, 190, 50).astype(np.uint8)
    return Known("discs", "synthetic", "discs", np.repeat(image[..., None], 3, axis=-1), labels)


@pytest.mark.parametrize("method", ["distance", "gradient"])
def test_the_watershed_finds_what_is_plain(method: str, discs: Known) -> None:
    recipe = Recipe(method, smoothing=1.0, block=0.4, spacing=9, bright=True)
    assert figures(recipe.find(discs.image), discs)["f1"] == 1.0
    dark = dataclasses.replace(recipe, bright=False)
    assert figures(dark.find(255 - discs.image), discs)["f1"] == 1.0


def test_every_recipe_is_another() -> None:
    assert len(set(recipes())) == 108


def test_the_truth_scores_full_marks(discs: Known) -> None:
    row = figures(discs.labels, discs)
    assert [row[key] for key in ("f1", "ap50", "ap", "pq", "count_ratio")] == [1, 1, 1, 1, 1]
    assert [row[key] for key in ("d16_error", "d50_error", "d84_error", "diameter_error")] == [0, 0, 0, 0]


def test_nothing_found_scores_nothing_and_divides_by_nothing(discs: Known) -> None:
    row = figures(np.zeros_like(discs.labels), discs)
    assert (row["f1"], row["ap"], row["pq"], row["count_ratio"]) == (0, 0, 0, 0)
    assert row["d50_error"] is None
    assert row["orientation_error"] is None


def test_errors_are_those_of_the_matched_grains() -> None:
    true, found = (np.zeros((SIDE, SIDE), np.int32) for _ in range(2))
    true[ellipse(80, 80, 20, 40)] = 1
    found[ellipse(80, 80, 18, 36, rotation=np.deg2rad(10))] = 5
    row = figures(found, Known("one", "synthetic", "one", np.zeros((SIDE, SIDE, 3), np.uint8), true))
    assert row["matched"] == 1
    assert row["diameter_error"] == pytest.approx(0.1, abs=0.01)
    assert row["major_axis_error"] == pytest.approx(0.1, abs=0.01)
    assert row["minor_axis_error"] == pytest.approx(0.1, abs=0.01)
    assert row["orientation_error"] == pytest.approx(10, abs=1)
    assert row["d50_error"] == pytest.approx(-0.1, abs=0.01)


def test_grains_cut_by_the_frame_do_not_count_where_the_truth_has_none(discs: Known) -> None:
    found = discs.labels.copy()
    found[0:9, 0:9] = 10
    assert figures(found, discs)["found"] == 10
    assert figures(found, dataclasses.replace(discs, cut_grains=False))["f1"] == 1.0


def test_errors_of_either_sign_do_not_make_up_for_each_other(discs: Known) -> None:
    row = figures(discs.labels, discs)
    means = mean([row | {"d50_error": 0.1}, row | {"d50_error": -0.1}, row | {"d50_error": None}])
    assert means["d50_error"] == pytest.approx(0.1)


@pytest.mark.parametrize(("side", "scale"), [(1024, 1), (512, 2), (256, 4)])
def test_recall_is_told_by_the_size_that_the_model_sees(side: int, scale: int) -> None:
    """There are two squares each of 8, 20, 40 and 100 px of the 1024-px frame; one of each size is found."""
    true, found = (np.zeros((side, side * 3 // 4), np.int32) for _ in range(2))
    number = 0
    for down, size in ((0, 8), (100, 20), (200, 40), (300, 100)):
        for along in (0, 200):
            number += 1
            there = np.s_[down // scale : (down + size) // scale, along // scale : (along + size) // scale]
            true[there] = number
            found[there] = number if along else 0
    row = figures(found, Known("squares", "real", "squares", np.zeros((*true.shape, 3), np.uint8), true))
    assert list(row["sizes"]) == list(SIZES)
    assert list(row["sizes"].values()) == 4 * [{"true": 2, "matched": 1}]
    sums = summary([row | {"seconds": 1.0}, row | {"seconds": 3.0}])
    assert list(sums["sizes"].values()) == 4 * [{"true": 4, "matched": 2}]
    assert sums["seconds"] == pytest.approx(2.0)


def test_sets_keep_what_training_keeps_apart_and_leave_out_what_is_partial(tmp_path: Path) -> None:
    for collection, names, complete in (
        ("conveyor_rocks", ("images000", "images001", "images0010", "images002"), True),
        ("seg_wilson180", ("wilson180_surface1_12",), False),
    ):
        (tmp_path / collection).mkdir()
        for name in names:
            labels = np.zeros((40, 50), np.uint16)
            labels[5:20, 5:30] = 1
            Image.fromarray(labels).save(tmp_path / collection / f"{name}_labels.png")
            Image.new("RGB", (50, 40)).save(tmp_path / collection / f"{name}.jpg")
            about = {"image": f"{name}.jpg", "labels": f"{name}_labels.png", "edge_grains_labelled": False}
            (tmp_path / collection / f"{name}.json").write_text(json.dumps(about | {"complete": complete}))
    all_of_them = [known.name for known in real(9, tmp_path)]
    assert all_of_them == ["conveyor_rocks images000", "conveyor_rocks images001", "conveyor_rocks images0010"]
    (one,) = real(1, tmp_path)
    assert (one.name, one.group, one.kind, one.cut_grains) == (all_of_them[1], "real", "conveyor_rocks", False)
    assert list(real(4, tmp_path / "absent")) == []


def test_coins_are_24() -> None:
    labels = coins().labels
    assert len(np.unique(labels)) == 25
    assert np.bincount(labels.ravel())[1:].min() > 500


def test_families_come_in_turn() -> None:
    kinds = [known.kind for known in synthetic(5, 3)]
    assert len(set(kinds)) == 3


def row(known: Known, name: str, group: str, *, f1: float, watershed: float, d50: float) -> dict[str, Any]:
    base = figures(known.labels, known)
    mine, its = base | {"f1": f1, "d50_error": d50}, base | {"f1": watershed}
    return {"name": name, "group": group, "kind": "gravel", "sam": mine, "watershed": its}


def test_the_summary_counts_photographs_and_the_report_shows_the_worst_first(discs: Known, tmp_path: Path) -> None:
    rows = [
        row(discs, "good", "photographs", f1=0.9, watershed=0.2, d50=0.05),
        row(discs, "bad", "photographs", f1=0.1, watershed=0.2, d50=-0.3),
        row(discs, "made", "synthetic", f1=0.8, watershed=0.5, d50=0.0),
    ]
    systems = ["sam", "watershed"]
    means = summarise(rows, systems)
    assert means["photographs"]["sam"]["f1"] == pytest.approx(0.5)
    assert means["gravel"]["images"] == 1, "a family is of synthetic images, whatever photographs show"
    assert means["photographs_better_than_watershed"] == 1
    assert means["photographs"]["sam"]["d50_within_10_percent"] == 1

    maps = dict.fromkeys(systems, discs.labels)
    pages = [report.page(each, dataclasses.replace(discs, name=each["name"]), maps, tmp_path) for each in rows]
    page = report.index({"summary": means, "systems": systems}, pages, tmp_path).read_text()
    assert page.index("<h2>bad") < page.index("<h2>made") < page.index("<h2>good")
    for picture in ("good_truth.jpg", "bad_sam.jpg", "made_watershed.jpg"):
        assert picture in page
        assert (tmp_path / picture).stat().st_size > 1000
    report.showcase(tmp_path, ["good", "bad"], {name: name for name in systems}, tmp_path / "showcase.jpg")
    with Image.open(tmp_path / "showcase.jpg") as shown:
        assert shown.size == (1134, 594)
