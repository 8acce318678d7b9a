"""Results as files: JSON, CSV and every other format of `grainserve export`."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from fastapi import Response
from fastapi.responses import JSONResponse

from grainserve.exports import formats
from grainserve.images import MAX_SIDE
from grainserve.result import Result

_LARGE = threading.Lock()
"""Held while a large image is decoded and painted at its full size, which takes more than a GiB of memory."""


def render(
    data: dict[str, Any], form: formats.FormatName, fetch_image: Callable[[], bytes], choices: formats.Choices
) -> Response:
    """Returns an answer that holds a result: the JSON as stored, or a file of another format.

    Args:
        data: result, as stored.
        form: format of the answer.
        fetch_image: fetches the image for formats that draw on it.
        choices: what only some formats ask.

    Raises:
        MasksMissing: the format needs masks and the result has none.
        ExtraMissing: the format needs a library that is not installed here.
        NoGrains: the format needs grain sizes and the result has none.
    """
    if form == "json":
        return JSONResponse(data)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / form
        write(Result(data, fetch_image), path, form, choices)
        return Response(path.read_bytes(), media_type=formats.FORMATS[form].media_type)


def write(result: Result, path: Path, form: formats.FormatName, choices: formats.Choices) -> None:
    """Writes a result as a file. Overlays of images over 1024 px are made one after the other.

    Args:
        result: result to write.
        path: file to write.
        form: format of the file.
        choices: what only some formats ask.

    Raises:
        The errors of `formats.write`.
    """
    large = form == formats.FormatName.OVERLAY and max(result.width, result.height) > MAX_SIDE
    with _LARGE if large else nullcontext():
        formats.write(result, path, form, choices)
