"""Commands of those who run the service, beside those of `cli.py` for those who use it."""

from __future__ import annotations

import logging
import signal
import threading
from datetime import timedelta
from typing import Annotated

import typer

from grainserve import config
from grainserve.dispatcher import Dispatcher
from grainserve.protocol import JobStore
from grainserve.storage import Bucket
from grainserve.terminal import reported
from grainserve.torchserve import TorchServe

log = logging.getLogger("grainserve")

REPORT_EVERY = 60.0
"""Seconds between two lines of a dispatcher that say how far it is."""

Concurrency = Annotated[
    int, typer.Option(min=1, help="Jobs at once at most; two for each of TorchServe's workers are of use.")
]
Grace = Annotated[
    float, typer.Option(min=0, help="Seconds the jobs in hand may take to end after SIGTERM; then they go back.")
]
LeaseSeconds = Annotated[
    float, typer.Option("--lease", min=1, help="Seconds after which the jobs of a dispatcher that died are taken over.")
]


def dispatch(concurrency: Concurrency = 4, grace: Grace = 25.0, lease: LeaseSeconds = 60.0) -> None:
    """Work on pending jobs, whoever submitted them, until SIGTERM or Ctrl-C. Any number of these may run.

    Each claims jobs in the bucket, keeps TorchServe's workers busy and stores the results. It keeps nothing itself:
    killed at any moment, its jobs are taken over by the others when their leases have run out. On SIGTERM it claims
    nothing more and ends what it has in hand; what takes longer than --grace goes back into the queue at once.
    """
    with reported():
        log_to_terminal()
        store = JobStore(Bucket(config.setting(None, config.BUCKET)), lease=timedelta(seconds=lease))
        management = config.management(None)
        torchserve = TorchServe(config.setting(None, config.TORCHSERVE), management, connections=concurrency)
        with stop_signals() as stopping:
            dispatcher = Dispatcher(store, torchserve, concurrency=concurrency).start()
            log.info("%s dispatches jobs of bucket %s to %s", dispatcher.owner, store.bucket.name, torchserve.inference)
            while not stopping.wait(REPORT_EVERY):
                log.info("%s", dispatcher.summary())
            log.info("stopping: %s", dispatcher.summary())
            ended = dispatcher.stop(grace)
        log.info("%s%s", dispatcher.summary(), "" if ended else "; what was in hand is back in the queue")


def log_to_terminal() -> None:
    """One line an event, to standard error."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")


class stop_signals:  # noqa: N801 - reads as a verb where it is used
    """Turns SIGTERM and Ctrl-C into an event; a second one ends the process as it would have without this."""

    def __enter__(self) -> threading.Event:
        self._event = threading.Event()
        self._before = {number: signal.signal(number, self._hear) for number in (signal.SIGTERM, signal.SIGINT)}
        return self._event

    def __exit__(self, *_: object) -> None:
        self._restore()

    def _hear(self, *_: object) -> None:
        self._event.set()
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


def add_to(app: typer.Typer) -> None:
    """Adds these commands to the command line."""
    app.command(epilog="Example:  grainserve dispatch --concurrency 8", rich_help_panel="Running the service")(dispatch)
