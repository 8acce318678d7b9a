"""An exporter for Prometheus: TorchServe's queues and workers, and the unfinished jobs in the bucket.

TorchServe's own metrics hold neither queue depth nor workers; its management describes both for each model version. The
bucket has no counters: the exporter lists the markers of unfinished jobs, up to a limit, with the time each was made.

A thread per source asks it every few seconds. Scrapes never wait for a source: they get the metrics of the last look.
When that look failed or is too old, they get no metrics of the source and `grainserve_exporter_up` 0.
"""

from __future__ import annotations

import logging
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from grainserve import config
from grainserve.errors import GrainserveError, ImageNotFound, InvalidConfiguration, InvalidJob
from grainserve.jobs.markers import Ticket
from grainserve.jobs.store import JobStore
from grainserve.storage.bucket import Bucket
from grainserve.torchserve.management import Management, Version

log = logging.getLogger(__name__)

CHANCE = random.Random()
"""Draws the sampled jobs. A generator of its own, so that it neither follows nor disturbs a caller's `random.seed`."""

COUNTED = 5000
"""Unfinished jobs are counted, and their ages read, up to this number: five listing calls."""
SAMPLED = 16
"""Job records that are read to estimate the states of unfinished jobs."""
STATES = ("queued", "delayed", "running", "abandoned", "unreadable")
LOOK_EVERY = 10.0
"""Seconds between two looks at a source."""
TOO_OLD = 4
"""Intervals after which a look is too old to show, because the next one hangs."""

Gauges = Sequence[Metric]


class Source:
    """A server that is looked at periodically.

    Args:
        name: label in `grainserve_exporter_up`.
        look: asks the server and returns its metrics. The source is down while it raises.
        every: time between two looks, s.
    """

    def __init__(self, name: str, look: Callable[[], Gauges], every: float = LOOK_EVERY) -> None:
        self.name = name
        self._look = look
        self._every = every
        self._seen: tuple[float, Gauges] | None = None
        self._said = ""
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name=f"grainserve-{name}", daemon=True)

    def start(self) -> None:
        """Starts the thread that looks."""
        self._thread.start()

    def stop(self) -> None:
        """Ends the looking, without waiting for a look that hangs."""
        self._stopping.set()

    def latest(self) -> Gauges | None:
        """Returns the metrics of the last look; None if it failed or is too old."""
        seen = self._seen
        return seen[1] if seen and time.monotonic() - seen[0] < TOO_OLD * self._every else None

    def _watch(self) -> None:
        while not self._stopping.is_set():
            try:
                self._seen, said = (time.monotonic(), self._look()), ""
            except GrainserveError as error:
                self._seen, said = None, str(error)
            except Exception as error:  # a fault of ours must not end the thread
                log.exception("looking at %s failed", self.name)
                self._seen, said = None, type(error).__name__
            if said and said != self._said:  # log an outage once, not every ten seconds
                log.warning("%s: %s", self.name, said)
            self._said = said
            self._stopping.wait(self._every)


class Exporter(Collector):
    """A collector of all sources for Prometheus' client library.

    Args:
        sources: sources to collect from.
    """

    def __init__(self, sources: Iterable[Source]) -> None:
        self._sources = tuple(sources)

    def collect(self) -> Iterable[Metric]:
        """Yields the metrics of the sources that answer, and tells which ones do."""
        up = GaugeMetricFamily(
            "grainserve_exporter_up", "Whether the source answered; if not, its figures are absent.", labels=["source"]
        )
        for source in self._sources:
            latest = source.latest()
            up.add_metric([source.name], float(latest is not None))
            yield from latest or ()
        yield up

    def describe(self) -> Iterable[Metric]:
        """Returns nothing: which metrics there are depends on which sources answer."""
        return ()


def from_environment(every: float = LOOK_EVERY) -> list[Source]:
    """Makes the sources that the environment names: TorchServe's management, the bucket, or both.

    Args:
        every: time between two looks, s.

    Raises:
        InvalidConfiguration: the environment names neither.
    """
    sources: list[Source] = []
    if url := config.management(None):
        management = Management(url, every)
        sources.append(Source("torchserve", lambda: torchserve_gauges(management), every))
    if name := os.environ.get(config.BUCKET):
        store = JobStore(Bucket(name, patience=every))
        sources.append(Source("bucket", lambda: bucket_gauges(store), every))
    if not sources:
        raise InvalidConfiguration("nothing to look at: set GRAINSERVE_BUCKET, or GRAINSERVE_MANAGEMENT, or both")
    return sources


