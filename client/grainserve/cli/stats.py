"""The command `grainserve stats`: prints grain-size statistics of a sample."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.markup import escape

from grainserve.cli.result_files import ResultFiles, results_in, sample_name
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
    spacing,
)  # fmt: skip
from grainserve.cli.terminal import console, reported
from grainserve.errors import InvalidOption
from grainserve.exports.workbook import check_library, write_workbook
from grainserve.result import Result
from grainserve.results.size_curve import Weighting
from grainserve.stats.astm.gaps import GAP_PX
from grainserve.stats.grid import on_grid
from grainserve.stats.piezometers import PIEZOMETERS
from grainserve.stats.sample import Sample, Size
from grainserve.stats.summary import summarise
from grainserve.stats.tables import print_summary


def stats(
    results: ResultFiles,
    *,
    edge_correction: EdgeCorrection = True,
    weighting: Annotated[
        Literal["number", "area", "both"], typer.Option(help="Weight of a grain: 1 (number), or its area.")
    ] = "both",
    percentiles: Percentiles = None,
    astm: Astm = None,
    astm_gaps: AstmGaps = GAP_PX,
    size: Annotated[
        Size, typer.Option(help="What a grain's size is: its equivalent diameter, or its ellipse's minor axis.")
    ] = "diameter",
    grid: Annotated[
        str | None,
        typer.Option(
            metavar="SPACING|auto",
            help="Count only the grains under the nodes of a grid (Wolman), this far apart, in µm where there is a "
            "scale; auto takes a twelfth of the image's width.",
        ),
    ] = None,
    gradistat: Annotated[
        bool, typer.Option("--gradistat", help="Add moments, modes, size classes and textural group as GRADISTAT does.")
    ] = False,
    unfold: Annotated[
        int | None,
        typer.Option(
            metavar="BINS", min=2, help="Add the sizes of grains from those of sections (Saltykov, two-step)."
        ),
    ] = None,
    piezometer: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MINERAL:NAME",
            help=f"Add the differential stress of recrystallised grains: {', '.join(PIEZOMETERS)}. May be repeated.",
        ),
    ] = None,
    scale_error: ScaleError = None,
    outline_error: OutlineError = 0.0,
    name: Annotated[str | None, typer.Option(help="Name of the sample; default the names of the results.")] = None,
    resamples: Annotated[int, typer.Option(min=0, help="Resamples of the bootstrap; 0: no intervals.")] = 2000,
    level: Annotated[float, typer.Option(min=0.5, max=0.999, help="Confidence level of the intervals.")] = 0.95,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the bootstrap; the same seed, the same intervals.")] = 0,
    json: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Also write all statistics as JSON.")
    ] = None,
    to: Annotated[
        Literal["xlsx"] | None, typer.Option("--to", help="Write grains and statistics as a workbook, at --out.")
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="The workbook's file.")] = None,
) -> None:
    """Print how large the grains of a sample are: percentiles with intervals, classes, orientation, ASTM grain size.

    Several results are pooled as one sample: every figure is taken over all their grains, not averaged over images.
    With five images or more, the intervals also cover how images differ.
    """
    with reported():
        if (to is None) != (out is None):
            raise InvalidOption("--to and --out go together: --to xlsx --out FILE")
        if out is not None:
            check_library()
        files = results_in(results)
        images = [path.stem for path in files]
        pooled = [Result.from_json(path) for path in files]
        if repeated := len(pooled) - len({result.image_id for result in pooled}):
            console.print(
                f"[yellow]warning:[/] {repeated} of {len(pooled)} results repeat an image: its grains count twice"
            )
        sample = Sample.of(pooled, name or sample_name(results), images, size)
        if grid is not None:
            sample = on_grid(sample, spacing(grid))
        summary = summarise(
            sample,
            edge_correction=edge_correction,
            resamples=resamples,
            level=level,
            seed=seed,
            astm=methods(astm),
            percentiles=percents(percentiles),
            piezometers=piezometer or (),
            unfold=unfold,
            astm_gaps=astm_gaps,
            scale_error=share(scale_error),
            outline_error=outline_error,
        )
        both: tuple[Weighting, ...] = ("number",) if sample.grid else ("number", "area")
        shown = both if weighting == "both" else (weighting,)
        if json is not None:
            summary.to_json(json)
        if out is not None:
            write_workbook(summary, pooled, images, out)
        print_summary(summary, shown, console, gradistat=gradistat)
        for written in filter(None, (json, out)):
            console.print(f"all of it is in {escape(str(written))}")


def add_to(app: typer.Typer) -> None:
    """Adds this command to the command line."""
    app.command(
        epilog="Examples:\n\n"
        "grainserve stats results/sand_*.json --name 'sand, north' --json sand.json\n\n"
        "grainserve stats results/sand_*.json --percentiles 10,30,50,60\n\n"
        "grainserve stats results/sand_*.json --weighting area --gradistat\n\n"
        "grainserve stats results/sand_*.json --size b-axis --grid auto\n\n"
        "grainserve stats results/sand_*.json --to xlsx --out sand.xlsx\n\n"
        "grainserve stats results/sand_*.json --scale-error 2% --outline-error 0.5\n\n"
        "grainserve stats results/rock.json --unfold 12 --piezometer quartz:Holyoke --piezometer quartz:Cross\n\n"
        "grainserve stats results/steel.json --no-edge-correction --astm all"
    )(stats)
