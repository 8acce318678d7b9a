"""A result as one of the files that people want of it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastapi import Response
from fastapi.responses import JSONResponse

from grainserve.exports import formats
from grainserve.exports.table import CsvDialect
from grainserve.result import Result


def render(
    data: dict[str, Any], form: formats.FormatName, fetch_image: Callable[[], bytes], csv_dialect: CsvDialect
) -> Response:
    """Makes an answer of a result: the JSON as stored, or a file of any other format.

    Args:
        data: the result.
        form: which.
        fetch_image: brings the image that outlines are drawn on.
        csv_dialect: of CSV.

    Raises:
        MasksMissing: a format that is made of masks, of a result without.
        ExtraMissing: a library is not installed here.
        NoGrains: statistics of a result without grains that sizes could be taken from.
    """
    if form == "json":
        return JSONResponse(data)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / form
        formats.write(Result(data, fetch_image), path, form, csv_dialect=csv_dialect)
        return Response(path.read_bytes(), media_type=formats.FORMATS[form].media_type)
