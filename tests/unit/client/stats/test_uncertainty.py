from __future__ import annotations

import dataclasses
from math import hypot, log2, log10
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grainserve import Result
from grainserve.errors import InvalidOption
from grainserve.stats import Interval, Sample, Summary, summarise
from tests.unit.client.made import make_result
from tests.unit.client.stats.samples import make_sample

GRAINS = np.random.default_rng(0).lognormal(3, 0.3, 400)
EQUAL = [20.0] * 60


def measured(sizes: Any = GRAINS, **options: Any) -> Summary:
    return summarise(make_sample(sizes), resamples=100, **options)


def half(interval: Interval) -> float:
    assert interval.low is not None
    assert interval.high is not None
    return (interval.high - interval.low) / 2


def test_where_sampling_adds_nothing_the_interval_is_the_error_of_the_scale() -> None:
    found = measured(EQUAL, scale_error=0.02).number
    for each in (found.mean, found.percentiles[50], found.log_normal.geometric_mean):
        assert [each.low, each.high] == pytest.approx([19.6, 20.4])
        assert each.parts is not None
        assert (each.parts.sampling, each.parts.outline) == (0, 0)
        assert each.parts.scale == pytest.approx(0.4)
    assert found.phi is not None
    assert found.phi[50].low == pytest.approx(-log2(20.4e-3), abs=1e-4)
    assert half(found.log_normal.geometric_sd) == pytest.approx(0), "no scale changes how wide a distribution is"


def test_the_error_of_outlines_counts_on_both_sides_of_a_grain() -> None:
    found = measured(EQUAL, outline_error=0.5).number
    assert half(found.mean) == pytest.approx(1)
    assert half(found.percentiles[50]) == pytest.approx(1)


def test_outlines_are_in_px_and_sizes_in_um() -> None:
    sample = dataclasses.replace(make_sample(EQUAL), um_per_px=(3.0,))
    assert half(summarise(sample, resamples=50, outline_error=0.5).number.mean) == pytest.approx(3)


def test_parts_add_in_quadrature() -> None:
    found = measured(scale_error=0.03, outline_error=0.3)
    for population in (found.number, found.area):
        each = population.mean if population is found.number else population.percentiles[50]
        assert each.parts is not None
        assert each.parts.sampling is not None
        assert half(each) == pytest.approx(hypot(each.parts.sampling, each.parts.scale, each.parts.outline), rel=0.05)


def test_the_sampling_part_is_the_interval_without_errors() -> None:
    plain, both = measured().number, measured(scale_error=0.03).number
    for percent, each in plain.percentiles.items():
        parts = both.percentiles[percent].parts
        assert parts is not None
        assert parts.sampling == (None if each.reason else pytest.approx(half(each)))
        assert both.percentiles[percent].reason == each.reason
        assert each.parts is None


@given(st.floats(0.001, 0.3), st.floats(1, 1000))
@settings(max_examples=15, deadline=None)
def test_the_part_of_the_scale_is_its_share_of_any_size(error: float, size: float) -> None:
    found = summarise(make_sample([size] * 5), resamples=2, scale_error=error).number
    for each in (found.mean, found.percentiles[10]):
        assert each.parts is not None
        assert each.parts.scale == pytest.approx(error * size)


@pytest.mark.parametrize("level", [0.8, 0.99])
def test_other_levels_have_other_widths(level: float) -> None:
    from scipy.special import ndtri  # noqa: PLC0415

    share = 0.02 * ndtri((1 + level) / 2) / ndtri(0.975)
    assert half(measured(EQUAL, scale_error=0.02, level=level).number.mean) == pytest.approx(20 * share, rel=1e-3)


def test_the_same_seed_gives_the_same_interval() -> None:
    one, again, other = (measured(scale_error=0.02, seed=seed).number.mean for seed in (1, 1, 2))
    assert one == again
    assert one != other


def test_figures_that_have_no_interval_tell_the_parts_that_are_known() -> None:
    each = measured(GRAINS[:30], scale_error=0.02).area.percentiles[90]
    assert (each.low, each.reason) == (None, "too_few_coarser")
    assert each.parts is not None
    assert each.parts.sampling is None
    assert each.parts.scale == pytest.approx(0.02 * each.value)


def test_stresses_and_grain_size_numbers_have_it_too() -> None:
    results = [Result(make_result(letter * 32, um_per_px=2.0)) for letter in "ab"]
    sample = Sample.of(results)
    plain = summarise(sample, resamples=50, astm=["planimetric-rectangle"], piezometers=["quartz:Holyoke"])
    wider = summarise(
        sample, resamples=50, astm=["planimetric-rectangle"], piezometers=["quartz:Holyoke"], scale_error=0.1
    )
    g, stress = wider.grain_size_numbers[0].g, wider.stresses[0]
    assert g.parts is not None
    assert g.parts.scale == pytest.approx((6.643856 * log10(1.1 / 0.9)) / 2, rel=0.01)
    assert wider.grain_size_numbers[0].density.value == plain.grain_size_numbers[0].density.value
    assert stress.size.parts is not None
    assert stress.stress.parts is not None
    assert stress.stress.parts.scale == pytest.approx(0.079 * stress.stress.value, rel=0.03)


def test_an_error_comes_from_the_source_of_the_scale_unless_it_is_stated() -> None:
    result = make_result(um_per_px=2.0)
    result["metadata"]["units"]["scaleSource"] = "scale bar, 200 px = 400 µm"
    sample = Sample.of([Result(result)])
    assert summarise(sample, resamples=0).errors.scale == pytest.approx(2**0.5 / 200)
    assert summarise(sample, resamples=0, scale_error=0.01).errors.scale == 0.01
    assert summarise(sample, resamples=0).to_dict()["errors"] == {"scale": pytest.approx(2**0.5 / 200), "outline": 0}


def test_without_a_known_error_the_scale_is_exact_and_said_to_be() -> None:
    found = measured()
    assert found.errors.scale is None
    assert found.errors.words("µm") == "scale taken as exact, outlines taken as exact"
    assert "parts" not in found.to_dict()["number"]["mean"]
    wider = measured(scale_error=0.02, outline_error=0.5)
    assert wider.errors.words("µm") == "scale ± 2 %, outlines ± 0.5 px"
    assert set(wider.to_dict()["number"]["mean"]["parts"]) == {"sampling", "scale", "outline"}


@pytest.mark.parametrize("options", [{"scale_error": -0.1}, {"scale_error": 2.0}, {"outline_error": -1}])
def test_what_is_no_error_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidOption, match="error"):
        measured(**options)


def test_sizes_in_px_have_no_scale_to_be_wrong() -> None:
    with pytest.raises(InvalidOption, match="sizes are in px"):
        summarise(make_sample(EQUAL, unit="px"), scale_error=0.02)
    assert half(summarise(make_sample(EQUAL, unit="px"), resamples=50, outline_error=1).number.mean) == pytest.approx(2)


def test_no_grain_gets_smaller_than_a_pixel() -> None:
    moved = make_sample([1.5, 0.8, 20.0]).moved(outline=-2)
    assert moved.diameter.tolist() == pytest.approx([1.0, 0.8, 16.0])
    assert moved.area.tolist() == pytest.approx((np.pi / 4 * moved.diameter**2).tolist())
