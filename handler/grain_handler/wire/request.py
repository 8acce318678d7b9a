"""One TorchServe request row → image, options and prompts, or a typed error."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grain_handler.errors import (
    DigestMismatch,
    EmbeddingMissing,
    EmptyBody,
    ExplanationsUnsupported,
    InvalidBase64,
    InvalidDigest,
    InvalidJson,
    InvalidOption,
    MissingImage,
    NotAnImage,
    PromptsRequired,
    RequestError,
)
from grain_handler.prompt import Prompt
from grain_handler.wire.frame import Frame, frame_of
from grain_handler.wire.image import DecodedImage, read_image
from grain_handler.wire.options import Options, parse_options, shown
from grain_handler.wire.prompts import Subject, read_prompts

IMAGE_FIELDS = ("image", "body", "data")
"""Names of a form's image field. TorchServe puts a body that is no form under `body` or `data`."""
IMAGE_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
DIGEST = re.compile(r"[0-9a-f]{64}")
TENANT_HEADER = "grainserve-tenant"
"""Header that names the request's tenant, set by the gateway: a tenant's digest finds no image of another's."""
TENANT = re.compile(r"[A-Za-z0-9_.-]{0,128}")
NO_OPTIONS = ("image", "imageId", "imageDigest", "prompts")
"""Fields of a request that are no options."""
TRACE = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(-.*)?")
"""Value of W3C's traceparent header; https://www.w3.org/TR/trace-context/."""


@dataclass(frozen=True)
class Request:
    """A valid request.

    Attributes:
        image_id: image id that the client gave, else TorchServe's request id.
        image: decoded image.
        options: effective options.
        trace_id: trace id that the sender gave; None if there is none.
        prompts: prompts, placed in the frame; empty for automatic masks.
        digest: SHA-256 of the frame's pixels; empty without prompts.
        image_digest: SHA-256 of the whole image's pixels, hexadecimal; empty without prompts where no embeddings are
            kept.
        tenant: tenant that the gateway named; empty if it named none.
    """

    image_id: str
    image: DecodedImage
    options: Options
    trace_id: str | None = None
    prompts: tuple[Prompt, ...] = ()
    digest: bytes = b""
    image_digest: str = ""
    tenant: str = ""

    @cached_property
    def frame(self) -> Frame:
        """The part of the image that is measured.

        Raises:
            InvalidOption: the frame does not fit the image.
        """
        height, width = self.image.pixels.shape[:2]
        return frame_of(self.options, width, height)

    @cached_property
    def pixels(self) -> NDArray[np.uint8]:
        """The frame's pixels, H × W × 3, uint8, RGB."""
        return np.ascontiguousarray(self.image.pixels[self.frame.slices])


Find = Callable[[str, Options, str], DecodedImage | None]
"""Finds an image that is kept with its embedding: digest, options, tenant → image."""


def digest_of(pixels: NDArray[np.uint8]) -> bytes:
    """Computes the SHA-256 of an image's size and pixels (H × W × 3), row by row."""
    head = f"{pixels.shape[0]} x {pixels.shape[1]}\n".encode()
    return hashlib.sha256(head + np.ascontiguousarray(pixels).data).digest()


def parse(  # noqa: PLR0917 - each is one thing
    row: Mapping[str, Any],
    headers: Mapping[str, str],
    request_id: str,
    defaults: Mapping[str, Any],
    checkpoint: str = "",
    find: Find | None = None,
    *,
    prompts_only: bool = False,
) -> Request | RequestError:
    """Reads one row: raw image bytes, JSON with a base64 image, or multipart fields.

    Args:
        row: TorchServe's row. A raw body (bytes) or JSON (dict) is under `body` or `data`; a form has one key for each
            field. A form's image field may be called `body` or `data`, too, as in TorchServe's examples.
        headers: headers of the request; names in any case.
        request_id: TorchServe's id of the request.
        defaults: default options of the model config.
        checkpoint: CRC32C of the file that the decoder comes from (the prompt decoder, else the checkpoint), which mask
            tokens must be of.
        find: finds a kept image by its digest; None if none is kept.
        prompts_only: whether a request without prompts is refused.

    Returns:
        The request, or its error; both have the image id. The error is returned, not raised, because the other rows of
        the batch go on.
    """
    image_id = request_id
    headers = {name.lower(): value for name, value in headers.items()}
    try:
        if headers.get("explain") == "True":
            raise ExplanationsUnsupported("grains have no explanations: POST the image to /predictions instead")
        field = next((name for name in IMAGE_FIELDS if name in row), "image")
        body, beside = row.get(field), {name: value for name, value in row.items() if name != field}
        if is_json := isinstance(body, dict) and field != "image":
            fields = body
        else:
            fields = {name: _text(name, value) for name, value in beside.items() if name not in IMAGE_FIELDS}
        image_id = _image_id(fields.get("imageId"), request_id)
        if unread := next((name for name in beside if is_json or name in IMAGE_FIELDS), None):
            raise InvalidOption(f"{shown(unread)}: the request's {field!r} is all that is read: leave this field out")
        prompts, of_frame = _prompts(fields, prompts_only), b""
        digest, tenant = _digest(fields.get("imageDigest")), _tenant(headers.get(TENANT_HEADER, ""))
        if digest and (fields.get("image") is None if is_json else field not in row):
            image = None
        elif is_json:
            image = _from_base64(fields)
        elif field == "image" or beside:
            image = _from_field(row, field)
        else:
            image = _from_raw(body, headers.get("content-type", ""))
        said = {name: value for name, value in fields.items() if name not in NO_OPTIONS}
        options = parse_options(said, defaults, text=not is_json)
        decoded = _find(find, digest, options, tenant) if image is None else read_image(image)
        height, width = decoded.pixels.shape[:2]
        frame = frame_of(options, width, height)
        if image is not None and (digest or find or prompts is not None):
            found = digest_of(decoded.pixels).hex()
            if digest and found != digest:
                raise DigestMismatch(f"imageDigest: the image sent has {found}: send this one, or none")
            digest = found
        asked: tuple[Prompt, ...] = ()
        if prompts is not None:
            whole = (frame.width, frame.height) == (width, height)
            of_frame = bytes.fromhex(digest) if whole else digest_of(decoded.pixels[frame.slices])
            asked = read_prompts(prompts, Subject(frame, width, height, of_frame, checkpoint))
        return Request(image_id, decoded, options, trace_id(headers), asked, of_frame, digest, tenant)
    except RequestError as error:
        error.image_id = image_id
        # A traceback holds frames, these hold the request's bytes, and the caller's frame holds the error: a cycle. It
        # would keep up to 60 MiB of a refused request in memory until Python's garbage collector runs.
        error.__context__ = None
        return error.with_traceback(None)


