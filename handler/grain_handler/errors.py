"""The errors of a request, each with its HTTP status, and the errors that keep a worker from starting.

Every request error becomes `{"error": {"code": …, "message": …}}`. The message names the fault, the limit, and what to
do about it.
"""

from __future__ import annotations


class RequestError(Exception):
    """A request that gets an error object instead of grains.

    Attributes:
        status: HTTP status of the answer.
        code: stable name of the error, for programs.
        image_id: image id of the request; empty if it is not known.
    """

    status = 500
    code = "internal_error"
    image_id = ""

    @property
    def message(self) -> str:
        """The error's text for people."""
        return str(self)


class InvalidJson(RequestError):
    status, code = 400, "invalid_json"


class InvalidBase64(RequestError):
    status, code = 400, "invalid_base64"


class MissingImage(RequestError):
    status, code = 400, "missing_image"


class EmptyBody(RequestError):
    status, code = 400, "empty_body"


class ExplanationsUnsupported(RequestError):
    status, code = 405, "explanations_unsupported"


class ImageTooLarge(RequestError):
    status, code = 413, "image_too_large"


class TooManyBytes(RequestError):
    status, code = 413, "too_many_bytes"


class DecompressionBomb(RequestError):
    status, code = 413, "decompression_bomb"


class NotAnImage(RequestError):
    status, code = 415, "not_an_image"


class UnsupportedFormat(RequestError):
    status, code = 415, "unsupported_format"


class MultiplePages(RequestError):
    status, code = 415, "multiple_pages"


class TruncatedImage(RequestError):
    status, code = 415, "truncated_image"


class UnknownOption(RequestError):
    status, code = 422, "unknown_option"


class InvalidOption(RequestError):
    status, code = 422, "invalid_option"


class NoSeeds(RequestError):
    status, code = 422, "no_seeds"


class EmbeddingMissing(RequestError):
    status, code = 404, "embedding_missing"


class InvalidDigest(RequestError):
    status, code = 422, "invalid_digest"


class DigestMismatch(RequestError):
    status, code = 422, "digest_mismatch"


class InvalidPrompts(RequestError):
    status, code = 422, "invalid_prompts"


class NoPrompts(RequestError):
    status, code = 422, "no_prompts"


class PromptsRequired(RequestError):
    status, code = 422, "prompts_required"


class TooManyPrompts(RequestError):
    status, code = 422, "too_many_prompts"


class InvalidPoint(RequestError):
    status, code = 422, "invalid_point"


class PointOutside(RequestError):
    status, code = 422, "point_outside"


class InvalidLabels(RequestError):
    status, code = 422, "invalid_labels"


class InvalidBox(RequestError):
    status, code = 422, "invalid_box"


class BoxOutside(RequestError):
    status, code = 422, "box_outside"


class InvalidMask(RequestError):
    status, code = 422, "invalid_mask"


class MaskSizeMismatch(RequestError):
    status, code = 422, "mask_size_mismatch"


class InvalidMaskToken(RequestError):
    status, code = 422, "invalid_mask_token"


class MaskTokenExpired(RequestError):
    status, code = 422, "mask_token_expired"


class MaskTokenMismatch(RequestError):
    status, code = 422, "mask_token_mismatch"


class AnswerTooLarge(RequestError):
    status, code = 422, "answer_too_large"


class InternalError(RequestError):
    """A fault of ours in the work on one image; the log has its traceback."""

    status, code = 500, "internal_error"


class OutOfMemory(RequestError):
    status, code = 507, "out_of_memory"


class CheckpointError(Exception):
    """A checkpoint that cannot be fetched, or does not fit its model; the worker does not start."""


class PackageError(Exception):
    """A compiled encoder that cannot be made, or does not fit this worker; the worker does not start."""


class ClassifierError(Exception):
    """A classifier that cannot be read, or does not fit this worker; the worker does not start."""


class DeviceError(Exception):
    """A GPU that is required and cannot be used; the worker does not start."""
