"""Commands for operators: dispatch, gateway, exporter, reconcile, keygen."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated

import typer

from grainserve import config
from grainserve.cli.references import Readable
from grainserve.cli.stopping import stop_signals
from grainserve.cli.terminal import reported
from grainserve.dispatch.dispatcher import Dispatcher
from grainserve.errors import InvalidConfiguration
from grainserve.escaping import LineFormatter
from grainserve.gateway.service import AT_ONCE, LOOPBACK, Limits, Service
from grainserve.jobs.histories import mend_histories
from grainserve.jobs.job import LONGEST_LEASE
from grainserve.jobs.pubsub import from_environment
from grainserve.jobs.store import JobStore
from grainserve.jobs.sweep import Sweep
from grainserve.storage import uris
from grainserve.storage.bucket import Bucket
from grainserve.torchserve.inference import TorchServe

log = logging.getLogger("grainserve")

LOOK_EVERY, LOOK_EVERY_WITH_NEWS = 5.0, 300.0
"""Seconds between two listings of `pending/` by an idle dispatcher, without and with Pub/Sub."""

REPORT_EVERY = 60.0
"""Seconds between two log lines of a dispatcher's progress."""

MIB = 2**20

LOG_FORMAT = "%(asctime)s %(levelname)s %(message)s"

Concurrency = Annotated[
    int, typer.Option(min=1, help="Most jobs at once; up to two for each of TorchServe's workers are of use.")
]
Grace = Annotated[
    float,
    typer.Option(min=0, help="Seconds for the jobs in hand to end after SIGTERM; then they go back to the queue."),
]
LeaseSeconds = Annotated[
    float,
    typer.Option(
        "--lease",
        min=1,
        max=LONGEST_LEASE.total_seconds(),
        help="Seconds after which other dispatchers take over the jobs of one that died.",
    ),
]


Host = Annotated[str, typer.Option(help="Address to listen on.")]
MetricsPort = Annotated[
    int | None, typer.Option(min=0, max=65535, help="Port for Prometheus, at --metrics-host; default: no port.")
]


def dispatch(
    concurrency: Concurrency = 4,
    grace: Grace = 25.0,
    lease: LeaseSeconds = 60.0,
    metrics_port: MetricsPort = None,
    metrics_host: Host = "127.0.0.1",
) -> None:
    """Work on the pending jobs of all submitters until SIGTERM or Ctrl-C. Any number of dispatchers may run.

    Each dispatcher claims jobs in the bucket, keeps TorchServe's workers busy and stores the results. It holds no data
    of its own: if it is killed, other dispatchers take over its jobs once their leases have run out. On SIGTERM it
    claims no more jobs and ends those in hand; jobs that take longer than --grace go back to the queue.
    """
    with reported():
        log_to_terminal()
        store = _store(lease)
        torchserve = TorchServe(config.setting(None, config.TORCHSERVE), config.management(None))
        with stop_signals() as stopping:
            dispatcher = _dispatcher(store, torchserve, concurrency)
            if metrics_port is not None:
                _offer_metrics(dispatcher, metrics_host, metrics_port)
            dispatcher.start()
            log.info("%s dispatches jobs of bucket %s to %s", dispatcher.owner, store.bucket.name, torchserve.inference)
            while not stopping.wait(REPORT_EVERY):
                log.info("%s", dispatcher.summary())
            log.info("stopping: %s", dispatcher.summary())
            ended = dispatcher.stop(grace)
        log.info("%s%s", dispatcher.summary(), "" if ended else "; what was in hand is back in the queue")


