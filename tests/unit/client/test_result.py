from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray
from PIL import Image

from grainserve.contract import validate_result
from grainserve.errors import GrainserveError, InvalidImage, InvalidResult, MasksMissing
from grainserve.result import Result
from grainserve.results.masks import decode_mask
from grainserve.results.overlay import draw_overlay, length_text, nice_length
from grainserve.results.size_curve import size_curve
from tests.unit.client.made import (
    DISCS,
    HEIGHT,
    WIDTH,
    disc_masks,
    encode,
    make_image,
    make_prompted_result,
    make_result,
)


def encode_runs(run: int) -> str:
    """Encodes one run of background in COCO's alphabet: a few characters that claim a huge frame."""
    text = ""
    while run:
        text += chr(48 + (run & 0x1F | (0x20 if run >> 5 else 0)))
        run >>= 5
    return text


masks = npst.arrays(bool, npst.array_shapes(min_dims=2, max_dims=2, max_side=12))


@pytest.mark.parametrize("mask_format", ["rle", "png", "polygon"])
@given(mask=masks)
def test_every_format_decodes_to_the_mask_that_was_encoded(mask_format: str, mask: NDArray[np.bool_]) -> None:
    np.testing.assert_array_equal(decode_mask(encode(mask, mask_format), *mask.shape), mask)


def test_polygons_fill_by_even_odd_so_that_holes_stay_open() -> None:
    outer, hole = [1, 1, 7, 1, 7, 7, 1, 7], [3, 3, 3, 5, 5, 5, 5, 3]
    expected = np.zeros((9, 8), bool)
    expected[1:7, 1:7] = True
    expected[3:5, 3:5] = False
    np.testing.assert_array_equal(decode_mask([outer, hole], 9, 8), expected)


def test_slanted_polygon_takes_the_pixels_whose_centres_lie_inside() -> None:
    mask = decode_mask([[0.0, 0.0, 10.0, 0.0, 0.0, 10.0]], 10, 10)
    rows, columns = np.mgrid[:10, :10]
    centre_sum = rows + columns + 1
    assert mask[centre_sum < 10].all()
    assert not mask[centre_sum > 10].any()


@pytest.mark.parametrize(
    "mask",
    [
        {"size": [HEIGHT, WIDTH]},
        {"size": [HEIGHT, WIDTH], "counts": "0"},
        {"size": [HEIGHT, WIDTH], "counts": "ÿ"},
        {"size": [HEIGHT, WIDTH], "counts": "o"},
        {"size": [2, 2], "counts": "4"},
        {"size": [10**6, 10**6], "counts": encode_runs(10**12)},
        "not a png",
        "AAAA",
        [[1.0, 2.0, 3.0]],
        7,
    ],
    ids=repr,
)
def test_broken_masks_are_told(mask: Any) -> None:
    with pytest.raises(InvalidResult):
        decode_mask(mask, HEIGHT, WIDTH)


@pytest.mark.parametrize("mask_format", ["rle", "png", "polygon"])
def test_label_map_holds_each_grain_under_its_id(mask_format: str) -> None:
    labels = Result(make_result(mask_format=mask_format)).label_map
    assert (labels.dtype, labels.shape) == (np.dtype(np.int32), (HEIGHT, WIDTH))
    for number, mask in enumerate(disc_masks(), start=1):
        np.testing.assert_array_equal(labels == number, mask)


def test_of_overlapping_masks_the_smaller_lies_on_top() -> None:
    large, small = np.ones((8, 9), bool), np.zeros((8, 9), bool)
    small[2:4, 2:4] = True
    for order in ([large, small], [small, large]):
        labels = Result(make_result(masks=order)).label_map
        assert np.count_nonzero(labels == 1 + [mask is small for mask in order].index(True)) == 4


def test_no_masks_is_told_with_what_to_do() -> None:
    result = Result(make_result(mask_format="none"))
    assert not result.has_masks
    with pytest.raises(MasksMissing, match="mask_format='rle'"):
        _ = result.label_map


@pytest.mark.parametrize("um_per_px", [None, 2.5])
def test_dataframe_has_flat_columns(um_per_px: float | None) -> None:
    frame = Result(make_result(um_per_px=um_per_px)).to_dataframe()
    assert len(frame) == len(DISCS)
    assert list(frame.columns[:10]) == [
        *("id", "class", "classConfidence", "classSource", "score"),
        *("boundingBox_x", "boundingBox_y", "boundingBox_width", "boundingBox_height", "area"),
    ]
    assert {"centroid_x", "centroid_y", "meanIntensity_r", "meanIntensity_g", "meanIntensity_b"} <= set(frame.columns)
    assert ("area_um2" in frame.columns) == (um_per_px is not None)
    assert frame["touchesEdge"].tolist() == [False, False, False, True]
    assert frame["centroid_x"].iloc[0] == pytest.approx(DISCS[0][0])
    assert frame["area"].dtype == np.int64
    if um_per_px:
        np.testing.assert_allclose(frame["area_um2"], frame["area"] * um_per_px**2)


