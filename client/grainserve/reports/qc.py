"""Quality flags: remarks that a reader needs before trusting a sample's numbers."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from grainserve.errors import NoGrains
from grainserve.reports.document import Flag
from grainserve.result import Result
from grainserve.stats import Summary
from grainserve.stats.astm.words import LEAST_FILLED, not_filled
from grainserve.stats.bootstrap import ENOUGH_IMAGES

FEW_GRAINS = 50
"""Least number of grains for useful percentiles: with fewer, D10 rests on fewer than five grains."""

MANY_EDGE_GRAINS = 0.2
"""Largest harmless share of grains cut by the frame: with more, the distribution shifts, whether they count or not."""

MANY_LOW_PRECISION = 0.05
"""Largest harmless share of grains under 10 px across: with more, the pixel grid shows in the fine tail."""

LOW_COVERAGE = 0.3
"""Least share of the frames that grains should cover: below it, most of the picture was not measured."""

LOW_AGREEMENT = 0.8
"""Least agreement of tiles: of the grains that lie whole in several tiles, the share that more than one tile found."""

WIDE_INTERVAL = 0.1
"""Largest half-width of an interval over its value; ASTM E112 (2013), 15.6, accepts a relative accuracy up to 10 %."""

POINTS_PER_DIAMETER = 2
"""Number of points across the smallest grain that a grid of point prompts usually finds."""

SEED_CELLS = 128
"""Cells along each side of sam_tiny's map of seeds: a cell is the smallest spacing of seeds."""


def quality_flags(results: Sequence[Result]) -> tuple[Flag, ...]:
    """Checks the results of a sample.

    Args:
        results: results of the sample's images.

    Returns:
        Flags, the worst first.
    """
    found = [flag for check in _CHECKS for flag in check(results)]
    return worst_first(found)


def sample_flags(results: Sequence[Result], summary: Summary | NoGrains, more: Iterable[Flag] = ()) -> tuple[Flag, ...]:
    """Checks the results of a sample together with its statistics.

    Args:
        results: results of the sample's images.
        summary: statistics of the sample, or the error that there is no grain that sizes can be taken from.
        more: flags that the caller has found.

    Returns:
        Flags, the worst first.
    """
    grains = sum(len(result.grains) for result in results)
    if not isinstance(summary, NoGrains):
        own = [flag for flag in (_not_filled(summary), _wide(summary)) if flag]
    else:
        own = [Flag("no_sizes", "error", f"{summary}.", {"grains": grains})] if grains else []
    return worst_first((*quality_flags(results), *more, *own))


def worst_first(flags: Iterable[Flag]) -> tuple[Flag, ...]:
    """Sorts flags: errors, then warnings, then notes, each in the given order."""
    return tuple(sorted(flags, key=lambda flag: ("error", "warning", "note").index(flag.level)))


def wide_interval_flag(name: str, value: float, low: float, high: float) -> Flag | None:
    """Makes a flag for an interval wider than `WIDE_INTERVAL` allows; None for a narrower one.

    Args:
        name: name of the value, which begins the flag's text.
        value: the value.
        low: lower end of its interval.
        high: upper end of its interval.
    """
    half = (high - low) / 2 / value if value > 0 else math.nan
    if not half > WIDE_INTERVAL:
        return None
    words = f"{name} is known to ±{half:.0%} only: measure more images of the sample to narrow it."
    return Flag("wide_interval", "note", words, {"value": value, "low": low, "high": high, "relative_accuracy": half})


def _not_filled(summary: Summary) -> Flag | None:
    words = not_filled(summary.grain_size_numbers)
    if words is None:
        return None
    found = summary.grain_size_numbers[0]
    numbers = {"coverage": found.coverage, "gaps_closed_px": found.gaps_closed_px, "threshold": LEAST_FILLED}
    return Flag("not_filled", "warning", f"{words[0].upper()}{words[1:]}.", numbers)


