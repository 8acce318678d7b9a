"""The scale of an upload, found in its file or from its scale bar."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from anyio import CapacityLimiter, to_thread

from grainserve.errors import InvalidOption, ScaleError
from grainserve.gateway.uploads import Upload
from grainserve.scale.find import Mode, with_scale

AT_ONCE = 1
"""Uploads that are searched at once in a gateway, since each is decoded for it; others wait, without a thread."""


class Search(StrEnum):
    """Where a scale is searched, and what happens where none is found."""

    FILE = "file"
    AUTO = "auto"
    IF_FOUND = "if-found"


@dataclass(frozen=True)
class Searched:
    """An upload whose scale was searched.

    Attributes:
        upload: the upload, with the scale among its options where one was found.
        said: what the answer to the upload says about it.
    """

    upload: Upload
    said: dict[str, Any]


class ScaleSearch:
    """The search for scales in a gateway's uploads."""

    def __init__(self) -> None:
        self._threads = CapacityLimiter(AT_ONCE)

    async def search(self, upload: Upload, mode: Search | None) -> Searched:
        """Finds the scale of an upload.

        Args:
            upload: upload to search.
            mode: `file` and `auto` as in `grainserve.scale.find.find_scale`; `if-found` as `auto`, but an upload
                without a clear scale goes on without one, and the answer says why; None searches nothing.

        Raises:
            ScaleError: no scale was found, or no clear one, and the mode is not `if-found`.
            InvalidOption: the upload has a scale already, or its image lies in a bucket.
            InvalidImage: the image cannot be read.
        """
        if mode is None:
            return Searched(upload, {})
        image = upload.image
        if isinstance(image, str):
            raise InvalidOption(
                "scale looks into an image, which stays in its bucket: give um_per_px and leave scale out"
            )
        where: Mode = "file" if mode is Search.FILE else "auto"
        try:
            options = await to_thread.run_sync(
                lambda: with_scale(image, upload.options, where, None), limiter=self._threads
            )
        except ScaleError as error:
            if mode is not Search.IF_FOUND:
                raise
            return Searched(upload, {"scale": None, "scaleProblem": str(error)})
        found = {"umPerPx": options["um_per_px"], "source": options["scale_source"]}
        return Searched(replace(upload, options=options), {"scale": found, "scaleProblem": None})
