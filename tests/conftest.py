"""The servers of a test run: each starts once, when the first test needs it, on free ports in a temporary folder."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator

import pytest
from hypothesis import settings

from grain_handler.errors import PackageError
from grain_handler.sam import compiled
from grainserve import local_service
from grainserve.gateway.logs import Seldom
from tools import ports
from tools.emulator import Emulator
from tools.stack import Ports, Stack

# A thread of google-cloud-storage would outlive its test, and hypothesis would report its random numbers as a fault.
os.environ.setdefault("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")

# Property tests get the same examples in every `make test`; `make test-random` draws others and prints their seed.
# `make test` takes fewer of them. Examples have no deadline: on a busy machine any may take long.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.register_profile("quick", derandomize=True, deadline=None, max_examples=25)
settings.register_profile("random", derandomize=False, print_blob=True, deadline=None, max_examples=50)
settings.load_profile("repeatable")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Groups the tests for `make test`, which distributes them over two processes.

    A file's tests stay together, since they share fixtures. Tests that use the stack go to one process, since there is
    one stack. They come first, since they take longest; then come tests that start servers, train or measure, so that
    no process has a long test left at the end.
    """
    quick = ("tests/unit/client", "tests/unit/gateway", "tests/unit/handler", "tests/unit/deploy", "tests/unit/test_")

    def place(item: pytest.Item) -> int:
        if "stack" in getattr(item, "fixturenames", ()):
            return 0
        return 2 if item.nodeid.startswith(quick) else 1

    for item in items:
        item.add_marker(pytest.mark.xdist_group(str(item.path) if place(item) else "stack"))
    items.sort(key=place)


@pytest.fixture(autouse=True)
def _no_service_of_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Hides a `make serve` that runs on this machine from commands under test."""
    monkeypatch.setattr(local_service, "path", lambda: tmp_path_factory.getbasetemp() / "none" / "serve.json")


@pytest.fixture(autouse=True)
def _no_dispatcher_outlives_its_test() -> Iterator[None]:
    """Fails a test whose dispatcher runs on: it would take later tests' jobs and draw random numbers."""
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        if thread.name == "grainserve-looking-for-jobs":
            thread.join(10)
            assert not thread.is_alive(), "this test left a client or a dispatcher open"


@pytest.fixture(autouse=True)
def _no_log_filter_outlives_its_test() -> Iterator[None]:
    """Removes log filters after a test: a gateway command in this process also filters pytest's own handlers."""
    yield
    for handler in logging.getLogger().handlers:
        for each in [each for each in handler.filters if isinstance(each, Seldom)]:
            handler.removeFilter(each)


@pytest.fixture(scope="session")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """A GCS emulator without buckets; tests make their own."""
    folder = tmp_path_factory.mktemp("emulator")
    with Emulator(folder / "gcs", port=ports.choose_free(1)[0], log=folder / "gcs.log") as running:
        yield running


@pytest.fixture(scope="session")
def compiler() -> str:
    """The C++ compiler that packages need; tests that need it are skipped without it."""
    try:
        return compiled.compiler()
    except PackageError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def stack(emulator: Emulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """TorchServe with sam_tiny 1.0 and sam_tiny-prompt 1.0, their checkpoint in that emulator."""
    folder = tmp_path_factory.mktemp("stack")
    store, ports = folder / "model_store", Ports.choose_free()
    with Stack(folder, model_store=store, ports=ports, emulator=emulator, prompts=True) as running:
        yield running


@pytest.fixture
def environment(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The stack's environment variables, set for this test."""
    for name, value in stack.environment.items():
        monkeypatch.setenv(name, value)
    return stack.environment
