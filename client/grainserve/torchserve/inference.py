"""TorchServe's inference API over HTTP.

`_error` says what each status and body means; the facts are TorchServe 0.12's. A 503 alone says nothing: a full queue,
no worker and a failing handler all answer 503, and only the body's `type` tells them apart.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

import requests
from urllib3.exceptions import MaxRetryError, NewConnectionError

from grainserve.config import DEFAULTS, TORCHSERVE
from grainserve.contract import validate_result
from grainserve.errors import (
    AnswerLost,
    EmbeddingMissing,
    HandlerFailed,
    ImageRejected,
    InvalidResult,
    ModelNotFound,
    TorchServeBusy,
    TorchServeError,
    TorchServeUnreachable,
    WorkerDied,
)
from grainserve.jobs import trace
from grainserve.torchserve import answers
from grainserve.torchserve.answers import Answer
from grainserve.torchserve.management import Management

TENANT = "grainserve-tenant"
"""Header that says whose kept embeddings a request may use."""
ELSEWHERE = (401, 403, 404, 421)
"""Statuses that a gateway of ours answers with, and the handler only for an embedding that it does not keep; the errors
of both look alike."""
LONGEST = 1000
"""Characters that are kept of foreign words: they go into the job's record, and anybody may have written them."""


class TorchServe:
    """A TorchServe server.

    Args:
        inference: URL of the inference API.
        management: URL of the management API; None where it cannot be reached. Other machines should not be able to
            reach it.
        connect_timeout: seconds to make a connection.
        read_timeout: seconds to wait for an answer; the time in TorchServe's queue counts.

    Attributes:
        inference: URL of the inference API.
        management: the management API; None where it cannot be reached.
    """

    def __init__(
        self,
        inference: str,
        management: str | None,
        *,
        connect_timeout: float = 5.0,
        read_timeout: float = 600.0,
    ) -> None:
        self.inference = inference.rstrip("/")
        self._connect_timeout = connect_timeout
        self._read_timeout = read_timeout
        self._short_timeout = min(read_timeout, 30.0)
        self.management = Management(management, self._short_timeout) if management else None

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

        Args:
            model: name of the model.
            version: model version; None for the default one.
            image: bytes of the image file.
            options: checked options.
            image_id: image id that the result must have.
            traceparent: W3C trace that the request belongs to; None for none.

        Returns:
            The result, checked against its schema.

        Raises:
            ImageRejected: the image or an option is at fault (4xx).
            TorchServeBusy, TorchServeUnreachable: no work was started.
            WorkerDied, HandlerFailed, AnswerLost, ModelNotFound: this attempt failed; HandlerFailed also for an answer
                that is no result of this image.
        """
        body = _body({**options, "imageId": image_id}, image)
        return self._answered(model, version, body, image_id, {trace.HEADER: traceparent})

    def segment(
        self,
        model: str,
        version: str | None,
        image: bytes | str,
        prompts: Sequence[Mapping[str, Any]],
        image_id: str,
        *,
        options: Mapping[str, Any] | None = None,
        tenant: str | None = None,
        traceparent: str | None = None,
    ) -> dict[str, Any]:
        """Sends prompts about one image and waits for the objects that answer them.

        Args:
            model: name of the model.
            version: model version; None for the default one.
            image: bytes of the image file; or the digest of an image that was sent before, as `metadata.imageDigest`
                of its answer says.
            prompts: prompts, as `schemas/prompts.schema.json` describes them.
            image_id: image id that the result must have.
            options: checked options.
            tenant: whose kept embeddings to use; None for those of callers without a name.
            traceparent: W3C trace that the request belongs to; None for none.

        Returns:
            The result, checked against its schema; `prompts` in it names the objects of each prompt.

        Raises:
            EmbeddingMissing: no worker that was asked keeps the image of this digest: send the image.
            And the errors of `predict`.
        """
        asked = {**(options or {}), "prompts": list(prompts), "imageId": image_id}
        body = _body(asked | {"imageDigest": image}) if isinstance(image, str) else _body(asked, image)
        return self._answered(model, version, body, image_id, {TENANT: tenant, trace.HEADER: traceparent})

    def _answered(
        self, model: str, version: str | None, body: bytes, image_id: str, headers: Mapping[str, str | None]
    ) -> dict[str, Any]:
        path = f"/predictions/{model}" if version is None else f"/predictions/{model}/{version}"
        said = {name: value for name, value in headers.items() if value}
        response = self._request(
            "POST", path, self._read_timeout, data=body, headers={"Content-Type": "application/json", **said}
        )
        if response.status != requests.codes.ok:
            raise _error(response, model, version)
        return _result(response, image_id)

    def ping(self) -> None:
        """Checks that the inference API answers.

        Raises:
            TorchServeUnreachable: it does not answer, or redirects elsewhere.
        """
        answer = self._request("GET", "/ping", self._short_timeout)
        if 300 <= answer.status < 400:
            raise TorchServeUnreachable(f"{answer.url} is no inference API: it redirects elsewhere")

    def _request(self, method: str, path: str, seconds: float, **extra: Any) -> Answer:
        # Each request has a connection of its own: a Kubernetes Service spreads connections over replicas, and a kept
        # one would never reach a replica that came later. Nothing below us retries: a request sent twice is work done
        # twice.
        timeout = (self._connect_timeout, seconds)
        try:
            return answers.ask(method, self.inference + path, timeout, **extra)
        except requests.exceptions.RequestException as error:
            if _never_sent(error):
                raise TorchServeUnreachable(f"TorchServe does not answer at {self.inference}") from error
            raise AnswerLost(
                f"the connection to {self.inference} broke before an answer came ({type(error).__name__})"
            ) from error


def _body(said: Mapping[str, Any], image: bytes | None = None) -> bytes:
    """Returns the body of a request. Its steps, of 32 MiB each for the largest image, are freed before the wait."""
    picture = {} if image is None else {"image": base64.b64encode(image).decode("ascii")}
    return json.dumps({**said, **picture}, allow_nan=False).encode()


def _never_sent(error: requests.exceptions.RequestException) -> bool:
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return True
    cause = error.args[0] if error.args else None
    return isinstance(cause, MaxRetryError) and isinstance(cause.reason, NewConnectionError)


def _result(response: Answer, image_id: str) -> dict[str, Any]:
    """Returns the result in an answer, checked against its whole schema.

    Its image id is checked, too: two answers may have been exchanged.

    Raises:
        HandlerFailed: the answer is no result of this image.
    """
    try:
        answer: dict[str, Any] = response.json()
        validate_result(answer)
    except InvalidResult as error:
        raise HandlerFailed(200, "invalid_answer", f"the answer is no result: {error}") from None
    except (ValueError, RecursionError) as error:
        raise HandlerFailed(200, "invalid_answer", f"the answer is not JSON: {error}") from None
    if (found := answer["metadata"]["imageId"]) != image_id:
        raise HandlerFailed(200, "invalid_answer", f"the answer is of another image, {found!r}")
    return answer


def _error(  # noqa: PLR0911 - one return for each row of the table
    response: Answer, model: str, version: str | None
) -> TorchServeError:
    """Maps an answer that is not 200 to its typed error, by status and body.

    | status | body | error |
    |---|---|---|
    | 3xx | any: it is not followed | HandlerFailed |
    | 404 | `{"error": {"code": "embedding_missing"}}` from the handler | EmbeddingMissing |
    | 401, 403, 404, 421 | any other `{"error": …}` from a gateway of ours | TorchServeUnreachable |
    | other 4xx | `{"error": {code, message}}` from the handler | ImageRejected |
    | 413 | none: over TorchServe's `max_request_size` | ImageRejected |
    | 404 | `Model…NotFoundException` | ModelNotFound |
    | 503 | `ServiceUnavailableException`: full queue or no worker | TorchServeBusy |
    | 429, 502, 503, 504 | none of TorchServe's: a proxy in front | TorchServeBusy |
    | other 4xx | none of TorchServe's; or it has no such path or method | TorchServeUnreachable |
    | other 4xx | TorchServe's | ImageRejected |
    | 500 | "Worker died" | WorkerDied |
    | other | | HandlerFailed |
    """
    status = response.status
    if 300 <= status < 400:
        return HandlerFailed(status, "redirected", "the request was redirected elsewhere, where no image goes")
    try:
        body = response.json()
    except ValueError:
        body = None
    body = body if isinstance(body, dict) else {}
    ours = body.get("error")
    if isinstance(ours, dict) and status == requests.codes.not_found and ours.get("code") == EmbeddingMissing.code:
        return EmbeddingMissing(_words(ours, "message", "no message"))
    if isinstance(ours, dict) and status in ELSEWHERE:
        return TorchServeUnreachable(
            f"{response.url} is no inference API but, as it answers, a grainserve gateway (HTTP {status}: "
            f"{_words(ours, 'message', 'no message')}): set GRAINSERVE_TORCHSERVE to TorchServe's address, such as "
            f"{DEFAULTS[TORCHSERVE]}; images for a gateway go to its /upload"
        )
    if isinstance(ours, dict):
        code, message = _words(ours, "code", "unknown"), _words(ours, "message", "no message")
        return HandlerFailed(status, code, message) if status >= 500 else ImageRejected(status, code, message)
    kind, message = _words(body, "type", ""), _words(body, "message", response.reason[:LONGEST])
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


def _words(body: Mapping[str, Any], name: str, otherwise: str) -> str:
    """Returns a text of an answer, cut to LONGEST characters; `otherwise` where there is none."""
    found = body.get(name)
    return found[:LONGEST] if isinstance(found, str) else otherwise