def gateway(  # noqa: PLR0917 - one for each option
    host: Annotated[
        str, typer.Option(help="Address to listen on; all but loopback need --keys or --no-keys.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on.")] = 8000,
    keys: Annotated[Path | None, typer.Option(metavar="FILE", help="API keys, as `keygen` prints them.")] = None,
    no_keys: Annotated[bool, typer.Option("--no-keys", help="Let anybody who reaches it use it.")] = False,
    dispatchers: Annotated[
        int, typer.Option("--dispatch", min=0, help="Most jobs at once in this process; 0 leaves them to `dispatch`.")
    ] = 2,
    uploads: Annotated[
        int,
        typer.Option(min=1, help="Most uploads at once, each with up to 120 MiB of memory; further ones are refused."),
    ] = AT_ONCE,
    segments: Annotated[
        int,
        typer.Option(
            min=1,
            help="Most requests with prompts at once, each with up to 120 MiB of memory; further ones are refused.",
        ),
    ] = AT_ONCE,
    reads: Annotated[
        int,
        typer.Option(
            min=1, help="Most downloads of images and results at once, each image with up to 2 MiB of memory."
        ),
    ] = Limits.reads,
    read_mib: Annotated[
        int, typer.Option(min=1, metavar="MIB", help="Most MiB of results in downloads at once.")
    ] = Limits.read_bytes // MIB,
    analyses: Annotated[
        int, typer.Option(min=1, help="Most statistics, reports and archives of samples at once.")
    ] = Limits.analyses,
    analysis_grains: Annotated[
        int,
        typer.Option(
            min=1, help="Most grains of one of them, each with 2 KiB of memory; half of it for tables and masks."
        ),
    ] = Limits.grains,
    share: Annotated[
        float,
        typer.Option(
            min=0.01,
            max=1,
            help="Largest part of uploads, prompts, downloads and analyses for one key; without keys, for one address.",
        ),
    ] = Limits.share,
    slowest: Annotated[
        float,
        typer.Option(
            min=0.1, metavar="KIB", help="Lowest speed of an upload or a reader, KiB/s; slower ones are cut off."
        ),
    ] = Limits.slowest / 1024,
    header_timeout: Annotated[
        float, typer.Option(min=0.1, metavar="SECONDS", help="Seconds for the headers of a request to arrive.")
    ] = Limits.header_seconds,
    connections: Annotated[
        int,
        typer.Option(
            min=1, help="Most connections at once; one more closes the one that has waited longest for a request."
        ),
    ] = Limits.connections,
    connections_per_address: Annotated[
        int, typer.Option(min=1, help="Most connections from one address; behind a proxy, set it to --connections.")
    ] = Limits.per_address,
    cors_origin: Annotated[
        list[str] | None,
        typer.Option(metavar="ORIGIN", help="Web origin whose pages may call; may be repeated; default: none."),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Model of new jobs; default GRAINSERVE_MODEL, else sam_tiny.")
    ] = None,
    version: Annotated[str | None, typer.Option(help="Its version; default TorchServe's default version.")] = None,
    variant: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=MODEL",
            help="Model that answers prompts, and the name by which requests ask for it; may be repeated, the default "
            "one first; default GRAINSERVE_VARIANTS, else fast=MODEL-prompt.",
        ),
    ] = None,
    readable: Readable = None,
    grace: Grace = 25.0,
    lease: LeaseSeconds = 60.0,
) -> None:
    """Serve jobs over HTTP, and a page at / to drop images on. Any number of gateways may run behind a load balancer.

    A gateway holds no data of its own: images, jobs and results are in the bucket, so any gateway may be asked. With
    --keys, it refuses requests without a valid key. The limits hold for each gateway by itself.
    """
    with reported():
        try:  # these need an optional extra, and other commands start faster without them
            import uvicorn  # noqa: PLC0415

            from grainserve.gateway import connections as connecting  # noqa: PLC0415
            from grainserve.gateway.app import create_app  # noqa: PLC0415
            from grainserve.gateway.keys import Keys  # noqa: PLC0415
            from grainserve.gateway.logs import hold_back  # noqa: PLC0415
        except ModuleNotFoundError as error:
            raise InvalidConfiguration(f"{error.name} is not installed: pip install 'grainserve[gateway]'") from None
        log_to_terminal()
        hold_back()
        connecting.make_room(connections)
        limits = Limits(
            connections=connections,
            per_address=connections_per_address,
            header_seconds=header_timeout,
            slowest=int(slowest * 1024),
            reads=reads,
            read_bytes=read_mib * MIB,
            analyses=analyses,
            grains=analysis_grains,
            share=share,
        )
        if keys is None and not no_keys and not _is_loopback(host):
            raise InvalidConfiguration(f"{host} can be reached by others: give --keys FILE, or --no-keys for anybody")
        inference = config.setting(None, config.TORCHSERVE)
        if inference == config.NONE and dispatchers:
            raise InvalidConfiguration(f"{config.TORCHSERVE} is {config.NONE!r}: give --dispatch 0 to only take jobs")
        torchserve = None if inference == config.NONE else TorchServe(inference, config.management(None))
        store, automatic = _store(lease), config.setting(model, config.MODEL)
        service = Service(
            store=store,
            torchserve=torchserve,
            model=automatic,
            version=version,
            variants=config.variants(variant or (), automatic),
            keys=Keys.read(keys) if keys else Keys({}),
            dispatcher=_dispatcher(store, torchserve, dispatchers) if torchserve and dispatchers else None,
            uploads=uploads,
            segments=segments,
            grace=grace,
            origins=tuple(cors_origin or ()),
            # A gateway that others can reach does not know the names under which they do.
            hosts=(*LOOPBACK, f"[{host}]" if ":" in host else host) if _is_loopback(host) else None,
            limits=limits,
            needs_torchserve=dispatchers > 0,  # else jobs wait in the bucket, whatever TorchServe does
            readable=uris.Readable.parse(readable, store.bucket.name),
        )
        uvicorn.run(
            create_app(service),
            host=host,
            port=port,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=5,
            **connecting.settings(limits),
        )


