"""Makes tables of summaries, with a column for each sample or weighting, and values with their intervals."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from grainserve.reports.document import Table
from grainserve.reports.qc import coverage
from grainserve.reports.shapes import DESCRIPTORS, Shapes
from grainserve.reports.sources import Measured
from grainserve.results.rounding import ABSENT, number_text
from grainserve.stats import Interval, Summary
from grainserve.stats.astm.words import fields_wanted, gaps_closed, more_fields_text
from grainserve.stats.bootstrap import ENOUGH_IMAGES
from grainserve.stats.interval import PARTS
from grainserve.stats.population import PERCENTS, FolkWard, Population
from grainserve.stats.rounding import interval_text, parts_text

Rows = tuple[tuple[str, ...], ...]


def text(interval: Interval) -> str:
    """Writes a value with its interval, `41.2 [39.8, 42.6]`, or why it has none, `41.2 [too few coarser]`."""
    return interval_text(interval.value, interval.low, interval.high, interval.reason)


def interval_note(summary: Summary) -> str:
    """Says how intervals were made."""
    way = summary.resampling
    if not way.resamples:
        return "Without intervals."
    drawn = "whole images" if way.by == "image" else "single grains"
    more = "" if way.by == "image" else f"; for the sample, {ENOUGH_IMAGES} images or more are needed"
    return (
        f"In brackets: {way.level:.0%} intervals, bootstrap over {drawn}, {way.resamples} resamples, seed {way.seed}; "
        f"or why there is none. They hold for the {way.holds_for}{more}. They include: "
        f"{summary.errors.words(summary.unit)}."
    )


def parts_table(summary: Summary, percents: Sequence[float]) -> Table | None:
    """Makes the table of what sampling, scale and outlines add to intervals; None where the latter add nothing.

    Args:
        summary: summary of the sample.
        percents: percents p of the D_p.
    """
    if not summary.errors.any:
        return None
    both = (summary.number, summary.area)
    names = (*(f"D{percent:g}" for percent in percents), "mean")
    rows = tuple((name, *(cell for each in both for cell in parts_text(each.sizes[name]))) for name in names)
    head = ("", *(f"by {each.weighting}: {part}" for each in both for part in PARTS))
    return Table(f"Parts of the intervals, each as half of its width alone, {summary.unit}.", head, rows)


def size_rows(populations: Sequence[Population], unit: str, percents: Sequence[float] = PERCENTS) -> Rows:
    """Makes the rows of D_p, mean and log-normal fit.

    Args:
        populations: populations, a column for each.
        unit: unit of the sizes, `µm` or `px`.
        percents: percents p of the D_p.
    """
    return (
        *(
            (f"D{percent:g} ({unit})", *(text(each.percentiles[percent]) for each in populations))
            for percent in percents
        ),
        (f"mean ({unit})", *(text(each.mean) for each in populations)),
        (f"geometric mean ({unit})", *(text(each.log_normal.geometric_mean) for each in populations)),
        ("geometric standard deviation", *(text(each.log_normal.geometric_sd) for each in populations)),
        ("distance from log-normal (K–S)", *(number_text(each.log_normal.ks_distance) for each in populations)),
    )


def folk_ward_rows(populations: Sequence[Population]) -> Rows:
    """Makes the rows of Folk & Ward's measures and their names, a column for each population; none without a scale."""
    measures: tuple[tuple[str, Callable[[FolkWard], str]], ...] = (
        ("mean Mz (φ)", lambda each: text(each.mean)),
        ("sorting σI (φ)", lambda each: text(each.sorting)),
        ("sorting class", lambda each: each.sorting_class or ABSENT),
        ("skewness SkI", lambda each: text(each.skewness)),
        ("skewness class", lambda each: each.skewness_class or ABSENT),
        ("kurtosis KG", lambda each: text(each.kurtosis)),
        ("kurtosis class", lambda each: each.kurtosis_class or ABSENT),
    )
    found = [each.folk_ward for each in populations if each.folk_ward is not None]
    return tuple((name, *(read(each) for each in found)) for name, read in measures) if found else ()


def wentworth_rows(populations: Sequence[Population]) -> Rows:
    """Makes the rows of Wentworth's size classes, fine to coarse, without classes that no population has."""
    shares = [each.wentworth for each in populations if each.wentworth is not None]
    names = [name for name in (shares[0] if shares else ()) if any(each[name] > 0 for each in shares)]
    return tuple((name, *(f"{100 * each[name]:.1f}" for each in shares)) for name in names)


def grain_size_table(summary: Summary) -> Table | None:
    """Makes the table of ASTM E112 grain sizes; None where none was requested."""
    if not summary.grain_size_numbers:
        return None
    rows = tuple(
        (
            each.method,
            text(each.g),
            text(each.g_iso),
            f"{each.count:g}",
            str(each.fields),
            f"{number_text(each.density.value)} {each.density_unit}",
            number_text(each.standard_deviation),
            number_text(each.ci95),
            f"{number_text(each.relative_accuracy)} %" if each.relative_accuracy is not None else ABSENT,
            more_fields_text(each),
        )
        for each in summary.grain_size_numbers
    )
    return Table(
        f"ASTM E112 grain size numbers, {gaps_closed(summary.grain_size_numbers)}. Mean, s, 95 % CI and the relative "
        f"accuracy %RA are of grains or intercepts counted, over fields; {fields_wanted(summary.grain_size_numbers)}.",
        ("method", "G", "G (ISO 643)", "counted", "fields", "mean", "s", "95 % CI", "%RA", "more fields"),
        rows,
    )


def shape_table(shapes: Shapes) -> Table:
    """Makes the table of medians and quartiles of the shape descriptors."""
    rows = tuple(
        (words, text(shapes.medians[key]), *map(number_text, shapes.quartiles[key]))
        for key, words in DESCRIPTORS.items()
    )
    return Table("Shapes, by number; intervals as above.", ("descriptor", "median", "25 %", "75 %"), rows)


def image_table(images: Sequence[Measured], summary: Summary | None) -> Table:
    """Makes the table of a sample's images: frame, scale and grains of each.

    Args:
        images: images of the sample.
        summary: summary of the sample; None without grains to measure.
    """
    unit = summary.unit if summary else "px"
    d50 = [each.d50_number for each in summary.images] if summary else [None] * len(images)
    rows = tuple(
        (
            image.name,
            f"{image.result.frame.width} × {image.result.frame.height}",
            number_text(image.result.um_per_px),
            str(image.result.metadata["units"].get("scaleSource") or ABSENT),
            str(len(image.result.grains)),
            str(sum(grain.touches_edge for grain in image.result.grains)),
            f"{100 * coverage(image.result):.0f}",
            number_text(size),
        )
        for image, size in zip(images, d50, strict=True)
    )
    head = ("image", "px", "µm/px", "scale from", "grains", "at edge", "coverage (%)", f"D50 ({unit})")
    return Table("Images. Figures of the sample are of its pooled grains, not means of these.", head, rows)
