"""The commands `grainserve models …`: list, change and declare the model versions that TorchServe serves."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from grainserve import config
from grainserve.cli.terminal import console, errors, reported, say_error
from grainserve.errors import GrainserveError, InvalidConfiguration
from grainserve.jobs.store import JobStore
from grainserve.rollout.canary import Limits
from grainserve.rollout.declared import NAME, Declarations, from_yaml, to_yaml
from grainserve.rollout.reconcile import Reconciliation
from grainserve.rollout.swap import Rollout, Trial
from grainserve.rollout.trials import Canaries, Shadow
from grainserve.rollout.versions import Versions
from grainserve.storage.bucket import Bucket
from grainserve.torchserve.inference import TorchServe
from grainserve.torchserve.management import Management

app = typer.Typer(
    no_args_is_help=True,
    help="Model versions that TorchServe serves, changed without losing a request.\n\nThe versions to load are "
    f"declared in {NAME} of the weights bucket, beside the archives: TorchServe itself forgets them at a restart.",
)

ModelName = Annotated[str, typer.Argument(metavar="MODEL", help="TorchServe model, such as sam_vit_h.")]
VersionName = Annotated[str, typer.Argument(metavar="VERSION", help="One of its versions.")]
Mar = Annotated[Path, typer.Argument(metavar="MAR", help="Model archive, from `make mar VERSION=…`.")]
Store = Annotated[
    Path | None,
    typer.Option("--model-store", help="TorchServe's model store; default GRAINSERVE_MODEL_STORE, else model_store."),
]
ReadySeconds = Annotated[float, typer.Option("--ready-within", help="Seconds for a version's workers to load.")]
DrainSeconds = Annotated[
    float,
    typer.Option("--drain-within", min=0, help="Seconds for a version to answer its requests; 0: delete it at once."),
]
TakeOver = Annotated[
    bool,
    typer.Option("--take-over", help="Give up a swap that was begun at another TorchServe and is not running."),
]


@app.command("list", epilog="Example:  grainserve models list")
def list_versions(
    declared: Annotated[bool, typer.Option("--declared", help=f"Show {NAME} instead, the versions to load.")] = False,
) -> None:
    """List models, their versions, ready workers and waiting requests."""
    with reported():
        if declared:
            bucket = Bucket(config.setting(None, config.WEIGHTS_BUCKET))
            print(to_yaml(Declarations(bucket).read()), end="")
            return
        management = _management()
        table = Table("model", "version", "default", "workers ready", "waiting", "archive")
        for model in management.models():
            for each in management.versions(model).values():
                default = "yes" if each.default else ""
                counts = (f"{each.workers_ready} of {max(each.wanted, len(each.workers))}", str(each.waiting))
                table.add_row(each.model, each.version, default, *counts, each.archive)
        console.print(table)


@app.command(epilog="Example:  grainserve models register model_store/sam_tiny-2.0.mar")
def register(
    mar: Mar,
    workers: Annotated[int | None, typer.Option(min=1, help="Workers; default: as in the model config.")] = None,
    model_store: Store = None,
    ready_within: ReadySeconds = 900.0,
) -> None:
    """Load a version beside the others. A model's first version is its default; later ones answer by name."""
    with reported():
        archive = _rollout(model_store, ready=ready_within).register(mar, workers)
        console.print(f"{archive.model} {archive.version} is registered")


@app.command(epilog="Example:  grainserve models scale sam_vit_h 2")
def scale(
    model: ModelName,
    workers: Annotated[int, typer.Argument(min=1, help="Number of workers.")],
    version: Annotated[str | None, typer.Option(help="Model version; default TorchServe's default version.")] = None,
    model_store: Store = None,
    ready_within: ReadySeconds = 900.0,
) -> None:
    """Set the number of a version's workers and wait for them. Each holds a copy of the checkpoint.

    A worker that is removed loses its request; dispatchers send it again.
    """
    with reported():
        changed = _rollout(model_store, ready=ready_within).scale(model, version, workers)
        console.print(f"{model} {changed} has {workers} workers")