@contextmanager
def serving(sources: Sequence[Source], host: str, port: int) -> Iterator[str]:
    """Looks at the sources and serves Prometheus while the block runs; yields the address.

    Args:
        sources: sources to look at.
        host: address to listen on.
        port: port to listen on; 0: any free one.
    """
    registry = CollectorRegistry()
    registry.register(Exporter(sources))
    for source in sources:
        source.start()
    server, thread = start_http_server(port, host, registry)
    try:
        yield f"http://{host}:{server.server_port}/metrics"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
        for source in sources:
            source.stop()


def torchserve_gauges(management: Management) -> Gauges:
    """Returns the workers and the queue of every registered model version.

    Raises:
        TorchServeError: TorchServe's management does not answer, or its answer cannot be read.
    """
    versions = [each for model in management.models() for each in management.versions(model).values()]

    def gauge(name: str, text: str, value: Callable[[Version], float]) -> Metric:
        family = GaugeMetricFamily(f"grainserve_torchserve_{name}", text, labels=["model", "version"])
        for each in versions:
            family.add_metric([each.model, each.version], value(each))
        return family

    return (
        gauge("workers", "Workers, whatever their state.", lambda each: len(each.workers)),
        gauge("workers_wanted", "Workers that it should have.", lambda each: each.wanted),
        gauge("workers_ready", "Workers that are READY.", lambda each: each.workers_ready),
        gauge("queue_depth", "Requests that wait for a worker.", lambda each: each.waiting),
        gauge("queue_free", "Requests that the queue still takes.", lambda each: each.free),
        gauge("default", "1 for the version that serves requests which name none.", lambda each: float(each.default)),
    )


def bucket_gauges(store: JobStore, counted: int = COUNTED, sampled: int = SAMPLED) -> Gauges:
    """Returns the number, the ages and the states of unfinished jobs.

    Args:
        store: job store.
        counted: most jobs that are counted, 1000 a listing call.
        sampled: most job records that are read for the states.

    Raises:
        StorageError: GCS does not answer.
    """
    markers = store.pending.made(counted)
    now = store.now()
    ages = sorted((now - made).total_seconds() for _, made in markers)
    tickets = [ticket for ticket, _ in markers]
    states = _states(store, CHANCE.sample(tickets, min(sampled, len(tickets))))
    pending = GaugeMetricFamily("grainserve_pending_jobs", f"Unfinished jobs in the bucket, up to {counted}.")
    pending.add_metric([], len(ages))
    age = GaugeMetricFamily(
        "grainserve_pending_age_seconds",
        f"Time since unfinished jobs were submitted, s: the median one's and the oldest one's. Exact up to {counted} "
        f"jobs; of more, those of the {counted} whose names come first.",
        labels=["which"],
    )
    if ages:
        age.add_metric(["median"], ages[len(ages) // 2])
    age.add_metric(["oldest"], ages[-1] if ages else 0.0)
    sample = GaugeMetricFamily(
        "grainserve_pending_sampled_jobs",
        f"States of up to {sampled} unfinished jobs drawn at random: queued; delayed until the next attempt; running; "
        "abandoned by a dispatcher whose lease ran out; or their record is unreadable. Shares, not counts.",
        labels=["state"],
    )
    for state in STATES:
        sample.add_metric([state], states[state])
    return pending, age, sample


def _states(store: JobStore, tickets: Sequence[Ticket]) -> Counter[str]:
    def state(ticket: Ticket) -> str | None:
        try:
            job = store.job(ticket.image_id)
            return None if job.ended else job.stage(store.now())  # it may have ended since the listing
        except InvalidJob:  # the record was damaged by hand, and no dispatcher works on the job
            return "unreadable"
        except ImageNotFound:  # deleted meanwhile
            return None

    with ThreadPoolExecutor(max(1, len(tickets))) as pool:
        return Counter(found for found in pool.map(state, tickets) if found)