def trace_id(headers: Mapping[str, str]) -> str | None:
    """Returns the trace id, 32 hexadecimal digits, of a request's `traceparent` header; None if it has no valid one.

    Args:
        headers: headers of the request; names in any case.
    """
    given = next((value for name, value in headers.items() if name.lower() == "traceparent"), "")
    found = TRACE.fullmatch(given.strip())
    return found[1] if found else None


def _prompts(fields: Mapping[str, Any], required: bool) -> Any:
    """Returns the prompts as sent; None if there are none."""
    prompts = fields.get("prompts")
    if required and prompts is None:
        raise PromptsRequired("prompts: this model answers prompts only: send some, or ask a model of automatic masks")
    return prompts


def _from_raw(body: Any, content_type: str) -> bytes:
    # Only the type is searched: the boundary of a form, behind it, is made of random letters.
    if "json" in content_type.partition(";")[0].lower() or not isinstance(body, bytes | bytearray | memoryview | str):
        raise InvalidJson('the body is not a JSON object: send {"image": "<base64>", …options}')
    if isinstance(body, str):
        if not body:
            raise EmptyBody("the body is empty: send the image's bytes")
        raise NotAnImage("the body is text: send the image's bytes, without a text Content-Type")
    return bytes(body)


def _from_base64(fields: Mapping[str, Any]) -> bytes:
    """Decodes the image of a JSON request: base64, on one line or wrapped, or a data: URI."""
    encoded = fields.get("image")
    if encoded is None:
        raise MissingImage('the JSON has no "image": put the image there in base64')
    if not isinstance(encoded, str):
        raise InvalidBase64('"image" is not a string: put the image there in base64')
    try:
        letters = encoded.encode("ascii").translate(None, b" \t\r\n")
        if letters[:5].lower() == b"data:":
            head, _, letters = letters.partition(b",")
            if not head.lower().endswith(b";base64"):
                raise ValueError("a data: URI that is not base64")
        return base64.b64decode(letters, validate=True)
    except ValueError as error:  # binascii.Error, or letters that are not ASCII
        raise InvalidBase64(
            f'"image" is not base64 ({error}): send the standard alphabet, wrapped or in a data: URI'
        ) from None


def _from_field(row: Mapping[str, Any], name: str) -> bytes:
    if name not in row:
        raise MissingImage('the form has no field "image": put the image file there')
    value = row[name]
    if isinstance(value, str):  # TorchServe decodes a part that claims to be text
        raise NotAnImage(f'"{name}" is text: send the image file there, without a text Content-Type')
    return _bytes(name, value)


def _text(name: str, value: Any) -> str:
    try:
        return value if isinstance(value, str) else _bytes(name, value).decode()
    except UnicodeDecodeError:
        raise InvalidOption(f"{shown(name)}: the field is not UTF-8 text") from None


def _bytes(name: str, value: Any) -> bytes:
    """Returns the bytes of a form's field.

    TorchServe parses a field that claims to be JSON. It must be refused: `bytes` of a number is that many zeros.
    """
    if not isinstance(value, bytes | bytearray | memoryview):
        raise InvalidOption(f"{shown(name)}: the field says it is JSON: send it without a Content-Type")
    return bytes(value)


def _image_id(given: Any, request_id: str) -> str:
    if given is None:
        return request_id
    if not isinstance(given, str) or not IMAGE_ID.fullmatch(given):
        raise InvalidOption(f"imageId: {shown(given)} is not 1 to 128 letters, digits, '-' or '_'")
    return given


def _digest(given: Any) -> str:
    """Returns the image digest that a request names; empty if it names none."""
    if given is None:
        return ""
    if not isinstance(given, str) or not DIGEST.fullmatch(given):
        raise InvalidDigest(f"imageDigest: {shown(given)} is not 64 hexadecimal digits: send metadata.imageDigest")
    return given


def _tenant(given: str) -> str:
    if not TENANT.fullmatch(given):
        raise InvalidOption(f"{TENANT_HEADER}: {shown(given)} is not up to 128 letters, digits, '-', '_' or '.'")
    return given


def _find(find: Find | None, digest: str, options: Options, tenant: str) -> DecodedImage:
    found = find(digest, options, tenant) if find else None
    if found is None:
        raise EmbeddingMissing("imageDigest: this image is not kept, or not with this crop: send the image itself")
    return found
