"""The command line: `grainserve --help`."""

from __future__ import annotations

from typing import Annotated, ClassVar

import typer

from grainserve import config
from grainserve.cli.lazy import LazyGroup, Listed
from grainserve.cli.settings import LOCAL, settled
from grainserve.cli.terminal import readable_anywhere

_SERVICE = "Running the service"


class Commands(LazyGroup):
    """Every command, in the order of the help."""

    listed: ClassVar[dict[str, Listed]] = {
        "export": Listed(
            "grainserve.cli.export",
            "Write results as files for other programs; docs/exports.md says which program reads which format.",
        ),
        "scale": Listed(
            "grainserve.cli.scale",
            "Print the size of the pixels of images and where it comes from: µm per px, source, image. "
            "Needs no server.",
        ),
        "segment": Listed(
            "grainserve.cli.segment",
            "Measure the objects that you point at, and draw them. Asks TorchServe directly; nothing is stored.",
        ),
        "stats": Listed(
            "grainserve.cli.stats",
            "Print how large the grains of a sample are: percentiles with intervals, classes, orientation, "
            "ASTM grain size.",
        ),
        "report": Listed(
            "grainserve.cli.report",
            "Write the report of a sample: grains coloured by size, size curves, shapes, tables with intervals, "
            "quality flags.",
        ),
        "compare": Listed(
            "grainserve.cli.report",
            "Compare samples: their size curves in one plot, and tables with a column for each sample.",
        ),
        "submit": Listed(
            "grainserve.cli.measure",
            "Store images and their jobs; print one image id a line. Does not wait and works on no jobs itself.",
        ),
        "poll": Listed(
            "grainserve.cli.measure",
            "Print a job's result, or its state if it is not done. Works on no jobs itself.",
        ),
        "wait": Listed(
            "grainserve.cli.measure",
            "Wait for a result and print it. Works on pending jobs meanwhile.",
        ),
        "analyze": Listed(
            "grainserve.cli.measure",
            "Measure images: submit, wait, print a table, write files.",
        ),
        "weights": Listed(
            "grainserve.cli.weights",
            "Checkpoints in the weights bucket.",
        ),
        "models": Listed(
            "grainserve.cli.models",
            "Model versions that TorchServe serves, changed without losing a request.",
        ),
        "classifier": Listed(
            "grainserve.cli.classifier",
            "Classifiers of grains (which mineral, which phase), learnt from tables in which you fill in the classes.",
        ),
        "jobs": Listed(
            "grainserve.cli.jobs",
            "List unfinished jobs, the oldest first: image id, state, age, attempts begun, submitter, and the last "
            "problem.",
        ),
        "images": Listed(
            "grainserve.cli.images",
            "List images, the newest first: image id, state, age, grains, scale, name and tags, as the page does.",
        ),
        "dispatch": Listed(
            "grainserve.cli.operations",
            "Work on the pending jobs of all submitters until SIGTERM or Ctrl-C. Any number of dispatchers may run.",
            _SERVICE,
        ),
        "gateway": Listed(
            "grainserve.cli.operations",
            "Serve jobs over HTTP, and a page at / to drop images on. Any number of gateways may run behind a load "
            "balancer.",
            _SERVICE,
        ),
        "exporter": Listed(
            "grainserve.cli.operations",
            "Serve metrics of TorchServe's queues and workers and of unfinished jobs to Prometheus, until SIGTERM or "
            "Ctrl-C.",
            _SERVICE,
        ),
        "reconcile": Listed(
            "grainserve.cli.operations",
            "Repair the bucket: mark unfinished jobs that lack a marker; delete markers and results that belong to no "
            "job.",
            _SERVICE,
        ),
        "keygen": Listed(
            "grainserve.cli.operations",
            "Make an API key: print a table for the gateway's file to standard output, the key itself to standard "
            "error.",
            _SERVICE,
        ),
    }


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Measures the grains in microscope images with Segment Anything on TorchServe.\n\n"
    "Addresses come from the options below, else from the environment: GRAINSERVE_TORCHSERVE, GRAINSERVE_MANAGEMENT, "
    "GRAINSERVE_BUCKET, GRAINSERVE_WEIGHTS_BUCKET, GRAINSERVE_MODEL, and STORAGE_EMULATOR_HOST for an emulator of GCS. "
    "Where no bucket and no address is set, commands use the service that `make serve` runs on this machine.",
    epilog="Start with:  grainserve analyze sand.png --out results --um-per-px 2.5",
)


@app.callback()
def _application(
    ctx: typer.Context,
    *,
    bucket: Annotated[
        str | None, typer.Option(metavar="NAME", help="Bucket of images, jobs and results; default GRAINSERVE_BUCKET.")
    ] = None,
    torchserve: Annotated[
        str | None, typer.Option(metavar="URL", help="TorchServe's inference; default GRAINSERVE_TORCHSERVE.")
    ] = None,
    management: Annotated[
        str | None, typer.Option(metavar="URL", help="TorchServe's management; default GRAINSERVE_MANAGEMENT.")
    ] = None,
    model: Annotated[str | None, typer.Option(metavar="NAME", help="Model; default GRAINSERVE_MODEL.")] = None,
) -> None:
    options = {config.BUCKET: bucket, config.TORCHSERVE: torchserve, config.MANAGEMENT: management, config.MODEL: model}
    wants_help = not set(ctx.help_option_names).isdisjoint(ctx.obj or ())
    ctx.with_resource(settled(options, local=ctx.invoked_subcommand in LOCAL and not wants_help))


def main() -> None:
    """Runs the command line."""
    readable_anywhere()
    app(prog_name="grainserve")
