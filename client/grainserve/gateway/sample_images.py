"""The measured images of a sample, read from the bucket within limits."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from grainserve.errors import ImageNotFound, InvalidJob, InvalidResult, ResultNotFound, SampleTooLarge
from grainserve.jobs.job import Job, State
from grainserve.jobs.store import JobStore, entry_of
from grainserve.pictures.album import Album, Form, Original
from grainserve.reports.document import Flag
from grainserve.reports.sources import MOST_OVERLAYS, Measured
from grainserve.result import Result

WHOLE = 2
"""Count of a grain with all its measurements and its mask against the limit on grains: it takes 4 KiB of memory, and
one with the figures of statistics alone half of that."""

FIGURES = frozenset({
    "boundingBox", "area", "equivalentDiameter", "minorAxisLength", "touchesEdge", "lowPrecision", "orientationFromX",
    "aspectRatio", "circularity", "roundness", "solidity", "eccentricity",
})  # fmt: skip
"""Measurements of a grain that statistics and reports are made of."""

SIDE = 1400
"""Longer side of the pictures that reports get, px: that of a single image in a report."""

READERS = 8
"""Records, or results, that one request reads at once."""

Keep = Literal["figures", "pictures", "all"]
"""Parts of grains that are kept: measurements that figures are made of (`figures`); besides, all of the grains of the
images that a report shows (`pictures`); or all of all grains, for tables and masks (`all`)."""

Why = Literal["waiting", "failed", "missing"]


@dataclass(frozen=True)
class LeftOut:
    """An image of a sample that is not in its numbers.

    Attributes:
        image_id: id of the image.
        name: name of the image.
        why: `waiting` for its job, `failed`, or `missing`: deleted, or of somebody else.
        message: reason of a failure; empty for the others.
    """

    image_id: str
    name: str
    why: Why
    message: str = ""


@dataclass(frozen=True)
class Images:
    """The images of a sample.

    Attributes:
        measured: images with results, in the sample's order.
        left_out: all others.
        taken: what they count against the limit on grains.
    """

    measured: Sequence[Measured]
    left_out: Sequence[LeftOut]
    taken: int

    @property
    def flags(self) -> tuple[Flag, ...]:
        """The flag that says how many images are left out; none where there are none."""
        if not self.left_out:
            return ()
        counts: dict[Why, int] = {why: sum(each.why == why for each in self.left_out) for why in _WORDS}
        said = ", ".join(f"{count} {_WORDS[why]}" for why, count in counts.items() if count)
        total = len(self.left_out) + len(self.measured)
        words = f"{len(self.left_out)} of {total} images of the sample are not in these numbers: {said}."
        numbers = {"images": float(total)} | {str(why): float(count) for why, count in counts.items()}
        return (Flag("images_left_out", "warning", words, numbers),)


_WORDS: dict[Why, str] = {
    "waiting": "not measured yet",
    "failed": "failed to be measured",
    "missing": "deleted",
}


class Shelf:
    """Jobs and results of one caller in the bucket.

    Args:
        store: job store.
        album: pictures of images.
        submitter: owner of the caller's jobs. Other people's images count as missing.
        most: largest number of grains that are read for one answer; a whole one counts `WHOLE`.
    """

    def __init__(self, store: JobStore, album: Album, submitter: str, most: int) -> None:
        self._store = store
        self._album = album
        self._submitter = submitter
        self._most = most

    def result(self, image_id: str) -> dict[str, Any]:
        """Returns a result with its current scale.

        Raises:
            ResultNotFound: there is no result any more.
        """
        return self._store.result(image_id)

    def image(self, image_id: str) -> bytes:
        """Returns an image as it was submitted.

        Raises:
            ImageNotFound: it was deleted.
        """
        return self._store.image(image_id)

    def sort(self, image_ids: Sequence[str]) -> tuple[list[tuple[str, str]], list[LeftOut]]:
        """Sorts images into measured ones, each id with its name, and all others."""
        measured: list[tuple[str, str]] = []
        left_out: list[LeftOut] = []
        with ThreadPoolExecutor(READERS) as pool:
            known = list(pool.map(self._known, image_ids))
        for image_id, (job, name) in zip(image_ids, known, strict=True):
            if job is None:
                left_out.append(LeftOut(image_id, name, "missing"))
            elif job.state is State.DONE:
                measured.append((image_id, name))
            elif job.state is State.FAILED:
                left_out.append(LeftOut(image_id, name, "failed", job.error.message if job.error else ""))
            else:
                left_out.append(LeftOut(image_id, name, "waiting"))
        return measured, left_out

    def read(self, image_ids: Sequence[str], keep: Keep, taken: int = 0) -> Images:
        """Reads the results of images.

        Args:
            image_ids: ids of the images.
            keep: what is kept of grains.
            taken: what the images read before for the same answer count against the limit.

        Raises:
            SampleTooLarge: the images have more grains than one answer may have.
        """
        there, left_out = self.sort(image_ids)
        measured: list[Measured] = []
        pictures = MOST_OVERLAYS if keep == "pictures" else 0
        for (image_id, name), data in zip(there, _in_order(self._result, [each for each, _ in there]), strict=True):
            if data is None:
                left_out.append(LeftOut(image_id, name, "missing"))
                continue
            grains = data["segmentedObjects"]
            shown = pictures > 0 and bool(grains) and all(each["mask"] is not None for each in grains)
            pictures -= shown
            whole = shown or keep == "all"
            taken += len(grains) * (WHOLE if whole else 1)
            if taken > self._most:
                raise SampleTooLarge(
                    f"the images have more grains than are measured at once ({self._most} for statistics, "
                    f"{self._most // WHOLE} for tables and masks): make smaller samples"
                )
            if not whole:
                for each in grains:
                    each["mask"] = None
                    each["properties"] = {key: value for key, value in each["properties"].items() if key in FIGURES}
            measured.append(self._measured(image_id, name, data))
        return Images(measured, left_out, taken)

    def _known(self, image_id: str) -> tuple[Job | None, str]:
        """Returns an image's job and its name in the history; no job where there is none of this caller."""
        try:
            job = self._store.job(image_id)
        except (ImageNotFound, InvalidJob):
            return None, image_id
        if job.submitter != self._submitter:
            return None, image_id
        return job, self._store.entries.find(entry_of(job)).name or image_id

    def _result(self, image_id: str) -> dict[str, Any] | None:
        try:
            return self.result(image_id)
        except (ResultNotFound, InvalidResult):  # deleted since its record was read, or damaged
            return None

    def _measured(self, image_id: str, name: str, data: dict[str, Any]) -> Measured:
        result = Result(data)
        return Measured(name, result, fetch=lambda: self._picture(result))

    def _picture(self, result: Result) -> tuple[NDArray[np.uint8] | None, str]:
        """Returns a picture as large as reports show it, so that none is decoded beside the album."""
        image_id = result.image_id
        found = self._store.find_image(image_id)
        if found is None:
            return None, "it was deleted"
        try:
            image = Original((image_id, found.generation), lambda: self._store.image(image_id))
            file = self._album.preview(image, SIDE, Form.WEBP)
        except ImageNotFound:
            return None, "it was deleted"
        if file.size != (result.width, result.height):
            return None, "it does not have the size that was measured"
        return np.asarray(Image.open(io.BytesIO(file.data)).convert("RGB")), ""


def _in_order(read: Callable[[str], Any], image_ids: Sequence[str]) -> Iterable[Any]:
    """Yields what is read of each image, in order; a few are read ahead, and none after the last that is wanted."""
    with ThreadPoolExecutor(READERS) as pool:
        ahead = [pool.submit(read, each) for each in image_ids[:READERS]]
        for index in range(len(image_ids)):
            if index + READERS < len(image_ids):
                ahead.append(pool.submit(read, image_ids[index + READERS]))
            yield ahead.pop(0).result()
