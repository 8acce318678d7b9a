from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from grainserve import Result
from grainserve.errors import MixedScales, NoGrains, NoResults, NoScale
from grainserve.stats import Sample, summarise
from tests.unit.client.made import HEIGHT, WIDTH, make_result
from tests.unit.client.stats.samples import boolean_field, make_sample


def result(name: str = "a", um_per_px: float | None = 2.0) -> Result:
    return Result(make_result(name, um_per_px=um_per_px))


def test_a_sample_has_the_measurements_of_its_results_in_one_unit() -> None:
    sample = Sample.of([result("a", 2.0), result("b", 3.0)])
    assert (len(sample), sample.unit, sample.images, sample.name) == (8, "µm", ("a", "b"), "a")
    np.testing.assert_allclose(sample.diameter, np.concatenate([result().sizes, result("b", 3.0).sizes]))
    np.testing.assert_allclose(sample.frames, [[WIDTH * 2, HEIGHT * 2], [WIDTH * 3, HEIGHT * 3]])
    assert sample.area[4] == result().grains[0].area * 9
    assert sample.image.tolist() == [0] * 4 + [1] * 4
    box = result().grains[0].properties["boundingBox"]
    assert sample.inclusion[0] == pytest.approx((1 - box["width"] / WIDTH) * (1 - box["height"] / HEIGHT))
    assert sample.coverage == pytest.approx(sum(grain.area for grain in result().grains) / (WIDTH * HEIGHT))


def test_sizes_are_b_axes_where_asked_for() -> None:
    sample = Sample.of([result("a", 2.0)], size="b-axis")
    axes = [grain.properties["minorAxisLength"] * 2 for grain in result().grains]
    np.testing.assert_allclose(sample.diameter, axes)
    np.testing.assert_allclose(sample.area, Sample.of([result("a", 2.0)]).area)
    found = summarise(sample, edge_correction=False, resamples=0)
    assert found.size == "b-axis"
    assert found.number.mean.value == pytest.approx(np.mean(axes))


def test_a_grain_without_a_b_axis_has_no_size() -> None:
    made = make_result()
    made["segmentedObjects"][0]["properties"]["minorAxisLength"] = 0.0
    made["segmentedObjects"][1]["properties"]["minorAxisLength"] = None
    sample = Sample.of([Result(made)], size="b-axis")
    assert np.isnan(sample.diameter).tolist() == [True, True, False, False]
    assert summarise(sample, edge_correction=False, resamples=0).used == 2


def test_scaled_and_unscaled_images_are_not_pooled() -> None:
    with pytest.raises(MixedScales, match="1 of the sample's images have no scale \\(b\\)"):
        Sample.of([result("a"), result("b", None)])
    assert Sample.of([result("a", None), result("b", None)]).unit == "px"


def test_a_sample_needs_images_and_grains() -> None:
    with pytest.raises(NoResults):
        Sample.of([])
    empty = Sample.of([Result(make_result(masks=[]))])
    assert len(empty) == 0
    with pytest.raises(NoGrains):
        summarise(empty)


def test_a_sample_all_cut_by_the_frame_says_what_to_do() -> None:
    cut = np.zeros((HEIGHT, WIDTH), bool)
    cut[:10, :10] = True
    sample = Sample.of([Result(make_result(masks=[cut]))])
    with pytest.raises(NoGrains, match="leave the edge correction off"):
        summarise(sample)
    assert summarise(sample, edge_correction=False).used == 1


def test_pooling_is_of_grains_and_not_of_images() -> None:
    """Two images have one size each: neither has a spread, but their pool has."""
    apart = make_sample([100.0] * 10 + [400.0] * 10, image=[0] * 10 + [1] * 10)
    found = summarise(apart, resamples=0)
    assert found.number.folk_ward is not None
    assert found.number.folk_ward.sorting.value == pytest.approx(2 / 4 + 2 / 6.6)
    assert [each.d50_number for each in found.images] == [100.0, 400.0]
    assert found.number.percentiles[50].value == 250


def test_one_image_pooled_is_that_image() -> None:
    assert summarise(Sample.of([result()])).to_dict() == result().statistics().to_dict()


def test_an_image_twice_changes_nothing_but_the_intervals() -> None:
    once, twice = summarise(Sample.of([result()]), resamples=0), summarise(Sample.of([result()] * 2), resamples=0)
    assert twice.grains == 2 * once.grains
    assert twice.number.mean.value == pytest.approx(once.number.mean.value)
    assert twice.area.log_normal.geometric_sd.value == pytest.approx(once.area.log_normal.geometric_sd.value)
    assert twice.coverage == pytest.approx(once.coverage)


def test_a_summary_says_what_it_was_made_of() -> None:
    found = result().statistics()
    assert (found.grains, found.used, found.at_edge, found.below_detection) == (4, 3, 1, 0)
    assert found.resampling.by == "grain"
    assert found.images[0].d50_number == pytest.approx(found.number.percentiles[50].value)
    assert found.images[0].d50_area == pytest.approx(found.area.percentiles[50].value)
    assert summarise(Sample.of([result(str(index)) for index in range(5)])).resampling.by == "image"
    everything = result().statistics(edge_correction=False)
    assert (everything.used, everything.edge_correction) == (4, False)
    assert everything.number.percentiles[50].value == pytest.approx(result().percentile(50, edge_correction=False))
    assert everything.area.percentiles[84].value == pytest.approx(
        result().percentile(84, "area", edge_correction=False)
    )


