"""Errors as a gateway tells them: status, code and words. Anybody may read them, so they name no address of ours."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

from grainserve.errors import (
    AnswerLost,
    EmbeddingMissing,
    ExtraMissing,
    GrainserveError,
    HandlerFailed,
    IdempotencyConflict,
    ImageNotFound,
    ImageRejected,
    InvalidImage,
    InvalidImageId,
    InvalidOption,
    InvalidSample,
    InvalidUri,
    JobFailed,
    MasksMissing,
    MixedScales,
    NoGrains,
    NoResults,
    NoScale,
    NothingCounted,
    NotReadable,
    ObjectNotFound,
    ResultNotFound,
    SampleNotFound,
    SampleTooLarge,
    ScaleError,
    StorageError,
    TorchServeBusy,
    TorchServeUnreachable,
    WorkerDied,
)
from grainserve.gateway.keys import ReadOnly, TooManyRequests, Unauthorized
from grainserve.gateway.shares import Busy
from grainserve.gateway.variants import UnknownVariant, VariantUnavailable
from grainserve.pictures.album import TileNotFound

log = logging.getLogger(__name__)

STATUS: dict[type[GrainserveError], int] = {
    InvalidOption: 422,
    InvalidSample: 422,
    InvalidImage: 415,
    InvalidImageId: 404,
    ImageNotFound: 404,
    Busy: 503,
    ExtraMissing: 501,
    Unauthorized: 401,
    IdempotencyConflict: 409,
    JobFailed: 410,
    MasksMissing: 409,
    MixedScales: 409,
    NoGrains: 409,
    NoResults: 409,
    NoScale: 409,
    NothingCounted: 409,
    ScaleError: 422,
    SampleNotFound: 404,
    SampleTooLarge: 413,
    ReadOnly: 403,
    ResultNotFound: 410,
    TooManyRequests: 429,
    StorageError: 503,
    UnknownVariant: 422,
    VariantUnavailable: 501,
    EmbeddingMissing: 404,
    TorchServeBusy: 503,
    TorchServeUnreachable: 503,
    WorkerDied: 503,
    AnswerLost: 503,
    InvalidUri: 422,
    NotReadable: 403,
    ObjectNotFound: 404,
    TileNotFound: 404,
}
"""HTTP status by error. `ImageRejected` and `HandlerFailed` have their own. Every other error is a fault of ours and
answers 500."""

WORDS: dict[type[GrainserveError], str] = {
    NotReadable: "this gateway may not read that object: ask its operator which buckets it reads",
    StorageError: "storage does not answer: send the request again later",
    TorchServeBusy: "no worker is free: send the request again in a second",
    TorchServeUnreachable: "the workers cannot be reached: send the request again later",
    WorkerDied: "the worker died on this request: send it again; if it happens again, the worker's log has the cause",
    AnswerLost: "the worker's answer was lost or did not come in time: send the request again",
    HandlerFailed: "the worker failed on this request: its log has the cause",
}
"""Words for callers, by error, where the error's own words are for the operator. The log has those."""


@dataclass(frozen=True)
class Refusal:
    """An error as it is told.

    Attributes:
        status: HTTP status.
        code: code of the error.
        message: words, for people.
        headers: headers that say more.
    """

    status: int
    code: str
    message: str
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def body(self) -> dict[str, dict[str, str]]:
        """The error in the handler's form: {"error": {"code", "message"}}."""
        return {"error": {"code": self.code, "message": self.message}}


FAULT = Refusal(500, "internal_error", "the gateway failed: its log has the cause")
"""A fault of ours, which no other words describe."""


def refusal(error: GrainserveError) -> Refusal:
    """Describes an error to the caller, and logs what only the operator should read."""
    message = next((words for kind, words in WORDS.items() if isinstance(error, kind)), None)
    if message is not None:
        log.log(logging.ERROR if isinstance(error, StorageError) else logging.WARNING, "%s", error)
    if isinstance(error, ImageNotFound):  # its own message names the bucket, which callers need not know
        message = f"there is no image {error.image_id!r} of yours: check the id that /upload returned"
    return Refusal(_status(error), error.code, message or str(error), _headers(error))


def _status(error: GrainserveError) -> int:
    if isinstance(error, ImageRejected):
        return error.status
    if isinstance(error, HandlerFailed):  # an answer that is no result has the status 200, a redirection its own
        return error.status if error.status >= 500 else 502
    return next((status for kind, status in STATUS.items() if isinstance(error, kind)), 500)


def _headers(error: GrainserveError) -> dict[str, str]:
    if isinstance(error, TooManyRequests):
        return {"Retry-After": str(int(error.seconds) + 1)}
    if isinstance(error, Busy | TorchServeBusy | TorchServeUnreachable | WorkerDied | AnswerLost):
        return {"Retry-After": "1"}
    return {"WWW-Authenticate": "Bearer"} if isinstance(error, Unauthorized) else {}
