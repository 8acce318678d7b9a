"""A sample's summary: counts, figures of each image, chosen percentiles, JSON."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest

from grainserve.errors import InvalidOption
from grainserve.stats.summary import ImageFigures, checked_percents, summarise
from tests.unit.client.stats.samples import make_sample


@pytest.mark.parametrize("percents", [[], [0], [100], [-1, 50], [50, 101], [50, 50], [50, 50.0], [math.nan]])
def test_percents_outside_0_to_100_or_named_twice_are_refused(percents: list[float]) -> None:
    said = ", ".join(f"{each:g}" for each in percents) or "none"
    with pytest.raises(InvalidOption, match=f"percentiles are {said};"):
        checked_percents(percents)


def test_percents_are_told_ascending_and_whole_ones_as_whole_numbers() -> None:
    found = checked_percents([99.5, 50.0, 0.5, 7])
    assert list(found) == [0.5, 7, 50, 99.5]
    assert [type(each) for each in found] == [float, int, int, float]


def test_the_percentiles_asked_for_are_told_by_number_and_by_area() -> None:
    found = summarise(make_sample([1.0, 2.0, 3.0]), resamples=0, percentiles=(90, 10))
    assert list(found.number.percentiles) == list(found.area.percentiles) == [10, 90]


def test_unless_asked_otherwise_the_edge_is_corrected_and_intervals_are_made() -> None:
    found = summarise(make_sample([1.0, 2.0, 3.0]))
    assert found.edge_correction is True
    assert (found.resampling.resamples, found.resampling.level, found.resampling.seed) == (2000, 0.95, 0)
    assert (found.grain_size_numbers, found.largest_grain) == ((), None)


def test_images_are_drawn_from_five_on() -> None:
    four, five = (make_sample([10.0] * count, image=range(count)) for count in (4, 5))
    assert summarise(four, resamples=0).resampling.by == "grain"
    assert summarise(five, resamples=0).resampling.by == "image"


def test_each_image_has_its_figures_and_one_without_whole_grains_has_none() -> None:
    """By area, the first image's 10 and 20 µm grains lie at 1/10 and 6/10: D50 is 18 µm."""
    sample = make_sample([10.0, 20.0, 40.0], image=[0, 0, 1])
    sample = dataclasses.replace(sample, touches_edge=np.array([False, False, True]))
    assert summarise(sample, resamples=0).images == (
        ImageFigures("image0", 2, 0, 15.0, 18.0),
        ImageFigures("image1", 1, 1, None, None),
    )


def test_a_grain_stands_for_more_the_less_likely_it_is_whole() -> None:
    """The 20 µm grain counts twice, so the sizes lie at 1/6 and 2/3."""
    sample = dataclasses.replace(make_sample([10.0, 20.0]), inclusion=np.array([1.0, 0.5]))
    found = summarise(sample, resamples=0)
    assert found.images[0].d50_number == pytest.approx(10 + 10 * (1 / 2 - 1 / 6) / (2 / 3 - 1 / 6))
    assert found.number.mean.value == pytest.approx(50 / 3)
    assert summarise(sample, resamples=0, edge_correction=False).number.mean.value == 15


def test_a_weighting_has_its_population() -> None:
    found = summarise(make_sample([10.0, 20.0]), resamples=0)
    assert (found.population("number"), found.population("area")) == (found.number, found.area)
    assert found.number != found.area


def test_the_orientation_counts_each_grain_one() -> None:
    found = summarise(make_sample([10.0, 20.0], angles=[0.0, 90.0]), resamples=0).orientation
    assert found.weighting == "number"
    assert found.resultant == pytest.approx(0, abs=1e-12)


def test_json_has_names_in_camel_case_and_null_where_there_is_no_number(tmp_path: Path) -> None:
    found = summarise(make_sample([5.0] * 3, aspect_ratios=[1.0] * 3), resamples=0)
    found.to_json(tmp_path / "summary.json")
    text = (tmp_path / "summary.json").read_text(encoding="utf-8")
    read = json.loads(text)
    assert read == found.to_dict()
    assert '"unit": "µm"' in text
    assert text.count("\n") > 100, "for people as well"
    assert (read["edgeCorrection"], read["belowDetection"], read["largestGrain"]) == (True, 0, None)
    assert read["number"]["logNormal"]["ksDistance"] is None
    assert read["number"]["percentiles"]["5"] == {"value": 5.0, "low": None, "high": None, "reason": None}
    assert read["orientation"]["rose"] == [0.0] * 18
    assert read["images"] == [{"image": "image0", "grains": 3, "atEdge": 0, "d50Number": 5.0, "d50Area": 5.0}]
