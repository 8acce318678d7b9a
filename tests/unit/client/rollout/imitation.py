"""A TorchServe's management in memory, archives to give it, and a plug to pull."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from grainserve.management import Management, ManagementRefused, Version, Worker
from grainserve.rollout import archives


class Unplugged(BaseException):
    """The process is gone: nothing it would do to tidy up happens either."""


class Plug:
    """Counts calls and ends everything from one of them on.

    Attributes:
        calls: how many there were.
        last: the first call that is not made any more; None: all are made.
    """

    def __init__(self) -> None:
        self.calls = 0
        self.last: int | None = None

    def through(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """The call, as long as there is power."""

        def plugged(*given: Any, **named: Any) -> Any:
            self.calls += 1
            if self.last is not None and self.calls > self.last:
                raise Unplugged
            return call(*given, **named)

        return plugged


class ImitatedManagement(Management):
    """Versions in a dictionary; what TorchServe refuses is refused.

    Attributes:
        broken: archives whose workers never get ready.
        deleted: (model, version, requests it still had), in order.
    """

    def __init__(self, model_store: Path) -> None:
        super().__init__("http://nowhere")
        self.model_store = model_store
        self.registered: dict[str, dict[str, Version]] = {}
        self.broken: set[str] = set()
        self.deleted: list[tuple[str, str, int]] = []
        self._pids = 100

    def models(self) -> list[str]:
        return list(self.registered)

    def versions(self, model: str) -> dict[str, Version]:
        found = self.registered.get(model, {})
        for name, each in found.items():
            if each.archive in self.broken:  # TorchServe tries again and again
                found[name] = replace(each, workers=self._workers(1, ready=False))
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
        self.deleted.append((model, version, found.pop(version).waiting))
        if not found:
            del self.registered[model]

    def pass_through(self, model: str, version: str, seconds: float) -> dict[str, Any]:
        return {"pid": self.registered[model][version].workers[0].pid}

    def default(self, model: str) -> str:
        """The default version."""
        return next(name for name, each in self.registered[model].items() if each.default)

    def _workers(self, count: int, *, ready: bool = True) -> tuple[Worker, ...]:
        self._pids += count
        return tuple(Worker(self._pids - number, ready) for number in range(count))


def make_mar(folder: Path, version: str, model: str = "sam_tiny", code: str = "pass") -> Path:
    """An archive with a manifest."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as opened:
        manifest = {"model": {"modelName": model, "modelVersion": version}}
        for name, text in ((archives.MANIFEST, json.dumps(manifest)), ("service.py", code)):
            opened.writestr(zipfile.ZipInfo(name), text)  # without the time: the same bytes each time
    path = folder / f"{model}-{version}-{len(code)}.mar"
    path.write_bytes(file.getvalue())
    return path