@app.command(
    epilog="Example:  grainserve models swap model_store/sam_tiny-2.0.mar --canary sand.png\n\n"
    "New weights, whole:  grainserve weights push new.pth --name sam_tiny-2.pth; name that in config/sam_tiny.yaml; "
    "make mar VERSION=2.0; then swap."
)
def swap(
    mar: Mar,
    *,
    canary: Annotated[
        list[Path] | None, typer.Option(metavar="IMAGE", help="Image that both versions measure; may be repeated.")
    ] = None,
    shadow: Annotated[
        float,
        typer.Option(min=0, max=100, metavar="PERCENT", help="Share of the images in the bucket to measure again."),
    ] = 0.0,
    max_count_change: Annotated[
        float, typer.Option(help="Largest change of the number of grains, as a fraction.")
    ] = Limits.count,
    max_d50_change: Annotated[
        float, typer.Option(help="Largest change of D50 by area, not corrected for the frame, as a fraction.")
    ] = Limits.d50,
    min_agreement: Annotated[float, typer.Option(help="Least agreement of the label maps, 0 to 1.")] = Limits.agreement,
    model_store: Store = None,
    ready_within: ReadySeconds = 900.0,
    drain_within: DrainSeconds = 900.0,
    take_over: TakeOver = False,
) -> None:
    """Switch a model to the version in an archive while it serves, without a lost request.

    The new version is registered, its workers load, it passes the canaries and becomes the default. Then the old
    version answers its last requests and is deleted. A failure before the switch removes the new version and leaves the
    old one as it was. After an interruption, the next call finishes the swap or takes it back.
    """
    with reported():
        limits = Limits(max_count_change, max_d50_change, min_agreement)
        asked = TorchServe(config.setting(None, config.TORCHSERVE), None)
        tried: list[Trial] = []
        if canary:
            tried.append(Canaries(asked, canary, limits, _say))
        if shadow:
            store = JobStore(Bucket(config.setting(None, config.BUCKET)))
            tried.append(Shadow(asked, store, shadow / 100, limits, _say))
        rollout = _rollout(model_store, ready=ready_within, drain=drain_within, trials=tried, take_over=take_over)
        version = rollout.swap(mar)
        console.print(f"version {version} is served")


@app.command(epilog="Example:  grainserve models rollback sam_vit_h")
def rollback(
    model: ModelName,
    model_store: Store = None,
    ready_within: ReadySeconds = 900.0,
    drain_within: DrainSeconds = 900.0,
    take_over: TakeOver = False,
) -> None:
    """Switch a model back to its previous version, without a lost request. The bucket keeps the archive."""
    with reported():
        rollout = _rollout(model_store, ready=ready_within, drain=drain_within, take_over=take_over)
        version = rollout.rollback(model)
        console.print(f"{model} {version} is served again")


@app.command(epilog="Example:  grainserve models remove sam_vit_h 1.0")
def remove(
    model: ModelName,
    version: VersionName,
    *,
    last: Annotated[bool, typer.Option("--last", help="Remove the last version, and the model with it.")] = False,
    model_store: Store = None,
    drain_within: DrainSeconds = 900.0,
) -> None:
    """Take a version out of the declarations, let it answer its requests, and delete it.

    The default version can only be removed as the last one, with --last.

    First stop all clients that ask for the version by name: requests that they send meanwhile get no answer.
    """
    with reported():
        _rollout(model_store, drain=drain_within).remove(model, version, last=last)
        console.print(f"{model} {version} is gone")


@app.command(epilog="Example:  grainserve models apply --watch 30")
def apply(
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help=f"Declare this first; default: {NAME} stays as it is.")
    ] = None,
    watch: Annotated[
        float | None, typer.Option(min=1, metavar="SECONDS", help="Apply again every so many seconds, until stopped.")
    ] = None,
    model_store: Store = None,
    ready_within: ReadySeconds = 900.0,
    drain_within: DrainSeconds = 900.0,
) -> None:
    """Make TorchServe serve the declared versions, as after a restart. Run it with --watch beside every replica.

    Versions that are not declared are left as they are. `grainserve models list --declared` shows the declarations.
    """
    with reported():
        reconciliation = Reconciliation(_rollout(model_store, ready=ready_within, drain=drain_within))
        if file:
            reconciliation.declare(from_yaml(_text(file), str(file)))
        while watch:
            try:
                reconciliation.apply(wait=False)
            except GrainserveError as error:  # TorchServe may be starting; the next look may find it
                say_error(error)
            time.sleep(watch)
        reconciliation.apply()
        console.print("TorchServe serves what is declared")


def _rollout(
    model_store: Path | None,
    *,
    ready: float = 900.0,
    drain: float = 900.0,
    trials: list[Trial] | None = None,
    take_over: bool = False,
) -> Rollout:
    bucket = Bucket(config.setting(None, config.WEIGHTS_BUCKET))
    store = model_store or Path(os.environ.get(config.MODEL_STORE) or "model_store")
    versions = Versions(_management(), store, bucket, _say)
    return Rollout(versions, Declarations(bucket), ready, drain, trials or [], take_over)


def _management() -> Management:
    url = config.management(None)
    if url is None:
        raise InvalidConfiguration("GRAINSERVE_MANAGEMENT is 'none': set it to TorchServe's management address")
    return Management(url)


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidConfiguration(f"{file} cannot be read: {error}") from None


def _say(words: str) -> None:
    errors.print(escape(words), soft_wrap=True)


def add_to(command_line: typer.Typer) -> None:
    """Adds these commands to the command line."""
    command_line.add_typer(app, name="models")
