"""TorchServe's management in memory, archives for it, and a plug that interrupts it."""

from __future__ import annotations

import io
import json
import zipfile
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from grainserve.rollout import archives
from grainserve.torchserve.management import Management, ManagementRefused, Version, Worker


class Unplugged(BaseException):
    """Raised when the process is gone, so that its clean-up does not happen either."""


class Plug:
    """Counts calls and interrupts everything from one call on.

    Attributes:
        calls: number of calls.
        last: first call that is no longer made; None: all are made.
    """

    def __init__(self) -> None:
        self.calls = 0
        self.last: int | None = None

    def through(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """Makes a call, unless the plug is pulled."""

        def plugged(*given: Any, **named: Any) -> Any:
            self.calls += 1
            if self.last is not None and self.calls > self.last:
                raise Unplugged
            return call(*given, **named)

        return plugged


class ImitatedManagement(Management):
    """Management with versions in a dictionary; it refuses and loses what TorchServe would refuse and lose.

    Time passes with each look at the versions: workers take queued requests, one each, and end them some looks later. A
    question goes through the queue: the first free worker answers it.

    Attributes:
        broken: archives whose workers never become ready.
        slow: archives that become ready some looks after they were registered.
        queued: number of requests in a version's queue, by its name.
        busy: looks until a worker has answered its request, by process id.
        lost: number of requests that a deleted version still had, by its name.
        at_each_look: called at each look at the versions.
    """

    def __init__(self, model_store: Path, url: str = "http://nowhere") -> None:
        super().__init__(url)
        self.model_store = model_store
        self.registered: dict[str, dict[str, Version]] = {}
        self.broken: set[str] = set()
        self.slow: dict[str, int] = {}
        self.queued: dict[str, int] = {}
        self.busy: dict[int, int] = {}
        self.lost: dict[str, int] = {}
        self.at_each_look: Callable[[], None] = lambda: None
        self._asked: Counter[int] = Counter()
        self._pids = 100

    def models(self) -> list[str]:
        return list(self.registered)

    def versions(self, model: str) -> dict[str, Version]:
        self.at_each_look()
        self.busy = {pid: left - 1 for pid, left in self.busy.items() if left > 1}
        found = self.registered.get(model, {})
        for name, each in list(found.items()):
            workers = each.workers
            if each.archive in self.broken:  # TorchServe tries again and again
                workers = self._workers(1, ready=False)
            elif self.slow.get(each.archive):
                self.slow[each.archive] -= 1
                workers = tuple(replace(worker, ready=not self.slow[each.archive]) for worker in workers)
            for worker in workers:
                if worker.ready and worker.pid and worker.pid not in self.busy and self.queued.get(name):
                    self.queued[name] -= 1
                    self.busy[worker.pid] = 5
            found[name] = replace(each, workers=workers, waiting=self.queued.get(name, 0))
        return dict(found)

    def register(self, archive: str) -> None:
        found, _ = archives.read(self.model_store / archive)
        versions = self.registered.setdefault(found.model, {})
        if found.version in versions:
            raise ManagementRefused("register", 409, "ConflictStatusException", "it is there")
        versions[found.version] = Version(
            found.model, found.version, not versions, archive, self._workers(1), 1, waiting=0, free=100
        )

    def scale(self, model: str, version: str, workers: int) -> None:
        found = self.registered[model]
        found[version] = replace(found[version], workers=self._workers(workers), wanted=workers)

    def set_default(self, model: str, version: str) -> None:
        found = self.registered[model]
        for name, each in found.items():
            found[name] = replace(each, default=name == version)

    def delete(self, model: str, version: str) -> None:
        found = self.registered[model]
        if found[version].default and len(found) > 1:
            raise ManagementRefused("delete", 403, "InvalidModelVersionException", "it is the default")
        gone = found.pop(version)
        lost = self.queued.pop(version, 0) + sum(worker.pid in self.busy for worker in gone.workers)
        if lost:
            self.lost[version] = lost
        if not found:
            del self.registered[model]

    def pass_through(self, model: str, version: str, seconds: float) -> dict[str, Any]:
        ready = [worker.pid for worker in self.registered[model][version].workers if worker.ready and worker.pid]
        free = [pid for pid in ready if pid not in self.busy]
        if not free:  # the question waits in the queue
            first = min(ready, key=lambda pid: self.busy[pid])
            del self.busy[first]
            free = [first]
        asked = min(free, key=lambda pid: self._asked[pid])
        self._asked[asked] += 1
        return {"pid": asked}

    def replace_workers(self, model: str, version: str, *, ready: bool = True) -> None:
        """Replaces workers by new ones; the old ones lose their requests."""
        found = self.registered[model]
        found[version] = replace(found[version], workers=self._workers(found[version].wanted, ready=ready))

    def default(self, model: str) -> str:
        """Default version."""
        return next(name for name, each in self.registered[model].items() if each.default)

    def _workers(self, count: int, *, ready: bool = True) -> tuple[Worker, ...]:
        self._pids += count
        return tuple(Worker(self._pids - number, ready) for number in range(count))


def make_mar(folder: Path, version: str, model: str = "sam_tiny", code: str = "pass") -> Path:
    """Makes an archive with a manifest."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as opened:
        manifest = {"model": {"modelName": model, "modelVersion": version}}
        for name, text in ((archives.MANIFEST, json.dumps(manifest)), ("service.py", code)):
            opened.writestr(zipfile.ZipInfo(name), text)  # without the time: the same bytes each time
    path = folder / f"{model}-{version}-{len(code)}.mar"
    path.write_bytes(file.getvalue())
    return path
