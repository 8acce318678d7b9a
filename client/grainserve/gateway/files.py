"""A result as one of the files that people want of it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from fastapi import Response
from fastapi.responses import JSONResponse

from grainserve.result import Result

Format = Literal["json", "csv", "overlay", "sizes", "statistics"]


def render(data: dict[str, Any], form: Format, fetch_image: Callable[[], bytes]) -> Response:
    """Makes an answer of a result: the JSON as stored, the table as CSV, outlines or grain sizes as PNG, statistics.

    Args:
        data: the result.
        form: which.
        fetch_image: brings the image that outlines are drawn on.

    Raises:
        MasksMissing: outlines of a result without masks.
        NoGrains: statistics of a result without grains that sizes could be taken from.
    """
    if form == "json":
        return JSONResponse(data)
    result = Result(data, fetch_image)
    if form == "statistics":
        return JSONResponse(result.statistics().to_dict())
    write = {"csv": result.to_csv, "overlay": result.overlay, "sizes": result.histogram}[form]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / form
        write(path)
        return Response(path.read_bytes(), media_type="text/csv; charset=utf-8" if form == "csv" else "image/png")
