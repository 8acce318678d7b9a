"""The two halves of a swap at one TorchServe: a version is brought up, and another is drained and taken away."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from grainserve.errors import GrainserveError, InvalidConfiguration
from grainserve.management import Management, ManagementRefused, Version
from grainserve.rollout import archives
from grainserve.rollout.archives import Archive
from grainserve.storage import Bucket

Say = Callable[[str], None]

LOOK_EVERY = 0.2
DEATHS = 2
"""Workers of a version that end before one was ready: it is broken. TorchServe would try for five minutes."""
SETTLE = 0.5
"""Seconds after a new default is set in which requests may still be on their way into the old one's queue."""


class NotReady(GrainserveError):
    """A version has no workers in time, or they keep ending."""

    code = "not_ready"


class NotDrained(GrainserveError):
    """A version still has requests after the time given."""

    code = "not_drained"


class Versions:
    """What is loaded at one TorchServe, and its changes.

    Args:
        management: its management API.
        model_store: the folder it registers archives from.
        bucket: where archives are kept.
        say: takes words of progress.
    """

    def __init__(self, management: Management, model_store: Path, bucket: Bucket, say: Say) -> None:
        self.management = management
        self.model_store = model_store
        self.bucket = bucket
        self.say = say

    def bring_up(self, archive: Archive, workers: int | None, seconds: float) -> Version:
        """Registers an archive, unless it is registered already, and waits for its workers.

        Raises:
            InvalidConfiguration: the version is registered with another archive.
            NotReady: it does not load.
            ArchiveChanged, ManagementRefused: as what it calls.
        """
        model, version = archive.model, archive.version
        there = self.management.version(model, version)
        if there and not self._is_of(there, archive):
            raise InvalidConfiguration(
                f"{model} {version} is registered with another archive, {there.archive}: give the new one a version of "
                "its own (`make mar VERSION=…`)"
            )
        if there is None:
            self.management.register(archives.fetch(archive, self.bucket, self.model_store))
            self.say(f"{model} {version}: loading")
        if workers is not None and (there is None or there.wanted != workers):
            self.management.scale(model, version, workers)
        return self.wait_ready(model, version, seconds)

    def wait_ready(self, model: str, version: str, seconds: float) -> Version:
        """Waits until a version has all its workers.

        Raises:
            NotReady: not in time, or its workers keep ending, or it was taken away meanwhile.
        """
        began = time.monotonic()
        pids: set[int] = set()
        while time.monotonic() - began < seconds:
            found = self.management.version(model, version)
            if found is None:
                raise NotReady(f"{model} {version} was taken away while it loaded")
            if found.complete:
                self.say(f"{model} {version}: ready after {time.monotonic() - began:.1f} s")
                return found
            pids |= {worker.pid for worker in found.workers if worker.pid}
            if len(pids) >= (DEATHS + 1) * max(1, found.wanted):
                raise NotReady(f"{model} {version} does not load, its workers keep ending: logs/model_log.log has why")
            time.sleep(LOOK_EVERY)
        raise NotReady(f"{model} {version} was not ready after {seconds:.0f} s: logs/model_log.log may have why")

    def retire(self, model: str, version: str, seconds: float) -> None:
        """Takes a version away when it has answered all that it was asked. One that is not there is fine.

        Raises:
            NotDrained: it has not in time; it is left as it is.
        """
        found = self.management.version(model, version)
        if found is None:
            return
        deadline = time.monotonic() + seconds
        if any(worker.ready for worker in found.workers):
            time.sleep(SETTLE)
            self._drain(model, version, deadline)
        self.management.delete(model, version)
        self.say(f"{model} {version}: drained and gone")

    def discard(self, model: str, version: str) -> None:
        """Takes a version away at once, whatever it was asked: nobody depends on it yet."""
        if self.management.version(model, version):
            self.management.delete(model, version)
            self.say(f"{model} {version}: taken back")

    def _drain(self, model: str, version: str, deadline: float) -> None:
        """Waits until the queue is empty, then until every worker has answered a question that came after it."""
        while self._look(model, version, deadline).waiting:
            time.sleep(LOOK_EVERY)
        answered: set[int] = set()
        while True:
            # A worker that died and came back has a new pid and nothing in hand.
            ready = [worker for worker in self._look(model, version, deadline).workers if worker.ready]
            open_pids = {worker.pid for worker in ready} - answered
            if not open_pids:
                return
            said = self._ask_each(model, version, len(ready), deadline)
            if said and len(ready) == 1:
                return  # one worker answers in the order of the queue
            pids = {int(each["pid"]) for each in said if "pid" in each}
            if said and not pids:
                raise NotDrained(
                    f"{model} {version} has {len(ready)} workers and its handler does not tell which of them answers, "
                    "so nobody knows when all are done: it is left; scale it to one worker, then do the same again"
                )
            answered |= pids

    def _look(self, model: str, version: str, deadline: float) -> Version:
        found = self.management.version(model, version)
        if found is None:
            raise NotDrained(f"{model} {version} was taken away by another while it was drained")
        if time.monotonic() > deadline:
            raise NotDrained(
                f"{model} {version} still has requests ({found.waiting} in its queue): it is left; do the same again "
                "later, which goes on from here"
            )
        return found

    def _ask_each(self, model: str, version: str, count: int, deadline: float) -> list[dict[str, Any]]:
        """Sends as many questions as there are workers through the queue; the answers that came."""

        def ask(_: int) -> dict[str, Any] | None:
            try:
                return self.management.pass_through(model, version, max(1.0, deadline - time.monotonic()))
            except ManagementRefused as error:  # its worker died, or the queue is full
                self.say(f"{model} {version}: {error}")
                time.sleep(LOOK_EVERY)
                return None

        with ThreadPoolExecutor(count) as pool:
            return [answer for answer in pool.map(ask, range(count)) if answer is not None]

    def _is_of(self, there: Version, archive: Archive) -> bool:
        """Whether a registered version is of this archive."""
        if there.archive == archive.file:
            return True
        file = self.model_store / there.archive
        return file.is_file() and archives.read(file)[0] == archive
