"""Client of grainserve: microscope images in, tables of measured grains out."""

from __future__ import annotations

import logging
from importlib import import_module
from typing import TYPE_CHECKING

from grainserve.errors import (
    AnswerLost,
    BucketNotFound,
    EmbeddingMissing,
    ExtraMissing,
    GrainNotFound,
    GrainserveError,
    HandlerFailed,
    IdempotencyConflict,
    ImageNotFound,
    ImageRejected,
    InvalidClassifier,
    InvalidConfiguration,
    InvalidImage,
    InvalidImageId,
    InvalidJob,
    InvalidOption,
    InvalidResult,
    InvalidSample,
    InvalidUri,
    JobFailed,
    LabelledTableError,
    MasksMissing,
    MixedScales,
    ModelNotFound,
    NoGrains,
    NoResults,
    NoScale,
    NothingCounted,
    NothingSegmented,
    NotReadable,
    ObjectNotFound,
    ResultNotFound,
    SampleDamaged,
    SampleNotFound,
    SampleTooLarge,
    ScaleConflict,
    ScaleError,
    ScaleNotFound,
    ScaleNumberMissing,
    StorageError,
    StorageFull,
    StorageRefused,
    StorageUnreachable,
    TilesDisagree,
    TorchServeBusy,
    TorchServeError,
    TorchServeUnreachable,
    WaitTimeout,
    WorkerDied,
)

if TYPE_CHECKING:
    from grainserve.async_client import AsyncClient
    from grainserve.client import Client
    from grainserve.result import Grain, Result

__version__ = "0.1.0"

# Silent unless the program that uses the library asks for its log.
logging.getLogger(__name__).addHandler(logging.NullHandler())

__all__ = [
    "AnswerLost",
    "AsyncClient",
    "BucketNotFound",
    "Client",
    "EmbeddingMissing",
    "ExtraMissing",
    "Grain",
    "GrainNotFound",
    "GrainserveError",
    "HandlerFailed",
    "IdempotencyConflict",
    "ImageNotFound",
    "ImageRejected",
    "InvalidClassifier",
    "InvalidConfiguration",
    "InvalidImage",
    "InvalidImageId",
    "InvalidJob",
    "InvalidOption",
    "InvalidResult",
    "InvalidSample",
    "InvalidUri",
    "JobFailed",
    "LabelledTableError",
    "MasksMissing",
    "MixedScales",
    "ModelNotFound",
    "NoGrains",
    "NoResults",
    "NoScale",
    "NotReadable",
    "NothingCounted",
    "NothingSegmented",
    "ObjectNotFound",
    "Result",
    "ResultNotFound",
    "SampleDamaged",
    "SampleNotFound",
    "SampleTooLarge",
    "ScaleConflict",
    "ScaleError",
    "ScaleNotFound",
    "ScaleNumberMissing",
    "StorageError",
    "StorageFull",
    "StorageRefused",
    "StorageUnreachable",
    "TilesDisagree",
    "TorchServeBusy",
    "TorchServeError",
    "TorchServeUnreachable",
    "WaitTimeout",
    "WorkerDied",
    "__version__",
]

_HOMES = {
    "AsyncClient": "grainserve.async_client",
    "Client": "grainserve.client",
    "Grain": "grainserve.result",
    "Result": "grainserve.result",
}
"""Modules of the names that are imported when they are first used: the command line starts without them."""


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