def exporter(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on.")] = 9105,
    host: Host = "127.0.0.1",
    every: Annotated[float, typer.Option(min=1, help="Seconds between two looks at TorchServe and the bucket.")] = 10.0,
) -> None:
    """Serve metrics of TorchServe's queues and workers and of unfinished jobs to Prometheus, until SIGTERM or Ctrl-C.

    It reads the management of one TorchServe, unless GRAINSERVE_MANAGEMENT is `none`. Management is usually on
    loopback, so run an exporter beside each TorchServe. It reads the bucket if GRAINSERVE_BUCKET names one; one such
    exporter is enough.
    """
    with reported():
        try:
            from grainserve.monitoring import exporter as exporting  # noqa: PLC0415
        except ModuleNotFoundError as error:
            raise InvalidConfiguration(f"{error.name} is not installed: pip install 'grainserve[gateway]'") from None
        log_to_terminal()
        sources = exporting.from_environment(every)
        with stop_signals() as stopping, exporting.serving(sources, host, port) as address:
            log.info("%s tells of %s", address, " and ".join(source.name for source in sources))
            stopping.wait()


def reconcile(
    create: Annotated[bool, typer.Option("--create", help="First create missing topics and subscriptions.")] = False,
) -> None:
    """Repair the bucket: mark unfinished jobs that lack a marker; delete markers and results that belong to no job.

    It also enters images into their submitters' histories that lack an entry, such as those that were submitted before
    there were histories, and deletes entries of images that are gone.

    With Pub/Sub (GRAINSERVE_PUBSUB) every pending job is announced again, in case its first message was lost.

    Safe at any time: a second message does no harm. Dispatchers also repair all but the histories little by little,
    every few minutes.
    """
    with reported():
        log_to_terminal()
        notifications = from_environment()
        if create:
            if notifications is None:
                raise InvalidConfiguration("GRAINSERVE_PUBSUB is not set: projects/PROJECT/topics/TOPIC")
            notifications.create()
        store = _store()
        sweep = Sweep(store)
        cleared = sweep.clear_markers()
        while not sweep.step():
            pass
        histories = mend_histories(store)
        for count, what in (
            (cleared, "markers without an unfinished job deleted"),
            (sweep.marked, "unfinished jobs without a marker marked"),
            (sweep.dropped, "results without a job that is done deleted"),
        ):
            if count or not notifications:
                typer.echo(f"{count} {what}")
        if histories.made or histories.dropped:
            typer.echo(f"{histories.made} images entered into histories, {histories.dropped} entries of none deleted")
        if notifications:
            typer.echo(f"{notifications.announce_all(store.pending.all())} pending jobs announced")


def keygen(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whose key: lower-case letters, digits, '-' or '_'.")],
    read_only: Annotated[
        bool, typer.Option("--read-only", help="A key that submits, changes and deletes nothing.")
    ] = False,
    submitter: Annotated[
        str | None, typer.Option(metavar="NAME", help="Whose images a key with --read-only reads; default NAME's.")
    ] = None,
) -> None:
    """Make an API key: print a table for the gateway's file to standard output, the key itself to standard error.

    The table holds the key's SHA-256, the requests a minute (twice as many may come at once), and the largest image in
    MiB. Give the key to the caller; it is stored nowhere.
    """
    from grainserve.gateway.keys import make_key  # noqa: PLC0415

    with reported():
        key, entry = make_key(name, read_only=read_only, submitter=submitter)
        typer.echo(entry)
        typer.echo(f"the key, for {name} alone: {key}", err=True)


def _store(lease: float = 60.0) -> JobStore:
    bucket = Bucket(config.setting(None, config.BUCKET))
    return JobStore(bucket, lease=timedelta(seconds=lease), notifications=from_environment())


def _dispatcher(store: JobStore, torchserve: TorchServe, concurrency: int) -> Dispatcher:
    interval = LOOK_EVERY_WITH_NEWS if store.notifications else LOOK_EVERY
    return Dispatcher(store, torchserve, concurrency=concurrency, listing_interval=interval)


def _offer_metrics(dispatcher: Dispatcher, host: str, port: int) -> None:
    try:  # prometheus_client comes with an optional extra
        from grainserve.monitoring import dispatchers as metrics  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise InvalidConfiguration(f"{error.name} is not installed: pip install 'grainserve[gateway]'") from None
    log.info("metrics on port %d of %s", metrics.offer(dispatcher, host, port), host)


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def log_to_terminal() -> None:
    """Logs to standard error, one line an event."""
    handler = logging.StreamHandler()
    handler.setFormatter(LineFormatter(LOG_FORMAT))
    logging.basicConfig(level=logging.INFO, handlers=[handler])


def add_to(app: typer.Typer) -> None:
    """Adds these commands to the command line."""
    examples: dict[Callable[..., None], str] = {
        dispatch: "Example:  grainserve dispatch --concurrency 8",
        gateway: "Example:  grainserve gateway --host 0.0.0.0 --keys keys.toml\n\nThen:  curl -T sand.png -H "
        "'Authorization: Bearer KEY' 'http://127.0.0.1:8000/upload?um_per_px=2.5' -X POST",
        exporter: "Example:  GRAINSERVE_BUCKET=grains grainserve exporter --port 9105",
        reconcile: "Example:  grainserve reconcile --create",
        keygen: "Examples:\n\ngrainserve keygen lab-a >> keys.toml\n\n"
        "grainserve keygen visitor --read-only --submitter lab-a >> keys.toml",
    }
    for command, example in examples.items():
        app.command(epilog=example, rich_help_panel="Running the service")(command)
