"""The report that compares samples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType

from grainserve.errors import MixedScales
from grainserve.reports import tables
from grainserve.reports.document import Block, Code, Figure, Flag, Flags, Report, Section, Table, Text
from grainserve.reports.figures import Drawn, comparison_figure
from grainserve.reports.provenance import commands, image_ids, parameters
from grainserve.reports.qc import quality_flags, worst_first
from grainserve.reports.sample import footer, methods
from grainserve.reports.shapes import DESCRIPTORS, shapes_of
from grainserve.reports.sources import Measured
from grainserve.results.edge_correction import name_of
from grainserve.results.rounding import number_text
from grainserve.results.size_curve import Weighting
from grainserve.stats import Sample, Summary, summarise
from grainserve.stats.rounding import p_value_text


def comparison(
    samples: Mapping[str, Sequence[Measured]],
    *,
    title: str = "Comparison of samples",
    edge_correction: bool = True,
    flags: Mapping[str, Sequence[Flag]] = MappingProxyType({}),
    made: datetime | None = None,
) -> Report:
    """Makes the report that compares samples.

    Args:
        samples: name of each sample → its images, which are pooled.
        title: title of the page.
        edge_correction: whether to correct sizes for the frame, as in `grainserve.stats.summarise`.
        flags: name of a sample → flags that the caller has found, beside those of its results.
        made: time of the report, UTC; None takes the present time.

    Raises:
        MixedScales: some images have a scale and some have none.
        NoGrains: a sample has no grain that sizes can be taken from.
    """
    pooled = {name: Sample.of([image.result for image in images], name) for name, images in samples.items()}
    units = {sample.unit for sample in pooled.values()}
    if len(units) > 1:
        raise MixedScales([name for name, sample in pooled.items() if sample.unit == "px"])
    summaries = {name: summarise(sample, edge_correction=edge_correction) for name, sample in pooled.items()}
    images = [image for each in samples.values() for image in each]
    sections = (
        Section("Quality", tuple(_quality(samples, flags))),
        Section("Grain size by number", tuple(_sizes(pooled, summaries, "number"))),
        Section("Grain size by area", tuple(_sizes(pooled, summaries, "area"))),
        Section("Orientation and shape", (_shapes(pooled, summaries),)),
        Section("How this was measured", (*map(Text, methods(*summaries.values())), *_provenance(samples, images))),
    )
    grains = sum(len(sample) for sample in pooled.values())
    subtitle = f"{len(samples)} samples · {len(images)} images · {grains} grains"
    return Report(title, subtitle, sections, footer(made))


def _quality(samples: Mapping[str, Sequence[Measured]], flags: Mapping[str, Sequence[Flag]]) -> Iterator[Block]:
    for name, images in samples.items():
        yield Text(name)
        yield Flags(worst_first((*quality_flags([image.result for image in images]), *flags.get(name, ()))))


def _sizes(pooled: Mapping[str, Sample], summaries: Mapping[str, Summary], weighting: Weighting) -> Iterator[Block]:
    unit = next(iter(summaries.values())).unit
    drawn = [Drawn.of(name, sample, summaries[name], weighting) for name, sample in pooled.items()]
    yield Figure(
        (comparison_figure(drawn, unit, f"Grain sizes of the samples by {weighting}"),),
        f"Grain sizes by {weighting}. a: cumulative curves, bands are the intervals of D5 to D95, where there "
        "are any; the table says what they hold for. b: boxes from D25 to D75 with D50, whiskers from D5 to D95.",
    )
    populations = [summary.population(weighting) for summary in summaries.values()]
    rows = (*_counts(summaries), *tables.size_rows(populations, unit), *tables.folk_ward_rows(populations))
    corrected = name_of(edge_correction=next(iter(summaries.values())).edge_correction)
    yield Table(f"Grain sizes by {weighting}, {corrected}.", ("", *summaries), rows, note=_note(summaries))
    if classes := tables.wentworth_rows(populations):
        yield Table(f"Size classes of Wentworth (1922), % by {weighting}.", ("class", *summaries), classes)


def _counts(summaries: Mapping[str, Summary]) -> tables.Rows:
    return (
        ("images", *(str(len(each.images)) for each in summaries.values())),
        ("grains", *(str(each.grains) for each in summaries.values())),
        ("grains that sizes are taken from", *(str(each.used) for each in summaries.values())),
        ("coverage (%)", *(f"{100 * each.coverage:.0f}" for each in summaries.values())),
    )


def _note(summaries: Mapping[str, Summary]) -> str:
    """Says how intervals were made: in different ways for samples of few and of many images."""
    said: dict[str, list[str]] = {}
    for name, summary in summaries.items():
        said.setdefault(tables.interval_note(summary), []).append(name)
    return " ".join(note if len(said) == 1 else f"{', '.join(names)}: {note}" for note, names in said.items())


def _shapes(pooled: Mapping[str, Sample], summaries: Mapping[str, Summary]) -> Table:
    shapes = [shapes_of(sample, summaries[name]) for name, sample in pooled.items()]
    axes = [summary.orientation for summary in summaries.values()]
    rows = (
        *((words, *(tables.text(each.medians[key]) for each in shapes)) for key, words in DESCRIPTORS.items()),
        ("mean orientation (°)", *(number_text(each.mean, 0) for each in axes)),
        ("resultant length R̄", *(number_text(each.resultant, 2) for each in axes)),
        ("Rayleigh test p", *(p_value_text(each.p_value) for each in axes)),
    )
    return Table("Medians of the shapes, and preferred orientation, by number.", ("", *pooled), rows)


def _provenance(samples: Mapping[str, Sequence[Measured]], images: Sequence[Measured]) -> Iterator[Block]:
    yield parameters(images)
    yield image_ids(samples)
    yield Text("To measure again, where the same checkpoint is served (images go by the names of their results):")
    yield from (Code(line) for each in samples.values() for line in commands(each))
