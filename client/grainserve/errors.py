"""All errors that the client raises; each message says what happened and what to do."""

from __future__ import annotations


class GrainserveError(Exception):
    """Base of all errors of this package."""

    code = "error"

    @property
    def message(self) -> str:
        """The message as one line of text."""
        return str(self)


# Before anything is sent ---------------------------------------------------------------------------------------------


class InvalidOption(GrainserveError, ValueError):
    """An option is unknown, of the wrong type or out of range."""

    code = "invalid_option"


class InvalidImage(GrainserveError, ValueError):
    """The image cannot be read: a missing or empty file, no image, or an array of the wrong shape or dtype."""

    code = "invalid_image"


class InvalidImageId(GrainserveError, ValueError):
    """An image id has characters that must not get into an object name."""

    code = "invalid_image_id"


class InvalidConfiguration(GrainserveError, ValueError):
    """A setting is missing or makes no sense."""

    code = "invalid_configuration"


class ExtraMissing(GrainserveError, ImportError):
    """A library of an optional extra is not installed."""

    code = "extra_missing"

    def __init__(self, library: str, extra: str) -> None:
        super().__init__(f"{library} is not installed: pip install 'grainserve[{extra}]'")


# GCS -----------------------------------------------------------------------------------------------------------------


class StorageError(GrainserveError):
    """GCS answered with an error, or not at all."""

    code = "storage_error"


class StorageUnreachable(StorageError):
    """No connection to GCS or its emulator."""

    code = "storage_unreachable"


class StorageRefused(StorageError):
    """GCS refused: no credentials or no permission."""

    code = "storage_refused"


class StorageFull(StorageError):
    """There is no room left in storage."""

    code = "storage_full"


class BucketNotFound(StorageError):
    """The bucket does not exist."""

    code = "bucket_not_found"


class InvalidUri(GrainserveError, ValueError):
    """A text is no URI of an object: `gs://BUCKET/NAME`."""

    code = "invalid_uri"


class NotReadable(GrainserveError, PermissionError):
    """The object lies in no bucket or folder that this deployment lists as readable."""

    code = "not_readable"


class ObjectNotFound(GrainserveError, LookupError):
    """There is no such object, or it was deleted or replaced meanwhile."""

    code = "object_not_found"


# Jobs ----------------------------------------------------------------------------------------------------------------


class ImageNotFound(GrainserveError, LookupError):
    """No job is known under this image id."""

    code = "image_not_found"

    def __init__(self, image_id: str, bucket: str) -> None:
        super().__init__(
            f"no image {image_id!r} in bucket {bucket!r}: check the id that `submit` returned, and GRAINSERVE_BUCKET"
        )
        self.image_id = image_id


class ResultNotFound(GrainserveError, LookupError):
    """The job is done, but its result has been deleted since."""

    code = "result_not_found"

    def __init__(self, image_id: str) -> None:
        super().__init__(f"the job of image {image_id!r} is done but its result was deleted: submit the image again")
        self.image_id = image_id


class InvalidJob(GrainserveError, ValueError):
    """This version cannot read the job record."""

    code = "invalid_job"


class JobFailed(GrainserveError):
    """The job ended without a result: the image was rejected, or every attempt failed.

    Attributes:
        image_id: image id of the job.
        code: error code of the last attempt, e.g. `image_too_large` or `worker_died`.
        reason: error message of the last attempt.
        attempts: number of attempts made.
        status: HTTP status of the rejection, where there was one.
    """

    def __init__(self, image_id: str, code: str, reason: str, attempts: int, status: int | None = None) -> None:
        times = "1 attempt" if attempts == 1 else f"{attempts} attempts"
        way = "; `analyze` cuts it into tiles" if code == "image_too_large" else ""
        super().__init__(f"{reason}{way} ({code}, after {times}, image id {image_id})")
        self.image_id = image_id
        self.code = code
        self.reason = reason
        self.attempts = attempts
        self.status = status


class IdempotencyConflict(GrainserveError, ValueError):
    """One key was used for two different submissions."""

    code = "idempotency_conflict"

    def __init__(self, key: str, image_id: str) -> None:
        super().__init__(
            f"another image, or the same with other options, was submitted under the idempotency key {key!r} (image id "
            f"{image_id}): give each submission a key of its own"
        )
        self.image_id = image_id


class WaitTimeout(GrainserveError, TimeoutError):
    """The result was not there in time; the job goes on."""

    code = "wait_timeout"

    def __init__(self, image_id: str, seconds: float, state: str, problem: GrainserveError | None) -> None:
        last = f"; last problem: {problem}" if problem else ""
        super().__init__(
            f"no result for image {image_id!r} after {seconds:g} s, its job is {state}{last}; "
            "the job goes on wherever a dispatcher runs: wait longer or poll again later"
        )
        self.image_id = image_id
        self.state = state
        self.problem = problem


# Classifiers ---------------------------------------------------------------------------------------------------------


class LabelledTableError(GrainserveError, ValueError):
    """A labelled table cannot train a classifier."""

    code = "labelled_table"


class InvalidClassifier(GrainserveError, ValueError):
    """A classifier's file cannot be read, or the grains cannot be told apart well enough to make a classifier."""

    code = "invalid_classifier"


# TorchServe ----------------------------------------------------------------------------------------------------------


class TorchServeError(GrainserveError):
    """TorchServe could not give a result."""

    code = "torchserve_error"


class TorchServeUnreachable(TorchServeError):
    """No connection was made, or something else answered. No work was started, so it is safe to try again."""

    code = "torchserve_unreachable"

    def __init__(self, what: str) -> None:
        super().__init__(
            f"{what}: start TorchServe (`make serve`) or set GRAINSERVE_TORCHSERVE and GRAINSERVE_MANAGEMENT (`none` "
            "where its management cannot be reached)"
        )


