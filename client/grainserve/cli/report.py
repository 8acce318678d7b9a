"""The commands `grainserve report` and `grainserve compare`."""

from __future__ import annotations

from collections.abc import Sequence
from glob import glob
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from grainserve.cli.result_files import ResultFiles, name_of, results_in, sample_name
from grainserve.cli.stats_options import (
    Astm,
    AstmGaps,
    EdgeCorrection,
    OutlineError,
    Percentiles,
    ScaleError,
    methods,
    percents,
    share,
)  # fmt: skip
from grainserve.cli.terminal import console, reported
from grainserve.errors import InvalidConfiguration
from grainserve.reports.document import Report
from grainserve.reports.sources import with_pictures, without_pictures
from grainserve.stats.astm.gaps import GAP_PX

Out = Annotated[Path, typer.Option(help="File to write: .html, self-contained, or .pdf.")]


def report(
    results: ResultFiles,
    *,
    out: Out = Path("report.html"),
    title: Annotated[str | None, typer.Option(help="Name of the sample; default the names of the results.")] = None,
    image: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Image of the result, if there is only one.")
    ] = None,
    images: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Folder of the images: NAME.png, NAME.jpg, … for NAME.json.")
    ] = None,
    edge_correction: EdgeCorrection = True,
    percentiles: Percentiles = None,
    astm: Astm = None,
    astm_gaps: AstmGaps = GAP_PX,
    scale_error: ScaleError = None,
    outline_error: OutlineError = 0.0,
) -> None:
    """Write the report of a sample: grains coloured by size, size curves, shapes, tables with intervals, quality flags.

    Several results are pooled as images of one sample. Without --image or --images, the images come from the bucket
    that GRAINSERVE_BUCKET names. Without that bucket, the report shows the grains alone and says so.
    """
    with reported():
        from grainserve.reports.sample import sample_report  # noqa: PLC0415 - matplotlib takes its time

        kind = _kind(out)
        made = sample_report(
            with_pictures(results_in(results), image=image, folder=images),
            title=title or sample_name(results),
            edge_correction=edge_correction,
            astm=methods(astm),
            astm_gaps=astm_gaps,
            percentiles=percents(percentiles),
            scale_error=share(scale_error),
            outline_error=outline_error,
        )
        _write(made, out, kind)


def compare(
    results: Annotated[
        list[Path] | None, typer.Argument(metavar="RESULT", help="Samples: each a result, or a folder of results.")
    ] = None,
    *,
    sample: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=GLOB",
            help="Sample of all results that match, such as 'Dune=results/dune*.json'; may be repeated.",
        ),
    ] = None,
    out: Out = Path("comparison.html"),
    title: Annotated[str, typer.Option(help="Title of the page.")] = "Comparison of samples",
    edge_correction: EdgeCorrection = True,
) -> None:
    """Compare samples: their size curves in one plot, and tables with a column for each sample.

    A RESULT is a sample of one image; a folder is a sample of all results in it.
    """
    with reported():
        from grainserve.reports.compare import comparison  # noqa: PLC0415

        kind = _kind(out)
        sets = [(name_of(path), [path]) for path in results or []] + [_matched(each) for each in sample or []]
        _check_names([name for name, _ in sets])
        samples = {name: without_pictures(results_in(paths)) for name, paths in sets}
        _write(comparison(samples, title=title, edge_correction=edge_correction), out, kind)


def _kind(out: Path) -> str:
    """Returns the kind of report by the file's ending.

    Raises:
        InvalidConfiguration: the ending is neither .html nor .pdf.
    """
    kind = out.suffix.lower()
    if kind not in {".html", ".pdf"}:
        raise InvalidConfiguration(f"--out {out} is neither .html nor .pdf: name the file with one of them")
    return kind


def _matched(sample: str) -> tuple[str, list[Path]]:
    """Splits NAME=GLOB; returns the name and the files that match.

    Raises:
        InvalidConfiguration: the text has another form, or no file matches.
    """
    name, _, pattern = sample.partition("=")
    if not name or not pattern:
        raise InvalidConfiguration(f"--sample {sample!r} is not NAME=GLOB, as 'Dune=results/dune*.json'")
    found = sorted(map(Path, glob(pattern)))  # noqa: PTH207 - the pattern may be absolute
    if not found:
        raise InvalidConfiguration(f"--sample {name}: no file matches {pattern}")
    return name, found


def _check_names(names: Sequence[str]) -> None:
    if len(names) < 2:
        raise InvalidConfiguration("compare needs two samples or more: give results, folders or --sample NAME=GLOB")
    if repeated := {name for name in names if names.count(name) > 1}:
        raise InvalidConfiguration(f"several samples are called {', '.join(repeated)}: name them, --sample NAME=GLOB")


def _write(made: Report, out: Path, kind: str) -> None:
    if kind == ".html":
        from grainserve.reports.html import to_html  # noqa: PLC0415

        out.write_text(to_html(made), encoding="utf-8")
    else:
        from grainserve.reports.pdf import to_pdf  # noqa: PLC0415

        out.write_bytes(to_pdf(made))
    console.print(escape(str(out)))


def add_to(app: typer.Typer) -> None:
    """Adds these commands to the command line."""
    app.command(
        epilog="Examples:\n\n"
        "grainserve report results/sand.json --image sand.png --out sand.html\n\n"
        "grainserve report results/dune*.json --images scans --title Dune --out dune.pdf"
    )(report)
    app.command(
        epilog="Examples:\n\n"
        "grainserve compare beach dune river --out sands.html\n\n"
        "grainserve compare --sample 'Beach=results/b*.json' --sample 'Dune=results/d*.json'"
    )(compare)
