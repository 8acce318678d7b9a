"""Differential stress from the mean size of recrystallised grains: σ = B d^(−m), by published calibrations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import pi, sqrt
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from grainserve.errors import InvalidOption, NoScale
from grainserve.stats.bootstrap import Resampling
from grainserve.stats.interval import Interval
from grainserve.stats.sample import Sample

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Piezometer:
    """A calibration σ = B d^(−m), σ in MPa and d in µm.

    Attributes:
        mineral: mineral.
        name: name of the calibration.
        source: authors, year and DOI.
        b: B, MPa·µm^m.
        m: exponent.
        mean: mean of the apparent equivalent diameters, by number and not unfolded, that it was calibrated with:
            `arithmetic`, or `rms`, the root of the mean square.
        intercept_factor: what mean intercepts were multiplied by, of calibrations with intercepts; None for one with
            equivalent diameters.
        regime: recrystallisation that it holds for.
    """

    mineral: str
    name: str
    source: str
    b: float
    m: float
    mean: Literal["arithmetic", "rms"]
    intercept_factor: float | None
    regime: str

    @property
    def key(self) -> str:
        """What it is called on the command line: `quartz:Holyoke`."""
        return f"{self.mineral}:{self.name}"

    def stress(self, size: float) -> float:
        """Returns the differential stress, MPa, of a mean apparent equivalent diameter, µm.

        An intercept is the diameter times factor/√(4/π) (DeHoff & Rhines 1968).
        """
        if self.intercept_factor is not None:
            size *= self.intercept_factor / sqrt(4 / pi)
        return float(self.b * size**-self.m)


_STIPP = "Stipp & Tullis 2003, doi:10.1029/2003GL018444"
_HOLYOKE = "Holyoke & Kronenberg 2010, doi:10.1016/j.tecto.2010.08.001"
_CROSS = "Cross et al. 2017, doi:10.1002/2017GL073836"
_RUTTER = "Rutter 1995, doi:10.1029/95JB02500"
_WAL = "Van der Wal et al. 1993, doi:10.1029/93GL01382"
_JUNG = "Jung & Karato 2001, doi:10.1016/S0191-8141(01)00005-0"
_BARNHOORN = "Barnhoorn et al. 2004, doi:10.1016/j.jsg.2003.11.024"
_PLATT = "Platt & De Bresser 2017, doi:10.1016/j.jsg.2017.10.012"
_VALCKE = "Valcke et al. 2015, doi:10.1144/SP409.4"

PIEZOMETERS = {
    each.key: each
    for each in (
        Piezometer("quartz", "StippTullis", _STIPP, 669.0, 0.79, "rms", None, "regimes 2 and 3"),
        Piezometer("quartz", "StippTullisBLG", _STIPP, 1264.1, 1.64, "rms", None, "regime 1, bulging"),
        Piezometer("quartz", "Holyoke", _HOLYOKE, 490.3, 0.79, "rms", None, "regimes 2 and 3"),
        Piezometer("quartz", "HolyokeBLG", _HOLYOKE, 883.9, 1.85, "rms", None, "regime 1, bulging"),
        Piezometer("quartz", "Cross", _CROSS, 593.0, 0.71, "rms", None, "bulging, subgrain rotation; EBSD, 1 µm"),
        Piezometer("quartz", "CrossHR", _CROSS, 450.9, 0.63, "rms", None, "bulging, subgrain rotation; EBSD, 200 nm"),
        Piezometer("olivine", "VanDerWal", _WAL, 1355.4, 0.75, "arithmetic", 1.5, "wet and dry"),
        Piezometer("olivine", "JungKarato", _JUNG, 5461.03, 0.85, "arithmetic", 1.5, "wet, bulging"),
        Piezometer("calcite", "RutterSGR", _RUTTER, 812.83, 0.88, "arithmetic", None, "subgrain rotation"),
        Piezometer("calcite", "RutterGBM", _RUTTER, 2691.53, 0.89, "arithmetic", None, "grain-boundary migration"),
        Piezometer("calcite", "Barnhoorn", _BARNHOORN, 537.03, 0.82, "arithmetic", None, "both of Rutter's"),
        Piezometer("calcite", "PlattDeBresser", _PLATT, 538.40, 0.82, "rms", None, "bulging, subgrain rotation"),
        Piezometer("calcite", "Valcke", _VALCKE, 1467.92, 1.67, "arithmetic", None, "bulging, subgrain rotation"),
    )
}
"""Calibrations by key."""


@dataclass(frozen=True)
class Stress:
    """A differential stress.

    Attributes:
        piezometer: calibration that it comes from.
        size: the mean size that was taken, µm.
        stress: differential stress, MPa, of uniaxial compression as in the experiments; its interval is that of the
            mean size alone, without the calibration's uncertainty. In plane strain, as in a shear zone, it is 2/√3 of
            it (Paterson & Olgaard 2000).
    """

    piezometer: Piezometer
    size: Interval
    stress: Interval


def stresses(
    sample: Sample, keys: Sequence[str], resampling: Resampling, *, edge_correction: bool
) -> tuple[Stress, ...]:
    """Estimates the differential stress by several calibrations.

    Args:
        sample: sample of recrystallised grains, with a scale.
        keys: keys of `PIEZOMETERS`.
        resampling: settings of the bootstrap.
        edge_correction: whether to correct for the frame, as in `Sample.stands_for`.

    Raises:
        InvalidOption: there is no such calibration, or sizes are no equivalent diameters.
        NoScale: the sample has no scale.
    """
    if unknown := [each for each in keys if each not in PIEZOMETERS]:
        raise InvalidOption(f"there is no piezometer {unknown[0]!r}: give one of {', '.join(PIEZOMETERS)}")
    if sample.unit == "px":
        raise NoScale("a differential stress")
    if sample.size != "diameter":
        raise InvalidOption("piezometers are calibrated with equivalent diameters: leave --size out")
    counts = sample.stands_for(edge_correction=edge_correction)
    used = np.flatnonzero(counts)
    sizes, weights = sample.diameter[used], counts[used]

    def means(times: Floats) -> Floats:
        share = weights * times
        total = share.sum()
        if not total:
            return np.full(2, np.nan)
        return np.array([(share * sizes).sum() / total, np.sqrt((share * sizes**2).sum() / total)])

    arithmetic, rms = resampling.intervals(means, sample.image[used], len(sample.images))
    found = []
    for piezometer in (PIEZOMETERS[key] for key in keys):
        size = rms if piezometer.mean == "rms" else arithmetic
        found.append(Stress(piezometer, size, size.map(piezometer.stress)))
    return tuple(found)
