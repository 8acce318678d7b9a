"""Parts of the OpenAPI description that FastAPI cannot derive from the routes."""

from __future__ import annotations

from typing import Any

from grainserve.contract import describe_option, schema


def failures(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Returns the descriptions of error answers.

    Args:
        statuses: HTTP statuses to describe.
    """
    said = {
        400: "The body cannot be read.",
        401: "No valid API key.",
        403: "Without keys: a page of another origin asks. Of a URI: the gateway may not read that bucket.",
        404: "No such image of yours; of a URI: no such object.",
        408: "The body did not arrive in time.",
        409: "The idempotency key was used for another image.",
        410: "The job failed; the message says why.",
        413: "Over 1024 px, or too many bytes.",
        415: "Not an image, or of a kind that is not read.",
        422: "A parameter or an option is unknown or out of range.",
        429: "Too many requests; see Retry-After.",
        501: "A library that this format needs is not installed here.",
        503: "GCS does not answer; of uploads also: too many are under way.",
    }
    content = {"application/json": {"schema": _plain("error")}}
    return {status: {"description": said[status], "content": content} for status in statuses}


def _plain(name: str) -> dict[str, Any]:
    """Returns a schema of the wire contract without the keys that OpenAPI does not take."""
    return {key: value for key, value in schema(name).items() if key not in ("$schema", "$id")}


_BASE64 = {"image": {"type": "string", "contentEncoding": "base64", "description": "the image file, base64"}}
_URI = {"uri": {"type": "string", "description": "an object of a bucket that the gateway may read, gs://BUCKET/NAME"}}
_FILE = {"image": {"type": "string", "format": "binary"}}
_OPTIONS = schema("options")["properties"]
UPLOAD = {
    "parameters": [
        {
            "name": name,
            "in": "query",
            "schema": rule,
            "description": f"{rule['description']}; {describe_option(name)}",
        }
        for name, rule in _OPTIONS.items()
    ],
    "requestBody": {
        "required": True,
        "content": {
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
            "multipart/form-data": {
                "schema": {"type": "object", "required": ["image"], "properties": _FILE | _OPTIONS}
            },
            "application/json": {
                "schema": {
                    "type": "object",
                    "oneOf": [{"required": ["image"]}, {"required": ["uri"]}],
                    "properties": _BASE64 | _URI | _OPTIONS,
                }
            },
        },
    },
}
ANALYSIS: dict[int | str, dict[str, Any]] = {
    200: {"description": "The result: client/grainserve/schemas/result.schema.json."},
    202: {"description": "The job goes on: imageId, state, attempts, position."},
}
