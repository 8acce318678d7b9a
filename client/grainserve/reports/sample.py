"""The report of one sample."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from grainserve.errors import NoGrains
from grainserve.reports import tables
from grainserve.reports.document import Block, Figure, Flag, Flags, Report, Section, Table, Text
from grainserve.reports.figures import MOST_POINTS, Drawn, colour_bar, shape_figure, size_figure
from grainserve.reports.overlays import SIDE_ALONE, SIDE_BESIDE, SizeColours, size_overlay
from grainserve.reports.provenance import provenance
from grainserve.reports.qc import sample_flags
from grainserve.reports.shapes import shapes_of
from grainserve.reports.sources import MOST_OVERLAYS, Measured
from grainserve.results.edge_correction import name_of
from grainserve.results.rounding import number_text
from grainserve.stats import Sample, Summary, summarise
from grainserve.stats.astm.gaps import GAP_PX
from grainserve.stats.population import PERCENTS
from grainserve.stats.rounding import p_value_text
from grainserve.stats.summary import checked_percents

ALONE_WIDTH = 0.72
"""Width of a single overlay, as a share of the page's: its table then fits on the same page."""


def sample_report(
    images: Sequence[Measured],
    *,
    title: str,
    edge_correction: bool = True,
    astm: Sequence[str] = (),
    percentiles: Sequence[float] = PERCENTS,
    astm_gaps: int = GAP_PX,
    scale_error: float | None = None,
    outline_error: float = 0.0,
    flags: Sequence[Flag] = (),
    made: datetime | None = None,
) -> Report:
    """Makes the report of one sample.

    Args:
        images: one or more images, which are pooled.
        title: title of the page, and name of the sample.
        edge_correction: whether to correct sizes for the frame, as in `grainserve.stats.summarise`.
        astm: methods of ASTM E112 grain size to add, of `grainserve.stats.astm.METHODS`.
        percentiles: percents p of the D_p in the table, in (0, 100).
        astm_gaps: width of the widest gap between grains that is closed before these methods count, px.
        scale_error: error of the scale, as in `grainserve.stats.summarise`.
        outline_error: error of the outlines, px, as there.
        flags: flags that the caller has found, beside those of the results.
        made: time of the report, UTC; None takes the present time.

    Raises:
        InvalidOption: a percentile is not in (0, 100) or given twice, none is given, or an error is none.
        InvalidImage: a picture does not have the size that was measured.
        MixedScales: some images have a scale and some have none.
    """
    told = checked_percents(percentiles)
    results = [image.result for image in images]
    sample = Sample.of(results, title)
    summary: Summary | None = None
    try:
        # The figure needs the usual percentiles in any case.
        every = sorted({*PERCENTS, *told})
        summary = summarise(
            sample,
            edge_correction=edge_correction,
            astm=astm,
            percentiles=every,
            astm_gaps=astm_gaps,
            scale_error=scale_error,
            outline_error=outline_error,
        )
        found = sample_flags(results, summary, flags)
    except NoGrains as error:
        found = sample_flags(results, error, flags)
    sections = [
        Section("Quality", (Flags(found),)),
        Section("Grains", (*_overlays(images, sample), tables.image_table(images, summary))),
    ]
    if summary:
        sections += [
            Section("Grain size", tuple(_sizes(sample, summary, told))),
            Section("Orientation and shape", tuple(_shapes(sample, summary))),
        ]
    sections += [
        Section("How this was measured", (*map(Text, methods(*filter(None, [summary]))), *provenance(images))),
    ]
    return Report(title, _subtitle(images, summary), tuple(sections), footer(made))


def footer(made: datetime | None) -> str:
    """Says which version made a report, and when; None takes the present time."""
    from grainserve import __version__  # noqa: PLC0415 - not set yet while the package is imported

    return f"Made by grainserve {__version__}, {made or datetime.now(UTC):%Y-%m-%d %H:%M} UTC."


def _subtitle(images: Sequence[Measured], summary: Summary | None) -> str:
    metadata = images[0].result.metadata
    grains = sum(len(image.result.grains) for image in images)
    parts = [f"{_count(grains, 'grain')} in {_count(len(images), 'image')}"]
    if summary:
        by_number, by_area = (tables.text(each.percentiles[50]) for each in (summary.number, summary.area))
        parts.append(f"D50 {by_number} {summary.unit} by number, {by_area} {summary.unit} by area")
        parts.append(name_of(edge_correction=summary.edge_correction))
    parts.append(f"{metadata['model']} {metadata['version']}")
    return " · ".join(parts)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}".replace(",", "\u202f")