def test_a_table_without_grains_has_the_same_columns() -> None:
    full, empty = Result(make_result()).to_dataframe(), Result(make_result(masks=[])).to_dataframe()
    assert list(full.columns) == list(empty.columns)
    assert full.dtypes.to_dict() == empty.dtypes.to_dict()


def test_csv_reads_back_to_the_same_table(tmp_path: Path) -> None:
    data = make_result(um_per_px=0.25)
    data["segmentedObjects"][0]["properties"] |= {"orientationFromX": None, "centroid": {"x": None, "y": 1.0}}
    data["segmentedObjects"][1]["class"] = 'quartz, "smoky"'
    result = Result(data)
    result.to_csv(tmp_path / "grains.csv")
    back = pd.read_csv(tmp_path / "grains.csv")
    pd.testing.assert_frame_equal(back, result.to_dataframe(), check_dtype=False)
    assert math.isnan(back["orientationFromX"].iloc[0])


def test_json_reads_back_to_the_same_result(tmp_path: Path) -> None:
    data = make_result(um_per_px=0.25)
    Result(data).to_json(tmp_path / "result.json")
    assert json.loads((tmp_path / "result.json").read_text()) == data
    assert Result.from_json(tmp_path / "result.json").to_dict() == data


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"metadata": {}, "segmentedObjects": []}'])
def test_what_is_no_result_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(InvalidResult):
        Result.from_json(tmp_path / "x.json")


# Percentiles ---------------------------------------------------------------------------------------------------------


def test_percentiles_of_known_curves() -> None:
    sizes, areas = [10.0, 20.0, 30.0, 40.0], [1.0, 1.0, 1.0, 5.0]
    number = size_curve(sizes, areas, "number")
    np.testing.assert_allclose(number.finer, [0.125, 0.375, 0.625, 0.875])
    assert number.percentile(50) == pytest.approx(25.0)
    assert number.percentile(5) == 10.0
    assert number.percentile(95) == 40.0
    area = size_curve(sizes, areas, "area")
    np.testing.assert_allclose(area.finer, [1 / 16, 3 / 16, 5 / 16, 11 / 16])
    assert area.percentile(50) == pytest.approx(35.0)


def test_percentiles_without_grains_are_nan_and_with_one_are_its_size() -> None:
    assert math.isnan(size_curve([], [], "number").percentile(50))
    assert size_curve([7.0], [3.0], "area").percentile(90) == 7.0


def test_grains_without_a_size_are_left_out() -> None:
    assert size_curve([math.nan, 5.0], [2.0, 2.0], "number").sizes.tolist() == [5.0]


@given(st.lists(st.tuples(st.floats(0.1, 1e4), st.floats(0.1, 1e6)), min_size=1, max_size=40))
def test_percentiles_rise_and_stay_among_the_sizes(grains: list[tuple[float, float]]) -> None:
    sizes, areas = zip(*grains, strict=True)
    for weighting in ("number", "area"):
        curve = size_curve(sizes, areas, weighting)
        values = [curve.percentile(percent) for percent in (0, 10, 25, 50, 75, 90, 100)]
        assert values == sorted(values)
        assert min(sizes) <= values[0]
        assert values[-1] <= max(sizes)


@given(st.lists(st.floats(0.1, 1e4), min_size=1, max_size=30), st.permutations(range(30)))
def test_the_order_of_grains_does_not_matter(sizes: list[float], order: list[int]) -> None:
    shuffled = [sizes[index] for index in order if index < len(sizes)]
    one = size_curve(sizes, np.square(sizes), "area").percentile(50)
    assert size_curve(shuffled, np.square(shuffled), "area").percentile(50) == pytest.approx(one)


def test_sizes_are_in_micrometres_when_a_scale_was_given() -> None:
    px, um = Result(make_result()), Result(make_result(um_per_px=2.0))
    assert (px.size_unit, um.size_unit) == ("px", "µm")
    assert um.percentile(50) == pytest.approx(2.0 * px.percentile(50))
    # Midway between discs of radius 8 and 10.
    assert px.percentile(50, edge_correction=False) == pytest.approx(18.0, abs=0.5)


# Figures -------------------------------------------------------------------------------------------------------------


def test_overlay_outlines_each_grain_just_inside_it() -> None:
    labels = np.zeros((600, 600), np.int32)
    labels[100:300, 100:300] = 1
    labels[100:300, 300:500] = 2
    grey = np.full((600, 600, 3), 128, np.uint8)
    drawn = np.asarray(draw_overlay(grey, labels, None))
    assert drawn.shape == (1200, 1200, 3)
    outlined = (drawn != 128).any(axis=2)
    assert outlined[200:600, 200:202].all()
    assert not outlined[:, :200].any()
    assert not outlined[204:596, 204:596].any()
    left, right = drawn[400, 599], drawn[400, 600]
    assert (left != right).any()


