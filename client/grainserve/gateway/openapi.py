"""Parts of the OpenAPI description that FastAPI cannot derive from the routes."""

from __future__ import annotations

from typing import Any

from grainserve.contract import describe_option, schema
from grainserve.jobs.job import AUTO, LARGEST_GRAIN
from grainserve.library.entries import LONGEST_NAME
from grainserve.tiles.layout import MAX_LARGEST_GRAIN


def failures(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Returns the descriptions of error answers.

    Args:
        statuses: HTTP statuses to describe.
    """
    said = {
        400: "The body cannot be read.",
        401: "No valid API key.",
        403: "The key only reads. Without keys: a page of another origin asks. Of a URI: the gateway may not read that "
        "bucket.",
        404: "No such image of yours; of a URI: no such object; of an imageDigest: no worker keeps it, send the image.",
        408: "The body did not arrive in time.",
        409: "The idempotency key was used for another image.",
        410: "The job failed; the message says why.",
        413: "Too many pixels, of an object or a request with prompts over 1024 px; or too many bytes.",
        415: "Not an image, or of a kind that is not read.",
        422: "A parameter, an option or a prompt is unknown or out of range.",
        429: "Too many requests; see Retry-After.",
        501: "Not to be had here: a library that the format needs, or the variant's model.",
        502: "What answers is no worker of this version.",
        503: "GCS or TorchServe does not answer, or too many requests are under way.",
    }
    content = {"application/json": {"schema": _plain("error")}}
    return {status: {"description": said[status], "content": content} for status in statuses}


def _plain(name: str) -> dict[str, Any]:
    """Returns a schema of the wire contract without the keys that OpenAPI does not take."""
    return {key: value for key, value in schema(name).items() if key not in ("$schema", "$id")}


def _text(description: str) -> dict[str, str]:
    return {"type": "string", "description": description}


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
    ]
    + [
        {
            "name": LARGEST_GRAIN,
            "in": "query",
            "schema": {"anyOf": [{"type": "integer", "minimum": 1, "maximum": MAX_LARGEST_GRAIN}, {"enum": [AUTO]}]},
            "description": "of an image over 1024 px: largest extent of a grain, px; auto by default",
        },
        {
            "name": "name",
            "in": "query",
            "schema": {"type": "string", "maxLength": LONGEST_NAME},
            "description": "name of the image in your history, as a rule that of its file",
        },
        {
            "name": "scale",
            "in": "query",
            "schema": {"enum": ["file", "auto"]},
            "description": "where the scale is found: in the file, or else (auto) from the scale bar in the picture",
        },
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
_PROMPTS = {
    "prompts": {
        "type": "array",
        "minItems": 1,
        "maxItems": 1000,
        "items": {"type": "object"},
        "description": "points with labels, box, mask, multimask: client/grainserve/schemas/prompts.schema.json",
    }
}
_ASKED = {
    "model_type": _text("one of /variants; the first one by default"),
    "format": {"enum": ["masks", "measured"], "description": "form of the answer"},
}
_NAMED = {
    "imageId": _text("an uploaded image, in the image's place"),
    "imageDigest": _text("an image that was sent just before, in the image's place: `imageDigest` of the answer"),
}
_POINTED = {
    "file": _FILE["image"],
    "point_coords": _text("JSON: [[x, y], …], px from the image's top left corner"),
    "point_labels": _text("JSON: [1, 0, …], 1 for a point in the object, 0 for one outside it"),
    "box": _text("JSON: [x0, y0, x1, y1]"),
    "multimask": _text("JSON: true for three masks, false for one"),
    "prompts": _text("JSON: a list of prompts, in place of the fields above"),
}
_ITEM = {"type": "object", "properties": _BASE64 | _NAMED | _PROMPTS | _ASKED | _OPTIONS}
SEGMENT = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {"type": "object", "properties": _POINTED | _NAMED | _ASKED | _OPTIONS},
                "x-curl": "-F file=@image.jpg -F 'box=[40, 30, 95, 71]'",
            },
            "application/json": {"schema": _ITEM},
        },
    },
}
BATCH = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file", "prompts"],
                    "properties": {
                        "file": {"type": "array", "items": _FILE["image"]},
                        "prompts": _text("JSON: a list of prompts for each file"),
                        **_ASKED,
                        **_OPTIONS,
                    },
                },
                "x-curl": '-F file=@a.jpg -F file=@b.jpg -F \'prompts=[[{"box": [40, 30, 95, 71]}], '
                '[{"points": [[120, 80]]}]]\'',
            },
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["items"],
                    "properties": {"items": {"type": "array", "items": _ITEM}, "format": _ASKED["format"]},
                }
            },
        },
    },
}
ANALYSIS: dict[int | str, dict[str, Any]] = {
    200: {"description": "The result: client/grainserve/schemas/result.schema.json."},
    202: {
        "description": "The job goes on: imageId, state, attempts, position, created, expectedSeconds; of an image "
        "over 1024 px tiles, once they are laid."
    },
}