def _overlays(images: Sequence[Measured], sample: Sample) -> Iterator[Block]:
    shown = [image for image in images if image.result.has_masks and image.result.grains][:MOST_OVERLAYS]
    if without := sum(image.result.metadata["options"]["mask_format"] == "none" for image in images):
        yield Text(f"{_count(without, 'result')} without masks (mask_format none): there is nothing to draw of them.")
    if not shown:
        return
    colours = SizeColours.of(sample.diameter)
    side = SIDE_ALONE if len(shown) == 1 else SIDE_BESIDE
    pictures, missing = [], set[str]()
    for image in shown:
        pixels, why = image.picture()
        missing |= {why} if pixels is None else set()
        title = image.name if len(shown) > 1 else ""
        pictures.append(size_overlay(image.result, pixels, colours, side=side, title=title))
    caption = "Grains, coloured by equivalent diameter on a logarithmic scale, over the image in grey."
    if len(shown) < len(images):
        caption += f" {len(shown)} of {len(images)} images are shown."
    if missing:
        caption += f" Without the image where {'; '.join(sorted(missing))}."
    alone = len(shown) == 1
    yield Figure(
        tuple(pictures), caption, 1 if alone else 2, ALONE_WIDTH if alone else 1.0, colour_bar(colours, sample.unit)
    )


def _sizes(sample: Sample, summary: Summary, told: Sequence[float]) -> Iterator[Block]:
    both, heads = (summary.number, summary.area), ("by number", "by area")
    number, area = (Drawn.of(f"by {each.weighting}", sample, summary, each.weighting) for each in both)
    yield Figure(
        (size_figure(number, area, summary.unit),),
        "Grain size. a: histogram. b: cumulative curves with D10, D50 and D90; bands are the intervals of D5 to D95, "
        f"where there are any, and hold for the {summary.intervals_hold_for}.",
    )
    note = tables.interval_note(summary)
    rows = tables.size_rows(both, summary.unit, told)
    corrected = name_of(edge_correction=summary.edge_correction)
    yield Table(f"Grain sizes (equivalent diameters), {corrected}.", ("", *heads), rows, note=note)
    if parts := tables.parts_table(summary, told):
        yield parts
    if rows := tables.folk_ward_rows(both):
        yield Table("Graphic measures of Folk & Ward (1957); intervals as above.", ("", *heads), rows)
    if rows := tables.wentworth_rows(both):
        yield Table("Size classes of Wentworth (1922), %.", ("class", *heads), rows)
    if numbers := tables.grain_size_table(summary):
        yield numbers
    if largest := summary.largest_grain:
        edge = ", cut by the frame" if largest.touches_edge else ""
        yield Text(f"Largest grain (ASTM E930): ALA G = {largest.g:.1f}, {number_text(largest.area * 1e6)} µm²{edge}.")


def _shapes(sample: Sample, summary: Summary) -> Iterator[Block]:
    shapes, axes = shapes_of(sample, summary), summary.orientation
    yield Figure(
        (shape_figure(shapes, axes),),
        "Orientation and shape. a: rose diagram of major axes, counter-clockwise from the image's horizontal; "
        f"{axes.grains} grains with an aspect ratio of 1.2 or more, each shown at its angle and opposite, the area of "
        f"a petal as its share; the line is the mean direction. b: grains, {MOST_POINTS} of them at most. c, d: "
        "histograms, the line is the median.",
    )
    yield tables.shape_table(shapes)
    if axes.mean is not None and axes.resultant is not None:
        yield Text(
            f"Mean orientation {axes.mean:.0f}° (R̄ = {axes.resultant:.2f}; p of Rayleigh's test "
            f"{p_value_text(axes.p_value)}, n = {axes.grains}; {axes.equant} nearly equant grains left out)."
        )


def methods(*summaries: Summary) -> Iterator[str]:
    """Describes how sizes were measured, a paragraph at a time."""
    yield (
        "Size is the equivalent diameter √(4A/π) of a grain's area A. D50 is the size that 50 % of the grains, by "
        "number or by area, are finer than, and D5 to D95 likewise. φ = −log₂(d/mm)."
    )
    grains, at_edge = (sum(getattr(each, name) for each in summaries) for name in ("grains", "at_edge"))
    if not summaries:
        return
    if summaries[0].edge_correction:
        yield (
            f"Of {grains} grains, the {at_edge} that the frame cuts are left out, and the others are weighted by 1/P, "
            "where P is the probability that a frame placed at random holds the grain whole (Miles–Lantuéjoul "
            "correction, ISO 13322-1)."
        )
    else:
        yield (
            f"Edge correction is off: every grain counts, and the {at_edge} of {grains} that the frame cuts count at "
            "their visible size."
        )