def test_small_grains_are_counted_and_said() -> None:
    data = make_result(um_per_px=2.0)
    data["segmentedObjects"][0]["properties"]["lowPrecision"] = True
    found = Result(data).statistics()
    assert (found.below_detection, found.used) == (1, 3)


def test_a_summary_is_json() -> None:
    written = json.dumps(result().statistics(astm=["mean-area"]).to_dict(), allow_nan=False)
    read = json.loads(written)
    assert read["number"]["percentiles"]["50"]["reason"] == "too_few_coarser", "of three grains"
    many = json.loads(json.dumps(summarise(make_sample(np.arange(5.0, 45.0))).to_dict()))
    assert many["number"]["percentiles"]["50"]["low"] < many["number"]["percentiles"]["50"]["high"]
    assert read["area"]["folkWard"]["sortingClass"]
    assert read["grainSizeNumbers"][0]["method"] == "mean-area"
    equal = json.dumps(summarise(make_sample([5.0] * 3)).to_dict(), allow_nan=False)
    assert json.loads(equal)["number"]["folkWard"]["skewness"] == {
        "value": None,
        "low": None,
        "high": None,
        "reason": "undefined",
    }


def test_a_grain_size_number_needs_a_scale() -> None:
    assert result("a", None).statistics().number.phi is None
    with pytest.raises(NoScale):
        result("a", None).statistics(astm=["mean-area"])


def test_corrected_for_the_frame_a_mean_is_nearer_the_truth_than_with_or_without_cut_grains() -> None:
    fields = [boolean_field(seed, 1000) for seed in range(40)]
    truth = np.mean([true for _, true in fields])
    seen = np.concatenate([sample.diameter for sample, _ in fields])
    weights = np.concatenate([sample.stands_for(edge_correction=True) for sample, _ in fields])
    assert seen.mean() < truth - 4
    assert seen[weights > 0].mean() < truth - 4
    assert np.average(seen, weights=weights) == pytest.approx(truth, abs=2)


# By hand ------------------------------------------------------------------------------------------------------------


def test_without_a_scale_lengths_are_the_pixels_of_the_results() -> None:
    sample = Sample.of([result("a", None)], name="dune", images=["first"])
    assert (sample.name, sample.images, sample.unit) == ("dune", ("first",), "px")
    assert sample.diameter.tolist() == [each.properties["equivalentDiameter"] for each in result("a", None).grains]
    assert sample.area.tolist() == [each.properties["area"] for each in result("a", None).grains]
    assert sample.frames.tolist() == [[WIDTH, HEIGHT]]
    assert len(sample.results) == 1


def test_a_sample_is_called_after_its_first_image_unless_it_is_named() -> None:
    assert Sample.of([result("a"), result("b")]).name == "a"
    assert Sample.of([result("a"), result("b")], images=["x", "y"]).name == "x"
    assert Sample.of([result("a")], name="").name == ""


def test_all_that_a_grain_is_comes_from_its_result() -> None:
    data = make_result(um_per_px=2.0)
    data["segmentedObjects"][1]["properties"] |= {"orientationFromX": 33.0, "aspectRatio": 1.7, "lowPrecision": True}
    sample = Sample.of([Result(data)])
    assert sample.orientation.tolist() == [120.0, 33.0, 120.0, 120.0]
    assert sample.aspect_ratio.tolist() == [1.2, 1.7, 1.2, 1.2]
    assert sample.below_detection.tolist() == [False, True, False, False]
    assert sample.touches_edge.tolist() == [False, False, False, True]


def test_which_images_lack_a_scale_is_said() -> None:
    with pytest.raises(MixedScales, match="2 of the sample's images have no scale \\(a, c\\)"):
        Sample.of([result("a", None), result("b"), result("c", None)])


def test_a_grain_without_a_size_counts_nothing() -> None:
    sample = make_sample([10.0, np.nan, 20.0])
    for edge_correction in (True, False):
        assert sample.stands_for(edge_correction=edge_correction).tolist() == [1, 0, 1]


def test_corrected_a_whole_grain_counts_one_over_its_chance_and_a_cut_one_nothing() -> None:
    sample = dataclasses.replace(
        make_sample([10.0, 20.0, 30.0]),
        inclusion=np.array([0.8, 0.5, 0.0]),
        touches_edge=np.array([False, False, True]),
    )
    assert sample.stands_for(edge_correction=True).tolist() == [1.25, 2.0, 0.0]
    assert sample.stands_for(edge_correction=False).tolist() == [1.0, 1.0, 1.0]
    assert sample.weights("number", edge_correction=True).tolist() == [1.25, 2.0, 0.0]
    areas = np.pi / 4 * np.array([10.0, 20.0, 30.0]) ** 2
    assert sample.weights("area", edge_correction=True) == pytest.approx(areas * [1.25, 2, 0])
    assert sample.weights("area", edge_correction=False) == pytest.approx(areas)


def test_a_sample_without_any_grain_has_arrays_of_none() -> None:
    empty = Sample.of([Result(make_result(masks=[], um_per_px=2.0))])
    assert (empty.inclusion.shape, empty.frames.tolist()) == ((0,), [[2 * WIDTH, 2 * HEIGHT]])
    assert empty.coverage == 0


@pytest.mark.parametrize(("images", "held"), [(4, "places imaged"), (5, "sample")])
def test_a_summary_says_what_its_intervals_hold_for(images: int, held: str) -> None:
    sample = make_sample([5.0, 6.0, 7.0] * images, image=np.repeat(np.arange(images), 3))
    assert summarise(sample, resamples=20).to_dict()["intervalsHoldFor"] == held