def _wide(summary: Summary) -> Flag | None:
    d50 = summary.number.percentiles[50]
    if d50.low is None or d50.high is None:
        return None
    return wide_interval_flag("D50 by number", d50.value, d50.low, d50.high)


def coverage(result: Result) -> float:
    """Returns the share of the frame that grains cover, 0 to 1; it may exceed 1 where masks overlap."""
    return sum(grain.area for grain in result.grains) / (result.frame.width * result.frame.height)


def detection_limit(result: Result) -> float:
    """Returns the equivalent diameter, px, below which grains may lie between prompts and be missed.

    This is twice the spacing of the grid of point prompts, or of the map of seeds where the prompts were seeds. The
    grid or map covers the image, or each of its tiles. Each layer of crops halves the spacing.
    """
    options = result.metadata["options"]
    side = max(result.frame.width, result.frame.height)
    if tiles := result.metadata.get("tiles"):
        side = max(max(box["width"], box["height"]) for box in tiles["boxes"])
    points = SEED_CELLS if options["points"] == "seeds" else int(options["points_per_side"])
    return POINTS_PER_DIAMETER * side / (points << int(options["crop_n_layers"]))


def _no_grains(results: Sequence[Result]) -> Iterator[Flag]:
    count = sum(len(result.grains) for result in results)
    if count == 0:
        yield Flag("no_grains", "error", "No grain was found: there is nothing to measure.", {"grains": 0})
    elif count < FEW_GRAINS:
        some = "Only 1 grain was" if count == 1 else f"Only {count} grains were"
        words = f"{some} measured, fewer than {FEW_GRAINS}: percentiles, above all D10 and D90, are uncertain."
        yield Flag("few_grains", "warning", words, {"grains": count, "threshold": FEW_GRAINS})


def _few_images(results: Sequence[Result]) -> Iterator[Flag]:
    if len(results) < ENOUGH_IMAGES and any(result.grains for result in results):
        count = "1 image is" if len(results) == 1 else f"{len(results)} images are"
        words = (
            f"{count} no sample: grains of an image are neighbours, and images differ. Intervals hold for the places "
            f"imaged only; for the sample, {ENOUGH_IMAGES} images or more are needed."
        )
        yield Flag("few_images", "warning", words, {"images": len(results), "threshold": ENOUGH_IMAGES})


def _no_scale(results: Sequence[Result]) -> Iterator[Flag]:
    without = sum(result.um_per_px is None for result in results)
    if without == len(results):
        words = "No scale was given: sizes are in pixels and compare only with images of the same magnification."
        yield Flag("no_scale", "warning", words, {"images": without})


def _edge_grains(results: Sequence[Result]) -> Iterator[Flag]:
    grains = [grain for result in results for grain in result.grains]
    cut = sum(grain.touches_edge for grain in grains)
    if grains and cut / len(grains) > MANY_EDGE_GRAINS:
        words = (
            f"{cut} of {len(grains)} grains ({cut / len(grains):.0%}) are cut by the frame: the largest grains are "
            "under-represented. Images of a wider field would show them whole."
        )
        numbers = {"edge_grains": cut, "grains": len(grains), "threshold": MANY_EDGE_GRAINS}
        yield Flag("many_edge_grains", "warning", words, numbers)


def _low_precision(results: Sequence[Result]) -> Iterator[Flag]:
    grains = [grain for result in results for grain in result.grains]
    small = sum(bool(grain.properties["lowPrecision"]) for grain in grains)
    if grains and small / len(grains) > MANY_LOW_PRECISION:
        words = (
            f"{small} of {len(grains)} grains ({small / len(grains):.0%}) are under 10 px across, where the pixel grid "
            "decides as much as the grain does: a higher magnification would resolve them."
        )
        numbers = {"low_precision": small, "grains": len(grains), "threshold": MANY_LOW_PRECISION}
        yield Flag("low_precision", "warning", words, numbers)


