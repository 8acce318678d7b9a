"""The commands of `grainserve models`."""

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
    help="What TorchServe serves: versions of models, changed without losing a request.\n\nWhat should be loaded is "
    f"declared in {NAME} of the weights bucket, beside the archives; TorchServe itself forgets it at a restart.",
)

ModelName = Annotated[str, typer.Argument(metavar="MODEL", help="TorchServe model, such as sam_vit_h.")]
VersionName = Annotated[str, typer.Argument(metavar="VERSION", help="One of its versions.")]
Mar = Annotated[Path, typer.Argument(metavar="MAR", help="Model archive, from `make mar VERSION=…`.")]
Store = Annotated[
    Path | None,
    typer.Option("--model-store", help="TorchServe's model store; default GRAINSERVE_MODEL_STORE, else model_store."),
]
ReadySeconds = Annotated[float, typer.Option("--ready-within", help="Seconds for the new version's workers to load.")]
DrainSeconds = Annotated[
    float,
    typer.Option("--drain-within", min=0, help="Seconds for a version to answer what it has; 0: it goes at once."),
]
TakeOver = Annotated[
    bool,
    typer.Option("--take-over", help="Give up a swap that was begun at another TorchServe, if nobody is at it."),
]


@app.command("list", epilog="Example:  grainserve models list")
def list_versions(
    declared: Annotated[bool, typer.Option("--declared", help=f"Show {NAME} instead: what should be loaded.")] = False,
) -> None:
    """List models, their versions, workers that are ready and requests that wait."""
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
    workers: Annotated[int | None, typer.Option(min=1, help="Workers; default as its model config says.")] = None,
    model_store: Store = None,
    ready_within: ReadySeconds = 900.0,
) -> None:
    """Load a version beside the others. The first one of a model answers at once; later ones when asked by name."""
    with reported():
        archive = _rollout(model_store, ready=ready_within).register(mar, workers)
        console.print(f"{archive.model} {archive.version} is registered")


@app.command(epilog="Example:  grainserve models scale sam_vit_h 2")
def scale(
    model: ModelName,
    workers: Annotated[int, typer.Argument(min=1, help="How many.")],
    version: Annotated[str | None, typer.Option(help="Of this version; default the default one.")] = None,
    model_store: Store = None,
    ready_within: ReadySeconds = 900.0,
) -> None:
    """Set the number of a version's workers and wait for them. Each holds a copy of the checkpoint.

    Workers that go lose the request they have; dispatchers send it again.
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
        float, typer.Option(min=0, max=100, metavar="PERCENT", help="Share of the images in the bucket measured again.")
    ] = 0.0,
    max_count_change: Annotated[float, typer.Option(help="Of the number of grains, as a fraction.")] = Limits.count,
    max_d50_change: Annotated[float, typer.Option(help="Of D50 by area, as a fraction.")] = Limits.d50,
    min_agreement: Annotated[float, typer.Option(help="Of the label maps, 0 to 1.")] = Limits.agreement,
    model_store: Store = None,
    ready_within: ReadySeconds = 900.0,
    drain_within: DrainSeconds = 900.0,
    take_over: TakeOver = False,
) -> None:
    """Switch a model to the version in an archive while it serves, without a lost request.

    The version is registered, its workers get ready, it passes the canaries, it becomes the default, the old one
    answers what it still has and is deleted. Until the switch any failure leaves the old version as it was and takes
    the new one away. What is interrupted, at any moment, the next call finishes or takes back.
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
    """Switch a model back to the version before, whose archive the bucket keeps, without a lost request."""
    with reported():
        rollout = _rollout(model_store, ready=ready_within, drain=drain_within, take_over=take_over)
        version = rollout.rollback(model)
        console.print(f"{model} {version} is served again")


@app.command(epilog="Example:  grainserve models remove sam_vit_h 1.0")
def remove(
    model: ModelName,
    version: VersionName,
    *,
    last: Annotated[bool, typer.Option("--last", help="The last version, and the model with it.")] = False,
    model_store: Store = None,
    drain_within: DrainSeconds = 900.0,
) -> None:
    """Forget a version and delete it when it has answered what it has. Not the default one, unless it is the last.

    Whoever asks for it by its name must have stopped: what they send while it goes gets no answer.
    """
    with reported():
        _rollout(model_store, drain=drain_within).remove(model, version, last=last)
        console.print(f"{model} {version} is gone")


@app.command(epilog="Example:  grainserve models apply --watch 30")
def apply(
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help=f"Declare this first; default what {NAME} declares.")
    ] = None,
    watch: Annotated[
        float | None, typer.Option(min=1, metavar="SECONDS", help="Again and again, until stopped.")
    ] = None,
    model_store: Store = None,
    ready_within: ReadySeconds = 900.0,
    drain_within: DrainSeconds = 900.0,
) -> None:
    """Make TorchServe serve what is declared, as after a restart, and beside every replica of it (--watch).

    Versions that nobody declared are left as they are. To begin with: `grainserve models list --declared`.
    """
    with reported():
        reconciliation = Reconciliation(_rollout(model_store, ready=ready_within, drain=drain_within))
        if file:
            reconciliation.declare(from_yaml(_text(file), str(file)))
        while watch:
            try:
                reconciliation.apply(wait=False)
            except GrainserveError as error:  # TorchServe is starting, or away: the next look may find it
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
