"""The command `grainserve stats`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.markup import escape

from grainserve.cli.result_files import ResultFiles, results_in, sample_name
from grainserve.cli.stats_options import Astm, AstmGaps, EdgeCorrection, Percentiles, methods, percents
from grainserve.cli.terminal import console, reported
from grainserve.result import Result
from grainserve.results.size_curve import Weighting
from grainserve.stats.astm.gaps import GAP_PX
from grainserve.stats.sample import Sample
from grainserve.stats.summary import summarise
from grainserve.stats.tables import print_summary


def stats(
    results: ResultFiles,
    *,
    edge_correction: EdgeCorrection = True,
    weighting: Annotated[
        Literal["number", "area", "both"], typer.Option(help="What a grain counts: one, or its area.")
    ] = "both",
    percentiles: Percentiles = None,
    astm: Astm = None,
    astm_gaps: AstmGaps = GAP_PX,
    name: Annotated[str | None, typer.Option(help="Name of the sample; default the names of the results.")] = None,
    resamples: Annotated[int, typer.Option(min=0, help="Of the bootstrap; 0 makes no intervals.")] = 2000,
    level: Annotated[float, typer.Option(min=0.5, max=0.999, help="Of confidence.")] = 0.95,
    seed: Annotated[int, typer.Option(min=0, help="Of the bootstrap: the same seed gives the same intervals.")] = 0,
    out: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write all of it as JSON.")] = None,
) -> None:
    """Say how large the grains of a sample are: percentiles with intervals, classes, orientation, ASTM grain size.

    Several results are pooled as one sample: every figure is one of all their grains, none a mean of images' figures.
    With five images or more, intervals count how images differ as well.
    """
    with reported():
        files = results_in(results)
        images = [path.stem for path in files]
        pooled = [Result.from_json(path) for path in files]
        if repeated := len(pooled) - len({result.image_id for result in pooled}):
            console.print(
                f"[yellow]warning:[/] {repeated} of {len(pooled)} results repeat an image: its grains count twice"
            )
        sample = Sample.of(pooled, name or sample_name(results), images)
        summary = summarise(
            sample,
            edge_correction=edge_correction,
            resamples=resamples,
            level=level,
            seed=seed,
            astm=methods(astm),
            percentiles=percents(percentiles),
            astm_gaps=astm_gaps,
        )
        shown: tuple[Weighting, ...] = ("number", "area") if weighting == "both" else (weighting,)
        if out is not None:
            summary.to_json(out)
        print_summary(summary, shown, console)
        if out is not None:
            console.print(f"all of it is in {escape(str(out))}")


def add_to(app: typer.Typer) -> None:
    """Adds the command."""
    app.command(
        epilog="Examples:\n\n"
        "grainserve stats results/sand_*.json --name 'sand, north' --json sand.json\n\n"
        "grainserve stats results/sand_*.json --percentiles 10,30,50,60\n\n"
        "grainserve stats results/steel.json --no-edge-correction --astm all"
    )(stats)