def _detection_limit(results: Sequence[Result]) -> Iterator[Flag]:
    limits = [detection_limit(result) for result in results]
    diameters = [
        (grain.equivalent_diameter or 0.0, limit)
        for result, limit in zip(results, limits, strict=True)
        for grain in result.grains
    ]
    total, below = len(diameters), sum(diameter < limit for diameter, limit in diameters)
    if total and below / total > MANY_LOW_PRECISION:
        words = (
            f"{below} of {total} grains ({below / total:.0%}) are smaller than the {max(limits):.3g} px that "
            "point prompts find reliably (two spacings): more of that size may have been missed. Measure with more "
            "points per side or at a higher magnification."
        )
        numbers = {"below": below, "grains": total, "limit_px": max(limits), "threshold": MANY_LOW_PRECISION}
        yield Flag("below_detection_limit", "warning", words, numbers)


def _low_coverage(results: Sequence[Result]) -> Iterator[Flag]:
    frames = sum(result.frame.width * result.frame.height for result in results)
    share = sum(grain.area for result in results for grain in result.grains) / frames
    if 0 < share < LOW_COVERAGE:
        words = (
            f"Grains cover {share:.0%} of the images. Fine for loose grains and for grains in a matrix; in an "
            "aggregate it means that many were missed."
        )
        yield Flag("low_coverage", "note", words, {"coverage": share, "threshold": LOW_COVERAGE})


def _seams(results: Sequence[Result]) -> Iterator[Flag]:
    found = [tiles["agreement"] for result in results if (tiles := result.metadata.get("tiles"))]
    low = min((share for share in found if share is not None), default=1.0)
    if low < LOW_AGREEMENT:
        words = (
            f"Of the grains that lie whole in several tiles, only {low:.0%} were seen in more than one: what a tile "
            "finds depends on where it was cut. Measure with more points per side."
        )
        yield Flag("tiles_disagree", "warning", words, {"agreement": low, "threshold": LOW_AGREEMENT})


def _overlapping(results: Sequence[Result]) -> Iterator[Flag]:
    count = sum(result.metadata["options"]["mode"] == "masks" for result in results)
    if count:
        words = "Measured with mode 'masks': masks may overlap, so that one grain may be counted more than once."
        yield Flag("overlapping_masks", "warning", words, {"images": count})


def _unequal(results: Sequence[Result]) -> Iterator[Flag]:
    """Flags a sample whose images were measured in different ways."""
    for name, what, read in _ALIKE:
        kinds = Counter(json.dumps(read(result), sort_keys=True) for result in results)
        if len(kinds) > 1:
            words = f"The images were measured with {len(kinds)} different {what}: sizes may differ for that alone."
            yield Flag(name, "warning", words, {"kinds": len(kinds)})


def _repeated(results: Sequence[Result]) -> Iterator[Flag]:
    repeated = len(results) - len({result.image_id for result in results})
    if repeated:
        words = f"{repeated} of {len(results)} results repeat an image: its grains are counted more than once."
        yield Flag("repeated_image", "error", words, {"repeated": repeated})


def _warnings(results: Sequence[Result]) -> Iterator[Flag]:
    said = Counter(str(warning) for result in results for warning in result.metadata["warnings"])
    for warning, count in said.items():
        yield Flag("measurement_warning", "warning", f"While measuring: {warning}", {"images": count})


_ALIKE: tuple[tuple[str, str, Callable[[Result], Any]], ...] = (
    ("different_models", "models or checkpoints", lambda result: [
        result.metadata["model"], result.metadata["version"], result.metadata["checkpoint"],
    ]),
    ("different_options", "options", lambda result: {
        name: value for name, value in result.metadata["options"].items() if name not in {"um_per_px", "scale_source"}
    }),
)  # fmt: skip
_CHECKS = (
    _no_grains, _repeated, _few_images, _no_scale, _edge_grains, _low_precision, _detection_limit, _seams, _overlapping,
    _unequal, _warnings, _low_coverage,
)  # fmt: skip
