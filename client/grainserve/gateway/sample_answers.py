"""A gateway's answers about samples: statistics, reports and comparisons."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from fastapi import Response

from grainserve.exports.table import CsvDialect
from grainserve.gateway.downloads import disposition
from grainserve.gateway.sample_images import Images, Keep
from grainserve.library.samples import SampleRecord

# Imported where they are used: Matplotlib takes its time, and a gateway that makes no report does without.
if TYPE_CHECKING:
    from grainserve.reports.document import Report
    from grainserve.stats import Summary

PAGE_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; sandbox"
"""Policy of a report that a browser opens: it runs nothing and loads nothing."""


class ReportKind(StrEnum):
    """Kinds of report."""

    HTML = "html"
    PDF = "pdf"


class ComparisonKind(StrEnum):
    """Kinds of comparison."""

    HTML = "html"
    PDF = "pdf"
    JSON = "json"


@dataclass(frozen=True)
class Ways:
    """Choices by which figures and tables are made.

    Attributes:
        edge_correction: whether sizes are corrected for the frame.
        astm: methods of ASTM E112 to add, or `all`.
        csv_dialect: dialect of CSV, a `CsvDialect`.
    """

    edge_correction: bool = True
    astm: tuple[str, ...] = ()
    csv_dialect: str = CsvDialect.EXCEL

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods of ASTM E112."""
        from grainserve.stats.astm import METHODS  # noqa: PLC0415

        return tuple(METHODS) if "all" in self.astm else self.astm

    def keep(self, otherwise: Keep) -> Keep:
        """Returns what is kept of grains: all of them for ASTM E112, which counts on masks."""
        return "all" if self.astm else otherwise


def summary_of(name: str, images: Images, ways: Ways) -> Summary:
    """Returns the statistics of a sample.

    Args:
        name: name of the sample.
        images: its images.
        ways: how figures are made.

    Raises:
        NoResults: no image is measured.
        And the errors of `grainserve.stats.summarise` and `Sample.of`.
    """
    from grainserve.stats import Sample, summarise  # noqa: PLC0415

    pooled = Sample.of([each.result for each in images.measured], name, [each.name for each in images.measured])
    return summarise(pooled, edge_correction=ways.edge_correction, astm=ways.methods)


def statistics(sample: SampleRecord, images: Images, ways: Ways) -> dict[str, Any]:
    """Returns the JSON of `grainserve stats`, with the sample's flags and the images that are left out.

    Args:
        sample: the sample.
        images: its images.
        ways: how figures are made.

    Raises:
        The errors of `summary_of`.
    """
    from grainserve.reports.qc import sample_flags  # noqa: PLC0415

    summary = summary_of(sample.name, images, ways)
    results = [each.result for each in images.measured]
    return summary.to_dict() | {
        "sampleId": sample.sample_id,
        "imageIds": [each.image_id for each in results],
        "leftOut": [
            {"imageId": each.image_id, "name": each.name, "why": each.why, "message": each.message}
            for each in images.left_out
        ],
        "flags": [asdict(each) for each in sample_flags(results, summary, images.flags)],
    }


def report(name: str, images: Images, ways: Ways) -> Report:
    """Returns the report of a sample, or of one image.

    Args:
        name: name of the sample.
        images: its images, with masks.
        ways: how figures are made.

    Raises:
        NoResults: no image is measured.
        And the errors of `grainserve.reports.sample.sample_report`.
    """
    from grainserve.reports.sample import sample_report  # noqa: PLC0415

    return sample_report(
        images.measured,
        title=name,
        edge_correction=ways.edge_correction,
        astm=ways.methods,
        flags=images.flags,
    )


def comparison(samples: Sequence[SampleRecord], images: Sequence[Images], ways: Ways) -> Report:
    """Returns the report that compares samples.

    Args:
        samples: n samples.
        images: images of each.
        ways: how figures are made.

    Raises:
        NoResults: no image of a sample is measured.
        And the errors of `grainserve.reports.compare.comparison`.
    """
    from grainserve.reports import compare  # noqa: PLC0415

    names = _distinct([each.name for each in samples])
    return compare.comparison(
        {name: each.measured for name, each in zip(names, images, strict=True)},
        edge_correction=ways.edge_correction,
        flags={name: each.flags for name, each in zip(names, images, strict=True)},
    )


def rendered(made: Report, name: str, kind: str) -> Response:
    """Returns a report as a file that a browser shows.

    Args:
        made: the report.
        name: name of the file, without its ending.
        kind: a `ReportKind`.
    """
    headers = {"Content-Disposition": disposition(f"{name}.{kind}", shown=True), "Content-Security-Policy": PAGE_POLICY}
    if kind == ReportKind.PDF:
        from grainserve.reports.pdf import to_pdf  # noqa: PLC0415

        return Response(to_pdf(made), media_type="application/pdf", headers=headers)
    from grainserve.reports.html import to_html  # noqa: PLC0415

    return Response(to_html(made), media_type="text/html; charset=utf-8", headers=headers)


def _distinct(names: Sequence[str]) -> list[str]:
    """Numbers the names of samples that are called alike."""
    found: list[str] = []
    for name in names:
        told, number = name, 2
        while told in found:
            told, number = f"{name} ({number})", number + 1
        found.append(told)
    return found
