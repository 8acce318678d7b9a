"""The command `grainserve stats`: prints grain-size statistics of a sample."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.markup import escape

from grainserve.cli.result_files import ResultFiles, results_in, sample_name
from grainserve.cli.stats_options import Astm, EdgeCorrection, Percentiles, methods, percents
from grainserve.cli.terminal import console, reported
from grainserve.result import Result
from grainserve.results.size_curve import Weighting
from grainserve.stats.sample import Sample
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
    name: Annotated[str | None, typer.Option(help="Name of the sample; default the names of the results.")] = None,
    resamples: Annotated[int, typer.Option(min=0, help="Resamples of the bootstrap; 0: no intervals.")] = 2000,
    level: Annotated[float, typer.Option(min=0.5, max=0.999, help="Confidence level of the intervals.")] = 0.95,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the bootstrap; the same seed, the same intervals.")] = 0,
    out: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Also write all statistics as JSON.")
    ] = None,
) -> None:
    """Print how large the grains of a sample are: percentiles with intervals, classes, orientation, ASTM grain size.

    Several results are pooled as one sample: every figure is taken over all their grains, not averaged over images.
    With five images or more, the intervals also cover how images differ.
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
        )
        shown: tuple[Weighting, ...] = ("number", "area") if weighting == "both" else (weighting,)
        if out is not None:
            summary.to_json(out)
        print_summary(summary, shown, console)
        if out is not None:
            console.print(f"all of it is in {escape(str(out))}")


def add_to(app: typer.Typer) -> None:
    """Adds this command to the command line."""
    app.command(
        epilog="Examples:\n\n"
        "grainserve stats results/sand_*.json --name 'sand, north' --json sand.json\n\n"
        "grainserve stats results/sand_*.json --percentiles 10,30,50,60\n\n"
        "grainserve stats results/steel.json --no-edge-correction --astm all"
    )(stats)
