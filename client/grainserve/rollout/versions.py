"""The two halves of a swap at one TorchServe: a version is brought up, and another is drained and taken away."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from grainserve.errors import GrainserveError, InvalidConfiguration, TorchServeError
from grainserve.rollout import archives
from grainserve.rollout.archives import Archive
from grainserve.storage.bucket import Bucket
from grainserve.torchserve.management import Management, Version

Say = Callable[[str], None]

LOOK_EVERY = 0.2
DEATHS = 2
"""Workers of a version that end before one was ready: it is broken. TorchServe would try for five minutes."""
QUESTION = 60.0
"""Seconds a question may take on its way through a queue; then it is asked again."""
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

    def load(self, archive: Archive, workers: int | None) -> None:
        """Registers an archive, unless it is registered already, and sets the number of its workers.

        Raises:
            InvalidConfiguration: the version is registered with another archive.
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

    def wait_ready(self, model: str, version: str, seconds: float) -> Version:
        """Waits until a version has all its workers.

        Raises:
            NotReady: not in time, or its workers keep ending, or it was taken away meanwhile.
        """
        began = time.monotonic()
        pids: set[int] = set()
        while True:
            found = self.management.version(model, version)
            if found is None:
                raise NotReady(f"{model} {version} was taken away while it loaded")
            took = time.monotonic() - began
            if found.complete:
                self.say(f"{model} {version}: ready after {took:.1f} s")
                return found
            pids |= {worker.pid for worker in found.workers if worker.pid}
            if len(pids) >= (DEATHS + 1) * max(1, found.wanted):
                raise NotReady(f"{model} {version} does not load, its workers keep ending: logs/model_log.log has why")
            if took >= seconds:
                raise NotReady(f"{model} {version} was not ready after {took:.0f} s: logs/model_log.log may have why")
            time.sleep(LOOK_EVERY)

    def retire(self, model: str, version: str, seconds: float) -> None:
        """Takes a version away when it has answered all that it was asked. One that is not there is fine.

        Args:
            model: its model.
            version: its name.
            seconds: for it to answer; 0 takes it away at once, whatever it holds.

        Raises:
            NotDrained: it has not in time; it is left as it is.
        """
        if self.management.version(model, version) is None:
            return
        if seconds:
            time.sleep(SETTLE)
            self._drain(model, version, time.monotonic() + seconds)
        self.discard(model, version)
        self.say(f"{model} {version}: {'drained and gone' if seconds else 'gone'}")

    def discard(self, model: str, version: str) -> None:
        """Takes a version away at once, whatever it was asked."""
        if self.management.version(model, version):
            self.management.delete(model, version)

    def _drain(self, model: str, version: str, deadline: float) -> None:
        """Waits until nothing is queued, then until every worker has answered a question that came after it.

        A worker that died and came back has a new process id and nothing in hand. What is asked of the version by its
        name meanwhile is waited for as well, while it is in the queue.
        """
        answered: set[int] = set()
        while found := self.management.version(model, version):
            pids = {worker.pid for worker in found.workers if worker.ready and worker.pid}
            if not found.waiting and pids <= answered:
                return
            if time.monotonic() > deadline:
                raise NotDrained(
                    f"{model} {version} still has requests ({found.waiting} in its queue, {len(pids)} workers): it is "
                    f"left; do the same again later, which goes on from here. `grainserve models remove {model} "
                    f"{version} --drain-within 0` takes it away with what it holds"
                )
            if not found.waiting:
                answered |= self._ask_each(found, len(pids), deadline)
            time.sleep(LOOK_EVERY)

    def _ask_each(self, version: Version, count: int, deadline: float) -> set[int]:
        """Sends as many questions as there are workers through the queue; the process ids of those that answered."""
        asked = (version.model, version.version, max(1.0, min(QUESTION, deadline - time.monotonic())))

        def ask(_: int) -> dict[str, Any] | None:
            try:
                return self.management.pass_through(*asked)
            except TorchServeError as error:  # its worker died, the queue is full, or it took too long: look again
                self.say(f"{version.model} {version.version}: {error}")
                return None

        with ThreadPoolExecutor(count) as pool:
            said = [answer for answer in pool.map(ask, range(count)) if answer is not None]
        if said and count == 1:  # one worker answers in the order of the queue
            return {worker.pid for worker in version.workers if worker.ready and worker.pid}
        if said and not any("pid" in each for each in said):
            raise NotDrained(
                f"{version.model} {version.version} has {count} workers and its handler does not tell which of them "
                "answers, so nobody knows when all are done: it is left; scale it to one worker, then do the same again"
            )
        return {int(each["pid"]) for each in said if "pid" in each}

    def _is_of(self, there: Version, archive: Archive) -> bool:
        """Whether a registered version is of this archive."""
        if there.archive == archive.file:
            return True
        file = self.model_store / there.archive
        return file.is_file() and archives.read(file)[0] == archive
