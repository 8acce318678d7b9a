"""Loads versions at one TorchServe, and drains and deletes them."""

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
"""Seconds between two looks at a version's state."""
DEATHS = 2
"""Times that each worker of a version may end before the version counts as broken; TorchServe retries for 5 minutes."""
QUESTION = 60.0
"""Seconds that a question may take through a queue; then it is asked again."""
SETTLE = 0.5
"""Seconds after a switch in which requests may still be on their way into the old version's queue."""


class NotReady(GrainserveError):
    """A version's workers are not ready in time, or keep ending."""

    code = "not_ready"


class NotDrained(GrainserveError):
    """A version still has requests when the time is over."""

    code = "not_drained"


class Versions:
    """The versions loaded at one TorchServe, and their changes.

    Args:
        management: management API of the TorchServe.
        model_store: folder that the TorchServe registers archives from.
        bucket: bucket that holds the archives.
        say: called with messages of progress.
    """

    def __init__(self, management: Management, model_store: Path, bucket: Bucket, say: Say) -> None:
        self.management = management
        self.model_store = model_store
        self.bucket = bucket
        self.say = say

    def load(self, archive: Archive, workers: int | None) -> None:
        """Registers an archive, unless it is registered already, and sets the number of its workers.

        Args:
            archive: archive of the version.
            workers: number of workers; None leaves the number as it is.

        Raises:
            InvalidConfiguration: the version is registered with another archive, or the bucket lacks the archive.
            ArchiveChanged: the bytes in the bucket are not those that were declared.
            ManagementRefused: TorchServe refused a call.
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
        """Waits until all workers of a version are ready; returns the version.

        Args:
            model: name of the model.
            version: version to wait for.
            seconds: seconds to wait.

        Raises:
            NotReady: the workers are not ready in time or keep ending, or somebody deleted the version.
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
        """Deletes a version once it has answered all its requests; does nothing where the version is not registered.

        Args:
            model: name of the model.
            version: version to delete.
            seconds: seconds to wait for the answers; 0 deletes the version at once with the requests it holds.

        Raises:
            NotDrained: the version still has requests when the time is over; it stays as it is.
        """
        if self.management.version(model, version) is None:
            return
        if seconds:
            time.sleep(SETTLE)
            self._drain(model, version, time.monotonic() + seconds)
        self.discard(model, version)
        self.say(f"{model} {version}: {'drained and gone' if seconds else 'gone'}")

    def discard(self, model: str, version: str) -> None:
        """Deletes a version at once, with the requests it holds."""
        if self.management.version(model, version):
            self.management.delete(model, version)

    def _drain(self, model: str, version: str, deadline: float) -> None:
        """Waits until the queue is empty, then until every worker has answered a question that came after it.

        A worker that died and came back has a new process id and holds no request. Requests that name the version may
        still arrive; while they are in the queue, this waits for them as well.
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
        """Sends `count` questions through the queue; returns the process ids of the workers that answered."""
        asked = (version.model, version.version, max(1.0, min(QUESTION, deadline - time.monotonic())))

        def ask(_: int) -> dict[str, Any] | None:
            try:
                return self.management.pass_through(*asked)
            except TorchServeError as error:  # the worker died, the queue is full, or it took too long: ask again
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
        """Tells whether a registered version was made from this archive."""
        if there.archive == archive.file:
            return True
        file = self.model_store / there.archive
        return file.is_file() and archives.read(file)[0] == archive