class TorchServeBusy(TorchServeError):
    """Backpressure: the queue is full or no worker is ready. No work was started."""

    code = "torchserve_busy"


class AnswerLost(TorchServeError):
    """The connection broke or timed out after the request was sent: the work may be done, but its answer is lost."""

    code = "answer_lost"


class WorkerDied(TorchServeError):
    """The TorchServe worker died on this request."""

    code = "worker_died"


class HandlerFailed(TorchServeError):
    """The handler failed (5xx): out of memory, an internal error, or an answer that is no result."""

    def __init__(self, status: int, code: str, reason: str) -> None:
        super().__init__(f"{reason} (HTTP {status}, {code}): TorchServe's log (logs/model_log.log) has the cause")
        self.status = status
        self.code = code


class EmbeddingMissing(TorchServeError, LookupError):
    """No worker that was asked keeps the image of this digest: send the image itself."""

    code = "embedding_missing"


class ModelNotFound(TorchServeError):
    """TorchServe has no such model or version."""

    code = "model_not_found"

    def __init__(self, model: str, version: str | None) -> None:
        which = model if version is None else f"{model} version {version}"
        super().__init__(f"TorchServe has no model {which}: `grainserve models list` says what is registered")


class ImageRejected(TorchServeError):
    """The handler refused the image or an option (4xx); trying again gives the same answer."""

    def __init__(self, status: int, code: str, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.code = code


# Large images --------------------------------------------------------------------------------------------------------


class TilesDisagree(GrainserveError):
    """The tiles of one image were not measured by the same model, version and checkpoint."""

    code = "tiles_disagree"

    def __init__(self, odd: int, count: int, what: str) -> None:
        super().__init__(
            f"{odd} of {count} tiles were measured with another {what} than the last one: it was replaced meanwhile. "
            "They are forgotten: analyze the image again, and only they are measured anew"
        )


# Results -------------------------------------------------------------------------------------------------------------


class InvalidResult(GrainserveError, ValueError):
    """A result does not follow the wire contract."""

    code = "invalid_result"


class MasksMissing(GrainserveError, ValueError):
    """The result holds no masks."""

    code = "masks_missing"

    def __init__(self) -> None:
        super().__init__(
            "this result holds no masks (mask_format was 'none'): submit the image again with mask_format='rle'"
        )


class GrainNotFound(GrainserveError, LookupError):
    """The result has no grain of this id."""

    code = "grain_not_found"

    def __init__(self, number: object, image_id: str) -> None:
        super().__init__(f"the result of image {image_id!r} has no grain {number!r}: grains are named by their `id`")


class NothingSegmented(GrainserveError, ValueError):
    """A session has no objects."""

    code = "nothing_segmented"

    def __init__(self) -> None:
        super().__init__("this session has no objects: add a prompt first")


# Statistics ----------------------------------------------------------------------------------------------------------


class NoResults(GrainserveError, ValueError):
    """A sample has no images."""

    code = "no_results"

    def __init__(self) -> None:
        super().__init__("a sample needs at least one result")


class NoGrains(GrainserveError, ValueError):
    """A sample has no grain whose size can be taken."""

    code = "no_grains"

    def __init__(self, name: str, grains: int) -> None:
        super().__init__(
            f"sample {name!r} has no grains to take sizes from"
            + (
                f": the frame cuts all {grains}, so leave the edge correction off, or image more of it"
                if grains
                else ""
            )
        )


class MixedScales(GrainserveError, ValueError):
    """A sample has images with and without a scale: their sizes cannot be pooled."""

    code = "mixed_scales"

    def __init__(self, unscaled: list[str]) -> None:
        super().__init__(
            f"{len(unscaled)} of the sample's images have no scale ({', '.join(unscaled[:3])}"
            f"{', …' if len(unscaled) > 3 else ''}) and others have one: submit them with um_per_px, or leave them out"
        )


class NoScale(GrainserveError, ValueError):
    """A figure is defined in millimetres, and its image has no scale."""

    code = "no_scale"

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} is defined in millimetres, and the image has no scale: submit it with um_per_px")


class NothingCounted(GrainserveError, ValueError):
    """A field has no grain that a method of ASTM E112 could count."""

    code = "nothing_counted"

    def __init__(self, method: str, field: str) -> None:
        super().__init__(f"{field} has no grains that {method} could count: leave it out, or use another method")


# Samples in the bucket -----------------------------------------------------------------------------------------------


class InvalidSample(GrainserveError, ValueError):
    """A sample's name, or its number of images, is not allowed."""

    code = "invalid_sample"


class SampleNotFound(GrainserveError, LookupError):
    """A submitter has no sample under this id."""

    code = "sample_not_found"

    def __init__(self, sample_id: str) -> None:
        super().__init__(f"there is no sample {sample_id[:60]!r} of yours: check its id")


class SampleDamaged(GrainserveError, ValueError):
    """The object that should hold a sample holds something else."""

    code = "sample_damaged"


class SampleTooLarge(GrainserveError, ValueError):
    """A sample has more grains than are measured at once."""

    code = "sample_too_large"


# Scale ---------------------------------------------------------------------------------------------------------------


class ScaleError(GrainserveError, ValueError):
    """The scale cannot be determined from the image."""

    code = "scale_error"


class ScaleNotFound(ScaleError):
    """Neither the file nor a scale bar in the picture gives a scale."""

    code = "scale_not_found"


class ScaleNumberMissing(ScaleError):
    """There is a scale bar, but the number beside it could not be read."""

    code = "scale_number_missing"


class ScaleConflict(ScaleError):
    """Two sources give different scales, or the pixels are not square."""

    code = "scale_conflict"
