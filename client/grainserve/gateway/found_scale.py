"""Finds the scale of an upload: in its file, or from the scale bar in its picture."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Literal

from anyio import CapacityLimiter, to_thread

from grainserve import admission
from grainserve.errors import InvalidImage, InvalidOption, ScaleError
from grainserve.images import ImageFile
from grainserve.reading.picture import MAX_READS, read_header
from grainserve.scale.find import Mode, find_scale
from grainserve.scale.units import Scale

AT_ONCE = 2
"""Pictures that are searched at once in a gateway; other uploads wait, without a thread."""
MOST_PIXELS = 4096**2
"""Largest picture that is searched for a scale bar. Of a larger one, only what the file says is read."""
MODES: tuple[Mode, ...] = ("file", "auto")

Asked = Literal["", Mode]
"""Place where the scale of an upload is looked for: `file`, `auto`, or empty for none."""


@dataclass(frozen=True)
class Found:
    """The outcome of a search for a scale.

    Attributes:
        scale: the scale; None where there is none that could be taken.
        error: why there is none; None where there is one.
    """

    scale: Scale | None
    error: ScaleError | InvalidImage | None = None

    def to_dict(self) -> dict[str, Any]:
        """Returns the content of the answer: `umPerPx` and `source`, or `error` in the form of errors."""
        if self.scale:
            return {"umPerPx": self.scale.um_per_px, "source": self.scale.source}
        error = self.error and {"code": self.error.code, "message": str(self.error)}
        return {"umPerPx": None, "source": None, "error": error}


def asked_for(values: list[str]) -> Asked:
    """Reads the query parameter `scale`.

    Args:
        values: its values.

    Raises:
        InvalidOption: it is given twice, or is neither `file` nor `auto`.
    """
    if len(values) > 1:
        raise InvalidOption("scale is given twice: give it once")
    if values in ([], [""]):
        return ""
    for mode in MODES:
        if values == [mode]:
            return mode
    raise InvalidOption(f"scale is {values[0][:64]!r}; it must be 'auto' or 'file'")


class Finder:
    """Finds scales within the gateway's memory."""

    def __init__(self) -> None:
        self._threads = CapacityLimiter(AT_ONCE)

    async def find(self, image: bytes, mode: Mode) -> Found:
        """Finds the scale of an image. That there is none, or that sources disagree, is no reason to refuse an upload.

        Args:
            image: checked image file.
            mode: `file` or `auto`, as of `find_scale`.
        """
        return await to_thread.run_sync(_find, image, mode, limiter=self._threads)


def _find(image: bytes, mode: Mode) -> Found:
    header = read_header(image)
    mode = "file" if header.width * header.height > MOST_PIXELS else mode
    try:
        with admission.DECODING if admission.is_large(header) else nullcontext():
            return Found(find_scale(ImageFile(image, most_reads=MAX_READS), mode))
    except (ScaleError, InvalidImage) as error:
        return Found(None, error)