def test_overlay_shows_a_scale_bar_of_the_right_length() -> None:
    labels = np.zeros((800, 1000), np.int32)
    drawn = np.asarray(draw_overlay(np.full((800, 1000, 3), 30, np.uint8), labels, 2.0))
    white = (drawn == 255).all(axis=2).sum(axis=1)
    assert white.max() == 250  # 500 µm, the round length below a quarter of the width


@pytest.mark.parametrize(
    ("longest", "nice", "text"),
    [(1.0, 1.0, "1 µm"), (4.9, 2.0, "2 µm"), (5.0, 5.0, "5 µm"), (0.25, 0.2, "200 nm"), (2600.0, 2000.0, "2 mm")],
)
def test_scale_bar_lengths(longest: float, nice: float, text: str) -> None:
    assert nice_length(longest) == pytest.approx(nice)
    assert length_text(nice_length(longest)) == text


def test_overlay_wants_the_image_that_was_measured(tmp_path: Path) -> None:
    result = Result(make_result())
    with pytest.raises(InvalidImage, match=f"{WIDTH} × {HEIGHT}"):
        result.overlay(tmp_path / "o.png", np.zeros((5, 5), np.uint8))
    with pytest.raises(GrainserveError, match="image="):
        result.overlay(tmp_path / "o.png")


def test_overlay_is_drawn_on_the_upright_image(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned: stored on its side
    make_image().transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.jpg", exif=exif)
    Result(make_result()).overlay(tmp_path / "o.png", tmp_path / "turned.jpg")
    with Image.open(tmp_path / "o.png") as overlay:
        assert overlay.width / overlay.height == pytest.approx(WIDTH / HEIGHT)


@pytest.mark.parametrize("count", [0, 1, 4])
def test_size_figure_is_drawn_however_few_the_grains(tmp_path: Path, count: int) -> None:
    Result(make_result(masks=disc_masks()[:count], um_per_px=0.5)).histogram(tmp_path / "sizes.png")
    with Image.open(tmp_path / "sizes.png") as figure:
        assert figure.width > figure.height > 500


def test_classes_and_who_named_them() -> None:
    data = make_result()
    for grain, confidence in zip(data["segmentedObjects"], (0.9, 0.4, 0.0, 1.0), strict=True):
        grain |= {"class": "quartz", "classConfidence": confidence, "classSource": "classifier"}
    result = Result(data)
    assert [(grain.label, grain.class_confidence, grain.class_source) for grain in result.grains][:2] == [
        ("quartz", 0.9, "classifier"),
        ("quartz", 0.4, "classifier"),
    ]
    assert result.to_dataframe()["classConfidence"].tolist() == [0.9, 0.4, 0.0, 1.0]


def test_a_result_from_before_classes_had_a_source_is_read() -> None:
    data = make_result()
    for grain in data["segmentedObjects"]:
        del grain["classConfidence"], grain["classSource"], grain["properties"]["texture"]
    validate_result(data)
    result = Result(data)
    assert {(grain.label, grain.class_confidence, grain.class_source) for grain in result.grains} == {
        ("grain", None, "given")
    }
    frame = result.to_dataframe()
    assert list(frame.columns) == list(Result(make_result()).to_dataframe().columns)
    assert frame[["classConfidence", "texture_entropy"]].isna().all(axis=None)


@pytest.mark.parametrize("image_id", ["../outside/planted", "a/b", "", None, 7])
def test_an_id_that_is_none_makes_no_result(image_id: object) -> None:
    data = make_result()
    data["metadata"]["imageId"] = image_id
    with pytest.raises(InvalidResult, match="no image id"):
        Result(data)


@pytest.mark.parametrize("mask_format", ["rle", "png", "polygon"])
def test_answers_are_the_grains_of_each_prompt_the_best_first(mask_format: str) -> None:
    first, second, third, _ = disc_masks()
    asked = [[second, first | second], [], [third]]
    result = Result(make_prompted_result(answers=asked, mask_format=mask_format))
    assert [[grain.id for grain in answer] for answer in result.answers] == [[1, 2], [], [3]]
    for answer, masks in zip(result.answers, asked, strict=True):
        for grain, mask in zip(answer, masks, strict=True):
            np.testing.assert_array_equal(result.mask(grain), mask)
    best = result.answers[0][0]
    assert (best.predicted_iou, best.stability_score, best.mask_token) == (0.9, 0.8, "token-1")
    np.testing.assert_array_equal(result.label_map > 0, first | second | third)


def test_automatic_masks_answer_no_prompts() -> None:
    result = Result(make_result())
    assert result.answers == []
    assert result.grains[0].mask_token is None


@pytest.mark.parametrize("prompts", [[{"objectIds": [7]}], [{}], [3], 3])
def test_answers_that_cannot_be_read_are_told(prompts: Any) -> None:
    with pytest.raises(InvalidResult, match="prompts"):
        Result(make_result() | {"prompts": prompts}).answers  # noqa: B018 - read when first asked for
