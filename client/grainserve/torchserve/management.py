"""TorchServe's management API: lists the versions of models, and changes them.

What each call does was measured on TorchServe 0.12 and is held by `tests/contract`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import requests

from grainserve.errors import ModelNotFound, TorchServeError, TorchServeUnreachable
from grainserve.torchserve import answers


class ManagementRefused(TorchServeError):
    """Management answered with an error."""

    code = "management_refused"

    def __init__(self, what: str, status: int, kind: str, message: str) -> None:
        super().__init__(f"TorchServe refused to {what}: {message} (HTTP {status}, {kind})")
        self.status = status
        self.kind = kind


@dataclass(frozen=True)
class Worker:
    """A worker process.

    Attributes:
        pid: process id; None until the worker has one.
        ready: whether the worker takes requests.
    """

    pid: int | None
    ready: bool


@dataclass(frozen=True)
class Version:
    """A registered version of a model.

    Attributes:
        model: name of the model.
        version: name of the version.
        default: whether requests without a version go to this one.
        archive: file name in the model store.
        workers: workers that the version has.
        wanted: number of workers that it should have.
        waiting: number of requests in its queue.
        free: number of requests that its queue still takes.
    """

    model: str
    version: str
    default: bool
    archive: str
    workers: tuple[Worker, ...]
    wanted: int
    waiting: int
    free: int

    @property
    def workers_ready(self) -> int:
        """Number of workers that take requests; `/ping` does not tell: it is healthy while models still load."""
        return sum(worker.ready for worker in self.workers)

    @property
    def complete(self) -> bool:
        """Whether all wanted workers are there and take requests."""
        return len(self.workers) >= max(1, self.wanted) and self.workers_ready == len(self.workers)


class Management:
    """The management API of one TorchServe.

    Args:
        url: URL of the API, on loopback as a rule.
        seconds: seconds to wait for an answer that needs no worker.
    """

    def __init__(self, url: str, seconds: float = 30.0) -> None:
        self.url = url.rstrip("/")
        self._seconds = seconds

    def models(self) -> list[str]:
        """Returns the names of all registered models."""
        names: list[str] = []
        token: str | None = None
        while True:
            parameters = {"limit": "100"} | ({"next_page_token": token} if token else {})
            answer = self._call("list models", "GET", "/models", parameters)
            names += [str(model["modelName"]) for model in answer["models"]]
            token = answer.get("nextPageToken")
            if not token:
                return names

    def versions(self, model: str) -> dict[str, Version]:
        """Returns all versions of a model, by name; none if the model is not registered."""
        try:
            default = str(self._call(f"describe {model}", "GET", f"/models/{model}")[0]["modelVersion"])
            every = self._call(f"describe {model}", "GET", f"/models/{model}/all")
        except ModelNotFound:
            return {}
        return {str(entry["modelVersion"]): _version(entry, default) for entry in every}

    def version(self, model: str, version: str) -> Version | None:
        """Returns one version of a model, or None."""
        return self.versions(model).get(version)

    def ready(self, model: str, version: str | None) -> bool:
        """Tells whether a version has a worker that takes requests.

        Args:
            model: name of the model.
            version: name of the version; None for the default one.

        Raises:
            ModelNotFound: the version is not registered.
        """
        found = self.default_version(model) if version is None else self.version(model, version)
        if found is None:
            raise ModelNotFound(model, version)
        return found.workers_ready > 0

    def default_version(self, model: str) -> Version:
        """Returns the version that requests without a version go to.

        Raises:
            ModelNotFound: the model is not registered.
        """
        for each in self.versions(model).values():
            if each.default:
                return each
        raise ModelNotFound(model, None)

    def load(self) -> tuple[int, int]:
        """Returns how many workers take requests and how many requests wait for one, over all default versions."""
        workers = waiting = 0
        for model in self.models():
            for entry in self._call(f"describe {model}", "GET", f"/models/{model}"):
                each = _version(entry, str(entry["modelVersion"]))
                workers += each.workers_ready
                waiting += each.waiting
        return workers, waiting

    def register(self, archive: str) -> None:
        """Begins to load an archive of the model store; returns before its workers are there.

        Args:
            archive: file name, never a gs:// address: TorchServe would take its last part for a file name.

        Raises:
            ManagementRefused: there is no such file, or the version is registered already (409).
        """
        # By default TorchServe waits for them, in a thread that inference needs.
        parameters = {"url": archive, "synchronous": "false"}
        self._call(f"register {archive}", "POST", "/models", parameters)

    def scale(self, model: str, version: str, workers: int) -> None:
        """Sets a version's number of workers; returns before they are there. Workers that go lose their requests."""
        number = str(workers)
        parameters = {"min_worker": number, "max_worker": number, "synchronous": "false"}
        self._call(f"scale {model} {version}", "PUT", f"/models/{model}/{version}", parameters)

    def set_default(self, model: str, version: str) -> None:
        """Sends requests without a version to this one, whether it has workers or not."""
        self._call(f"make {model} {version} the default", "PUT", f"/models/{model}/{version}/set-default")

    def delete(self, model: str, version: str) -> None:
        """Removes a version; requests in its queue or at work get no answer. The default version can only go last."""
        # Waits for the workers to end: unregister_model_timeout.
        self._call(f"delete {model} {version}", "DELETE", f"/models/{model}/{version}", seconds=150.0)

    def pass_through(self, model: str, version: str, seconds: float) -> dict[str, Any]:
        """Sends a question through a version's queue and returns what its handler says of itself.

        A worker answers it when all requests that were queued before it have been taken.

        Args:
            model: name of the model.
            version: name of the version.
            seconds: longest wait for the answer, s.

        Raises:
            ManagementRefused: there is no worker, or no answer came in time.
        """
        path, what = f"/models/{model}/{version}", f"ask the workers of {model} {version}"
        answer = self._call(what, "GET", path, {"customized": "true"}, seconds)
        said: dict[str, Any] = answer[0].get("customizedMetadata") or {}
        return said

    def _call(
        self,
        what: str,
        method: str,
        path: str,
        parameters: dict[str, str] | None = None,
        seconds: float | None = None,
    ) -> Any:
        seconds = seconds or self._seconds
        try:
            answer = answers.ask(method, self.url + path, (5.0, seconds), params=parameters)
        except requests.ReadTimeout as error:
            raise ManagementRefused(what, 0, type(error).__name__, f"no answer within {seconds:.0f} s") from error
        except requests.RequestException as error:
            raise TorchServeUnreachable(f"TorchServe's management does not answer at {self.url}") from error
        try:
            body = answer.json()
        except ValueError:
            body = None
        if 200 <= answer.status < 300 and body is not None:
            return body
        said = body if isinstance(body, dict) else {}
        kind, message = str(said.get("type", "")), str(said.get("message", answer.reason))
        if kind in ("ModelNotFoundException", "ModelVersionNotFoundException") and (named := path.split("/")[2:]):
            raise ModelNotFound(named[0], named[1] if len(named) > 1 and named[1] != "all" else None)
        if kind in ("", "ResourceNotFoundException", "MethodNotAllowedException"):
            raise TorchServeUnreachable(f"{answer.url} is no management API: it says {message!r}")
        raise ManagementRefused(what, answer.status, kind, message)


def _version(entry: dict[str, Any], default: str) -> Version:
    try:
        queue = entry.get("jobQueueStatus", {})
        return Version(
            model=str(entry["modelName"]),
            version=str(entry["modelVersion"]),
            default=str(entry["modelVersion"]) == default,
            archive=str(entry["modelUrl"]),
            workers=tuple(Worker(_pid(worker), worker["status"] == "READY") for worker in entry["workers"]),
            wanted=int(entry["minWorkers"]),
            waiting=int(queue.get("pendingRequests", 0)),
            free=int(queue.get("remainingCapacity", 0)),
        )
    except KeyError as error:
        raise TorchServeUnreachable(f"what answers as management describes a version without {error}") from None


def _pid(worker: dict[str, Any]) -> int | None:
    """Returns a worker's process id; None before the worker starts.

    TorchServe says -1 then, which `kill` takes for every process there is.
    """
    pid = int(worker.get("pid") or 0)
    return pid if pid > 0 else None
