"""Threads that are started again after a fault: single ones, and each of a dispatcher's."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from operator import attrgetter
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from grainserve.dispatch import messages
from grainserve.dispatch.dispatcher import DEADLINES, JOBS, KINDS, LISTING, NEWS, Dispatcher
from grainserve.dispatch.leases import LEASES
from grainserve.dispatch.supervisor import Supervisor
from grainserve.jobs.job import State
from grainserve.jobs.markers import Ticket
from grainserve.jobs.pubsub import News
from grainserve.jobs.store import JobStore
from grainserve.monitoring import dispatchers as metrics
from grainserve.storage.bucket import Bucket
from grainserve.torchserve.inference import TorchServe
from tests.unit.client.dispatch.test_dispatcher import ended, submit, until
from tests.unit.client.fake_torchserve import FakeTorchServe


class Fault(Exception):
    """An unexpected exception."""


def test_work_that_fails_is_counted_logged_and_started_again(caplog: pytest.LogCaptureFixture) -> None:
    supervisor, over, runs = Supervisor(("digging",), backoff=(0.001, 0.002)), threading.Event(), iter(range(10))

    def work() -> None:
        if next(runs) < 5:
            raise Fault("a stone")

    thread = supervisor.start("digging", work, over)
    thread.join()
    assert supervisor.failures == {"digging": 5}
    assert supervisor.down == {}
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 5
    assert "Fault: a stone" in caplog.text


def test_what_waits_to_start_again_is_down_and_ends_when_it_is_over() -> None:
    supervisor, over = Supervisor(("digging",), backoff=(3600.0, 3600.0)), threading.Event()
    thread = supervisor.start("digging", _fail, over)
    until(lambda: supervisor.down == {"digging": 1})
    over.set()
    thread.join()
    assert (supervisor.down, supervisor.failures) == ({}, {"digging": 1})


def _fail() -> None:
    raise Fault


def test_pauses_double_up_to_the_longest(monkeypatch: pytest.MonkeyPatch) -> None:
    supervisor, over, pauses = Supervisor(("digging",), backoff=(1.0, 5.0)), threading.Event(), list[float]()

    def wait(timeout: float | None = None) -> bool:
        pauses.append(timeout or 0.0)
        return len(pauses) == 5

    monkeypatch.setattr(over, "wait", wait)
    supervisor.start("digging", _fail, over).join()
    assert pauses == [1.0, 2.0, 4.0, 5.0, 5.0]


class Topic:
    """A stand-in for Pub/Sub: it announces published jobs, and records deadlines."""

    def __init__(self) -> None:
        self.waiting: list[News] = []
        self.deadlines: list[tuple[str, float]] = []

    def announce(self, ticket: Ticket) -> None:
        self.waiting.append(News(ticket, ticket.image_id))

    def pull(self, most: int, wait: float) -> list[News]:
        found, self.waiting = self.waiting[:most], self.waiting[most:]
        if not found:
            threading.Event().wait(0.01)
        return found

    def extend(self, news: list[News], seconds: float) -> None:
        self.deadlines += [(each.ack_id, seconds) for each in news]

    def acknowledge(self, news: list[News]) -> None:
        pass


def failing(function: Callable[..., Any], times: int) -> Callable[..., Any]:
    """Returns a function that fails a number of times first."""
    left = iter(range(times))

    def broken(*arguments: Any, **options: Any) -> Any:
        if next(left, None) is not None:
            raise Fault
        return function(*arguments, **options)

    return broken


PLACES: dict[str, tuple[str, str]] = {
    JOBS: ("_capacity", "take"),
    LISTING: ("_store.pending", "some"),
    NEWS: ("_messages", "fetch"),
    DEADLINES: ("_messages", "hold"),
    LEASES: ("_store", "renew"),
}


@pytest.fixture
def talking(bucket_name: str) -> JobStore:
    """Returns a store that publishes jobs to a `Topic`."""
    return JobStore(Bucket(bucket_name), lease=timedelta(seconds=0.3), notifications=Topic())  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", KINDS)
def test_no_thread_of_a_dispatcher_ends_by_a_fault(
    talking: JobStore, torchserve: FakeTorchServe, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(messages, "HOLD_EVERY", 0.05)
    monkeypatch.setattr("grainserve.dispatch.dispatcher.HOLD_EVERY", 0.05)
    dispatcher = Dispatcher(talking, TorchServe(torchserve.url, None), listing_interval=0.05, backoff=(0.01, 0.02))
    dispatcher.supervisor._backoff = (0.01, 0.02)
    place, name = PLACES[kind]
    part = attrgetter(place)(dispatcher)
    works = threading.Event()

    def at_work(*arguments: Any, **options: Any) -> Any:
        works.set()
        return real(*arguments, **options)

    real = getattr(part, name)
    monkeypatch.setattr(part, name, failing(at_work, 3))
    if kind == LEASES:
        torchserve.before_answer = lambda: until(works.is_set)
    with dispatcher:
        image_id = submit(talking)
        until(lambda: ended(talking, image_id) and works.is_set())
        assert dispatcher.supervisor.failures[kind] == 3
    job = talking.job(image_id)
    assert (job.state, job.attempts) == (State.DONE, 1)


def test_a_fault_on_one_job_is_counted_and_holds_up_no_other(
    store: JobStore, torchserve: FakeTorchServe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "image", failing(store.image, 1))
    dispatcher = Dispatcher(store, TorchServe(torchserve.url, None), concurrency=1, listing_interval=0.05)
    with dispatcher:
        ids = [submit(store) for _ in range(3)]
        until(lambda: sum(store.job(image_id).state is State.DONE for image_id in ids) == 2)
        assert dispatcher.supervisor.failures[JOBS] == 1
        assert "1 faults of the dispatcher's own" in dispatcher.summary()


def test_the_metrics_know_of_failures_and_of_what_is_down(store: JobStore, torchserve: FakeTorchServe) -> None:
    dispatcher = Dispatcher(store, TorchServe(torchserve.url, None))
    registry = CollectorRegistry()
    metrics.measure(dispatcher, registry)
    over = threading.Event()
    dispatcher.supervisor._backoff = (3600.0, 3600.0)
    thread = dispatcher.supervisor.start(LISTING, _fail, over)
    until(lambda: bool(dispatcher.supervisor.down))
    text = generate_latest(registry).decode()
    assert f'grainserve_thread_failures{{thread="{LISTING}"}} 1.0' in text
    assert f'grainserve_threads_down{{thread="{LISTING}"}} 1.0' in text
    assert f'grainserve_threads_down{{thread="{JOBS}"}} 0.0' in text
    over.set()
    thread.join()


class SlowTopic(Topic):
    """A topic that answers a pull when told to."""

    def __init__(self) -> None:
        super().__init__()
        self.pulled, self.go_on = threading.Event(), threading.Event()

    def pull(self, most: int, wait: float) -> list[News]:
        self.pulled.set()
        self.go_on.wait()
        return super().pull(most, wait)


@pytest.fixture
def slow(bucket_name: str) -> Iterator[tuple[JobStore, SlowTopic]]:
    topic = SlowTopic()
    yield JobStore(Bucket(bucket_name), notifications=topic), topic  # type: ignore[arg-type]
    topic.go_on.set()


def test_a_pull_that_returns_after_stop_gives_its_messages_back(
    slow: tuple[JobStore, SlowTopic], torchserve: FakeTorchServe, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, topic = slow
    dispatcher = Dispatcher(store, TorchServe(torchserve.url, None), listing_interval=3600)
    monkeypatch.setattr(store.pending, "some", lambda count: iter(()))
    dispatcher.start()
    topic.pulled.wait()
    ids = [submit(store) for _ in range(3)]
    let_go, closed = dispatcher._messages.let_go, threading.Event()  # type: ignore[union-attr]

    def close() -> None:
        let_go()
        closed.set()
        topic.go_on.set()  # the pull returns when nothing is held any more

    monkeypatch.setattr(dispatcher._messages, "let_go", close)
    dispatcher.stop(timeout=0.0)
    assert closed.is_set()
    assert topic.deadlines == [(image_id, 0) for image_id in ids]
    assert all(store.job(image_id).attempts == 0 for image_id in ids)


def test_an_extension_on_its_way_does_not_take_back_what_was_given_back(
    store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = Topic()
    carrying = messages.Messages(topic, store, _NoQueue())  # type: ignore[arg-type]
    topic.announce(Ticket("lab", "a"))
    carrying.fetch()
    begun, go_on, real = threading.Event(), threading.Event(), topic.extend

    def slowly(news: list[News], seconds: float) -> None:
        if seconds:
            begun.set()
            go_on.wait(1.0)  # without a limit, the test would deadlock if the other side has to wait
        real(news, seconds)

    monkeypatch.setattr(topic, "extend", slowly)
    holding = threading.Thread(target=carrying.hold)
    holding.start()
    begun.wait()
    carrying.let_go()
    holding.join()
    assert topic.deadlines[-1] == ("a", 0)


class _NoQueue:
    def put(self, ticket: Ticket) -> bool:
        return True
