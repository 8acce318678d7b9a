"""TorchServe over HTTP: inference, and the part of management that tells what is ready.

What each status and body means is in `_error`; the facts are TorchServe 0.12's. A 503 alone says nothing: full queue,
no worker and a failing handler all answer 503, and only the body's `type` tells them apart.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import requests
from urllib3.exceptions import MaxRetryError, NewConnectionError

from grainserve import trace
from grainserve.errors import (
    AnswerLost,
    HandlerFailed,
    ImageRejected,
    InvalidConfiguration,
    ModelNotFound,
    TorchServeBusy,
    TorchServeError,
    TorchServeUnreachable,
    WorkerDied,
)


@dataclass(frozen=True)
class ModelVersion:
    """One version of a registered model, its workers, and how many requests wait in its queue or may yet."""

    model: str
    version: str
    default: bool
    workers: int
    workers_ready: int
    waiting: int = 0
    room: int | None = None

    @property
    def ready(self) -> bool:
        """Whether a request would find a worker. `/ping` does not tell: it is healthy while models still load."""
        return self.workers_ready > 0


class TorchServe:
    """A TorchServe.

    Args:
        inference: URL of the inference API.
        management: URL of the management API; None where it cannot be reached, as it should be from other machines.
        connect_timeout: seconds to make a connection.
        read_timeout: seconds to wait for an answer; queueing inside TorchServe counts.
        connections: requests at once.
    """

    def __init__(
        self,
        inference: str,
        management: str | None,
        *,
        connect_timeout: float = 5.0,
        read_timeout: float = 600.0,
        connections: int = 8,
    ) -> None:
        self.inference = inference.rstrip("/")
        self.management = management.rstrip("/") if management else None
        self._timeout = (connect_timeout, read_timeout)
        self._management_timeout = (connect_timeout, min(read_timeout, 30.0))
        self._session = requests.Session()
        # No retries below us: a request sent twice is work done twice.
        adapter = requests.adapters.HTTPAdapter(pool_maxsize=connections, max_retries=0)
        self._session.mount("http://", adapter)
        self._session.mount("https://", adapter)

    def close(self) -> None:
        """Closes idle connections."""
        self._session.close()

    def predict(
        self,
        model: str,
        version: str | None,
        image: bytes,
        options: Mapping[str, Any],
        image_id: str,
        *,
        traceparent: str | None = None,
    ) -> dict[str, Any]:
        """Sends one image and waits for its result.

        Raises:
            ImageRejected: 4xx, the image or an option is at fault.
            TorchServeBusy, TorchServeUnreachable: nothing was started.
            WorkerDied, HandlerFailed, AnswerLost, ModelNotFound: this attempt failed.
        """
        path = f"/predictions/{model}" if version is None else f"/predictions/{model}/{version}"
        body = {**options, "image": base64.b64encode(image).decode("ascii"), "imageId": image_id}
        headers = {trace.HEADER: traceparent} if traceparent else {}
        # A connection of its own: behind a Kubernetes Service connections are what is spread over replicas, and kept
        # ones would never reach a replica that came later. Closed from here, whether the server would keep it or not.
        with requests.Session() as session:
            response = self._request(
                "POST", self.inference, path, self._timeout, session=session, json=body, headers=headers
            )
        if response.status_code != requests.codes.ok:
            raise _error(response, model, version)
        return _result(response)

    def models(self) -> list[str]:
        """Returns the names of all registered models."""
        names: list[str] = []
        token: str | None = None
        while True:
            params = {"limit": "100"} | ({"next_page_token": token} if token else {})
            answer = self._manage("/models", params)
            names += [str(model["modelName"]) for model in answer["models"]]
            token = answer.get("nextPageToken")
            if not token:
                return names

    def versions(self, model: str) -> list[ModelVersion]:
        """Returns every version of a model with its workers.

        Raises:
            ModelNotFound: it is not registered.
        """
        default = {str(entry["modelVersion"]) for entry in self._manage(f"/models/{model}", model=model)}
        return [
            ModelVersion(
                model=str(entry["modelName"]),
                version=str(entry["modelVersion"]),
                default=str(entry["modelVersion"]) in default,
                workers=len(entry["workers"]),
                workers_ready=sum(worker["status"] == "READY" for worker in entry["workers"]),
                waiting=int(entry.get("jobQueueStatus", {}).get("pendingRequests", 0)),
                room=entry.get("jobQueueStatus", {}).get("remainingCapacity"),
            )
            for entry in self._manage(f"/models/{model}/all", model=model)
        ]

    def load(self) -> tuple[int, int]:
        """How many workers are ready, and how many requests wait for one, over all default versions."""
        workers = waiting = 0
        for model in self.models():
            for entry in self._manage(f"/models/{model}", model=model):
                workers += sum(worker["status"] == "READY" for worker in entry["workers"])
                waiting += int(entry.get("jobQueueStatus", {}).get("pendingRequests", 0))
        return workers, waiting

    def ready(self, model: str, version: str | None = None) -> bool:
        """Whether a version (None: the default one) has a READY worker.

        Raises:
            ModelNotFound: it is not registered.
        """
        matching = [
            each for each in self.versions(model) if (each.default if version is None else each.version == version)
        ]
        if not matching:
            raise ModelNotFound(model, version)
        return matching[0].ready

    def ping(self) -> None:
        """Checks that the inference API answers at all.

        Raises:
            TorchServeUnreachable: it does not.
        """
        self._request("GET", self.inference, "/ping", self._management_timeout)

    def _manage(self, path: str, params: Mapping[str, str] | None = None, model: str = "") -> Any:
        if self.management is None:
            raise InvalidConfiguration("GRAINSERVE_MANAGEMENT is 'none': set it to TorchServe's management address")
        response = self._request("GET", self.management, path, self._management_timeout, params=params)
        if response.status_code != requests.codes.ok:
            raise _error(response, model, None)
        try:
            return response.json()
        except requests.exceptions.JSONDecodeError:
            raise HandlerFailed(200, "invalid_answer", f"{path} of the management API is not JSON") from None

    def _request(
        self,
        method: str,
        base: str,
        path: str,
        timeout: tuple[float, float],
        *,
        session: requests.Session | None = None,
        **extra: Any,
    ) -> requests.Response:
        try:
            return (session or self._session).request(method, base + path, timeout=timeout, **extra)
        except requests.exceptions.RequestException as error:
            if _never_sent(error):
                raise TorchServeUnreachable(f"TorchServe does not answer at {base}") from error
            raise AnswerLost(
                f"the connection to {base} broke before an answer came ({type(error).__name__})"
            ) from error


def _never_sent(error: requests.exceptions.RequestException) -> bool:
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return True
    cause = error.args[0] if error.args else None
    return isinstance(cause, MaxRetryError) and isinstance(cause.reason, NewConnectionError)


def _result(response: requests.Response) -> dict[str, Any]:
    try:
        answer = json.loads(response.content, parse_constant=_no_constant, parse_float=_finite)
    except ValueError as error:
        raise HandlerFailed(200, "invalid_answer", f"the answer is not JSON: {error}") from None
    if not isinstance(answer, dict) or not {"metadata", "segmentedObjects"} <= answer.keys():
        raise HandlerFailed(200, "invalid_answer", "the answer is no result: no metadata or no segmentedObjects")
    return answer


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):  # 1e999 is JSON, but nothing that could be stored
        raise ValueError(f"{digits} is too large")
    return number


def _error(  # noqa: PLR0911 - one return for each row of the table
    response: requests.Response, model: str, version: str | None
) -> TorchServeError:
    """Maps an answer that is not 200 to its typed error, by status and body.

    | status | body | error |
    |---|---|---|
    | 4xx | `{"error": {code, message}}` from the handler | ImageRejected |
    | 413 | none: over TorchServe's `max_request_size` | ImageRejected |
    | 404 | `Model…NotFoundException` | ModelNotFound |
    | 503 | `ServiceUnavailableException`: full queue or no worker | TorchServeBusy |
    | 429, 502, 503, 504 | none of TorchServe's: a proxy in front | TorchServeBusy |
    | other 4xx | none of TorchServe's; or it has no such path or method | TorchServeUnreachable |
    | other 4xx | TorchServe's | ImageRejected |
    | 500 | "Worker died" | WorkerDied |
    | other | | HandlerFailed |
    """
    status = response.status_code
    try:
        body = response.json()
    except requests.exceptions.JSONDecodeError:
        body = None
    body = body if isinstance(body, dict) else {}
    ours = body.get("error")
    if isinstance(ours, dict):
        code, message = str(ours.get("code", "unknown")), str(ours.get("message", "no message"))
        return HandlerFailed(status, code, message) if status >= 500 else ImageRejected(status, code, message)
    kind, message = str(body.get("type", "")), str(body.get("message", response.reason))
    if kind in ("ModelNotFoundException", "ModelVersionNotFoundException"):
        return ModelNotFound(model, version)
    if kind == "ServiceUnavailableException" or (not kind and status in (429, 502, 503, 504)):
        return TorchServeBusy(f"TorchServe has no free place (HTTP {status}: {message}): wait, or add workers")
    if kind == "InternalServerException" and "worker died" in message.lower():
        return WorkerDied(f"the TorchServe worker died ({message}): logs/model_log.log has the cause")
    if status == 413:
        return ImageRejected(
            413, "too_many_bytes", "the request is over TorchServe's max_request_size: send a smaller file"
        )
    if status < 500 and kind in ("", "ResourceNotFoundException", "MethodNotAllowedException"):
        return TorchServeUnreachable(f"{response.url} is no inference API: it says {message!r} (HTTP {status})")
    if status < 500:
        return ImageRejected(status, kind, f"TorchServe refused the request: {message}")
    return HandlerFailed(status, kind or f"http_{status}", message)
