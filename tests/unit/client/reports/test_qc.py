from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest

from grainserve.reports.qc import (
    FEW_GRAINS,
    coverage,
    detection_limit,
    quality_flags,
    wide_interval_flag,
)
from grainserve.result import Result
from tests.unit.client.reports.grains import SIDE, discs

Change = Callable[[dict[str, Any]], object]


def changed(count: int, change: Change, um_per_px: float | None = 2.0) -> Result:
    data = deepcopy(discs(count, um_per_px=um_per_px).to_dict())
    change(data)
    return Result(data)


def share_of_grains(share: float, name: str) -> Change:
    def change(data: dict[str, Any]) -> None:
        grains = data["segmentedObjects"]
        for each in grains[: round(share * len(grains))]:
            each["properties"][name] = True

    return change


def metadata(*path: str, value: Any) -> Change:
    def change(data: dict[str, Any]) -> None:
        place = data["metadata"]
        for name in path[:-1]:
            place = place[name]
        place[path[-1]] = value

    return change


def tiles(agreement: float | None) -> dict[str, Any]:
    return {"count": 4, "overlap": 100, "imageIds": ["a"], "boxes": [{"x": 0, "y": 0, "width": 256, "height": 200}],
            "agreement": agreement, "sharedPixels": 0}  # fmt: skip


def nothing(_: dict[str, Any]) -> None:
    pass


# 80 discs cover 24 % to 28 % of the frame, and one image is few: each case has these flags as well.
@pytest.mark.parametrize(
    ("result", "flags"),
    [
        pytest.param(changed(80, nothing), [], id="nothing amiss"),
        pytest.param(changed(0, nothing), ["no_grains"], id="no grains"),
        pytest.param(changed(FEW_GRAINS - 1, nothing), ["few_grains"], id="just too few"),
        pytest.param(changed(FEW_GRAINS, nothing), [], id="just enough"),
        pytest.param(changed(80, nothing, None), ["no_scale"], id="no scale"),
        pytest.param(changed(80, share_of_grains(0.2, "touchesEdge")), [], id="a fifth at the edge"),
        pytest.param(changed(80, share_of_grains(0.25, "touchesEdge")), ["many_edge_grains"], id="more at the edge"),
        pytest.param(changed(80, share_of_grains(0.05, "lowPrecision")), [], id="some small"),
        pytest.param(changed(80, share_of_grains(0.1, "lowPrecision")), ["low_precision"], id="more small"),
        pytest.param(
            changed(80, metadata("options", "points_per_side", value=32)), ["below_detection_limit"], id="coarse grid"
        ),
        pytest.param(changed(80, metadata("options", "mode", value="masks")), ["overlapping_masks"], id="raw masks"),
        pytest.param(changed(80, metadata("warnings", value=["dark"])), ["measurement_warning"], id="warning"),
        pytest.param(changed(80, metadata("tiles", value=tiles(0.9))), [], id="tiles agree"),
        pytest.param(changed(80, metadata("tiles", value=tiles(None))), [], id="tiles share no grain"),
        pytest.param(changed(80, metadata("tiles", value=tiles(0.5))), ["tiles_disagree"], id="tiles disagree"),
    ],
)
def test_flags_of_one_image(result: Result, flags: list[str]) -> None:
    usual = {"low_coverage", "few_images"}
    assert [flag.name for flag in quality_flags([result]) if flag.name not in usual] == flags


def test_flags_of_images_that_were_measured_in_different_ways() -> None:
    plain = discs(40, seed=1)
    for path, value, flag in (
        (("checkpoint", "generation"), "18", "different_models"),
        (("options", "min_area"), 21, "different_options"),
    ):
        other = changed(40, metadata(*path, value=value))
        other = Result({**other.to_dict(), "metadata": {**other.metadata, "imageId": "b" * 32}})
        assert flag in [each.name for each in quality_flags([plain, other])]
    scaled = discs(40, seed=2, um_per_px=3.0)
    assert {flag.name for flag in quality_flags([plain, scaled])} <= {"low_coverage", "few_images"}, "scales may differ"


def test_an_image_that_is_in_a_sample_twice_is_an_error_and_stands_first() -> None:
    first, *_ = quality_flags([discs(5, um_per_px=None), discs(5, um_per_px=None)])
    assert (first.name, first.level) == ("repeated_image", "error")


def test_low_coverage_is_told_with_its_number() -> None:
    result = discs(80)
    (flag,) = (each for each in quality_flags([result]) if each.name == "low_coverage")
    area = sum(grain.area for grain in result.grains)
    assert flag.name == "low_coverage"
    assert flag.numbers["coverage"] == pytest.approx(area / SIDE**2) == pytest.approx(coverage(result))


@pytest.mark.parametrize(("crops", "limit"), [(0, 2 * 400 / 32), (1, 400 / 32), (2, 200 / 32)])
def test_the_detection_limit_is_two_spacings_of_the_finest_grid(crops: int, limit: float) -> None:
    result = changed(1, lambda data: data["metadata"]["options"].update(points_per_side=32, crop_n_layers=crops))
    assert detection_limit(result) == pytest.approx(limit)


def test_the_detection_limit_of_seeds_is_that_of_the_map_they_are_read_off() -> None:
    asked = {"points": "seeds", "points_per_side": 8}
    assert detection_limit(changed(1, lambda data: data["metadata"]["options"].update(asked))) == 2 * 400 / 128


def test_the_detection_limit_of_a_merged_result_is_that_of_a_tile() -> None:
    result = changed(1, lambda data: data["metadata"].update(tiles=tiles(1.0)))
    assert detection_limit(result) == pytest.approx(2 * 256 / 128)


@pytest.mark.parametrize(("low", "high", "wide"), [(91, 109, False), (89, 112, True), (0, 0, False)])
def test_an_interval_is_wide_over_ten_per_cent(low: float, high: float, wide: bool) -> None:
    assert (wide_interval_flag("D50", 100.0, low, high) is not None) == wide


@pytest.mark.parametrize(("count", "flagged"), [(1, True), (4, True), (5, False)])
def test_fewer_than_five_images_are_no_sample(count: int, flagged: bool) -> None:
    found = {each.name: each for each in quality_flags([discs(20, seed=seed) for seed in range(count)])}
    assert ("few_images" in found) == flagged
    if flagged:
        assert found["few_images"].level == "warning"
        assert found["few_images"].numbers == {"images": count, "threshold": 5}
        assert "places imaged" in found["few_images"].words
