"""What Prometheus wants to know and nobody tells it: TorchServe's queues and workers, and the jobs in the bucket.

TorchServe's own metrics have neither queue depth nor workers; its description of each version has. The bucket has
no counters at all: the markers of unfinished jobs are listed, up to a limit, with the time each was made.

Each source is looked at every few seconds in a thread of its own. Scrapes never wait for it: they get the last look, or
nothing of that source and `grainserve_exporter_up` 0 when it failed or is too old.
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
"""Draws which jobs are looked at; its own, so that a caller's `random.seed` and its draws stay as they are."""

COUNTED = 5000
"""Unfinished jobs are counted, and their ages known, up to this: five listing calls."""
SAMPLED = 16
"""Records read to learn in which state unfinished jobs are."""
STATES = ("queued", "delayed", "running", "abandoned", "unreadable")
LOOK_EVERY = 10.0
"""Seconds between two looks at a source."""
TOO_OLD = 4
"""A look that is so many intervals old tells nothing any more: the next one hangs."""

Gauges = Sequence[Metric]


class Source:
    """One server, looked at again and again.

    Args:
        name: for `grainserve_exporter_up`.
        look: asks the server; whatever it raises of ours counts as down.
        every: seconds between two looks.
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
        """Begins to look."""
        self._thread.start()

    def stop(self) -> None:
        """Looks no more; a look that hangs ends with the process."""
        self._stopping.set()

    def latest(self) -> Gauges | None:
        """The last look, or None when it failed or is too old."""
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
            if said and said != self._said:  # once, not every ten seconds of an outage
                log.warning("%s: %s", self.name, said)
            self._said = said
            self._stopping.wait(self._every)


class Exporter(Collector):
    """All sources, as Prometheus' client library collects them."""

    def __init__(self, sources: Iterable[Source]) -> None:
        self._sources = tuple(sources)

    def collect(self) -> Iterable[Metric]:
        """The figures of the sources that answer, and which ones do."""
        up = GaugeMetricFamily(
            "grainserve_exporter_up", "Whether the source answered; if not, its figures are absent.", labels=["source"]
        )
        for source in self._sources:
            latest = source.latest()
            up.add_metric([source.name], float(latest is not None))
            yield from latest or ()
        yield up

    def describe(self) -> Iterable[Metric]:
        """Nothing: what there is depends on who answers."""
        return ()


def from_environment(every: float = LOOK_EVERY) -> list[Source]:
    """The sources that the environment names: TorchServe's management, the bucket, or both.

    Raises:
        InvalidConfiguration: it names neither.
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
    """Looks at the sources and answers Prometheus, within the block; yields the address."""
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
    """Workers and queue of every registered version.

    Raises:
        TorchServeError: management does not answer, or not as it should.
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
    """Unfinished jobs: how many, how old, in which states.

    Args:
        store: whose they are.
        counted: jobs looked at, at most: 1000 a listing call.
        sampled: records read.

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
            return None if job.ended else job.stage(store.now())  # ended since
        except InvalidJob:  # damaged by hand, and nobody works on it
            return "unreadable"
        except ImageNotFound:  # deleted meanwhile
            return None

    with ThreadPoolExecutor(max(1, len(tickets))) as pool:
        return Counter(found for found in pool.map(state, tickets) if found)
