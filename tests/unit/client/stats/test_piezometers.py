"""Stresses by hand and by GrainSizeTools, and the published constants."""

from __future__ import annotations

import math

import numpy as np
import pytest

from grainserve.errors import InvalidOption, NoScale
from grainserve.stats.bootstrap import Resampling
from grainserve.stats.piezometers import PIEZOMETERS, stresses
from tests.unit.client.stats.samples import make_sample

NONE = Resampling("grain", resamples=0)


def test_olivine_is_grain_size_tools_own() -> None:
    """It is the example of its documents: calc_diffstress(…, phase='olivine', piezometer='VanderWal_wet')."""
    sizes = (12.23, 13.71, 12.76, 11.73, 12.69, 10.67)
    found = [PIEZOMETERS["olivine:VanDerWal"].stress(size) for size in sizes]
    assert found == pytest.approx([167.41, 153.66, 162.16, 172.73, 162.83, 185.45], abs=0.006)


@pytest.mark.parametrize(
    ("key", "log_a", "p"),
    [
        ("quartz:StippTullis", 3.56, 1.26),
        ("quartz:StippTullisBLG", math.log10(78), 0.61),
        ("quartz:Holyoke", math.log10(2451), 1.26),
        ("quartz:HolyokeBLG", math.log10(39), 0.54),
        ("quartz:Cross", 3.91, 1.41),
        ("quartz:CrossHR", 4.22, 1.59),
        ("olivine:VanDerWal", math.log10(15_000), 1.33),
        ("olivine:JungKarato", 4.41, 1.18),
        ("calcite:PlattDeBresser", math.log10(2141), 1.22),
        ("calcite:Valcke", 1.9, 0.6),
    ],
)
def test_constants_are_those_of_the_papers_that_give_size_by_stress(key: str, log_a: float, p: float) -> None:
    """d = A σ^(−p), so that B = A^(1/p) and m = 1/p."""
    found = PIEZOMETERS[key]
    assert found.m == pytest.approx(1 / p, abs=0.006)
    assert found.b == pytest.approx(10 ** (log_a / p), rel=0.02)


@pytest.mark.parametrize(
    ("key", "log_b"), [("calcite:RutterSGR", 2.91), ("calcite:RutterGBM", 3.43), ("calcite:Barnhoorn", 2.73)]
)
def test_constants_are_those_of_the_papers_that_give_stress_by_size(key: str, log_b: float) -> None:
    assert PIEZOMETERS[key].b == pytest.approx(10**log_b, rel=1e-5)


def test_every_mineral_that_is_asked_for_has_calibrations() -> None:
    assert {each.mineral for each in PIEZOMETERS.values()} == {"quartz", "olivine", "calcite"}


def test_each_calibration_takes_its_own_mean_by_number() -> None:
    sizes = np.array([10.0, 20.0, 40.0])
    quartz, calcite = stresses(make_sample(sizes), ["quartz:Holyoke", "calcite:RutterSGR"], NONE, edge_correction=True)
    rms, mean = math.sqrt((100 + 400 + 1600) / 3), 70 / 3
    assert (quartz.size.value, calcite.size.value) == pytest.approx((rms, mean))
    assert quartz.stress.value == pytest.approx(490.3 * rms**-0.79)
    assert calcite.stress.value == pytest.approx(812.83 * mean**-0.88)


def test_larger_grains_are_of_less_stress_at_the_ends_of_the_interval_too() -> None:
    sizes = np.random.default_rng(0).lognormal(3, 0.4, 200)
    (found,) = stresses(make_sample(sizes), ["quartz:Cross"], Resampling("grain", 200), edge_correction=True)
    assert found.stress.low is not None
    assert found.stress.high is not None
    assert found.size.high is not None
    assert found.stress.low < found.stress.value < found.stress.high
    assert found.stress.low == pytest.approx(PIEZOMETERS["quartz:Cross"].stress(found.size.high))


def test_what_cannot_be_estimated_is_told() -> None:
    with pytest.raises(InvalidOption, match="no piezometer 'quartz:Nobody': give one of quartz:StippTullis"):
        stresses(make_sample([1.0]), ["quartz:Nobody"], NONE, edge_correction=True)
    with pytest.raises(NoScale):
        stresses(make_sample([1.0], unit="px"), ["quartz:Cross"], NONE, edge_correction=True)
