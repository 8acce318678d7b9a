"""The measured images of a sample, read from the bucket within limits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from grainserve.errors import ImageNotFound, ResultNotFound, SampleTooLarge
from grainserve.jobs.job import Job, State
from grainserve.jobs.store import JobStore
from grainserve.reports.document import Flag
from grainserve.reports.sources import Measured
from grainserve.result import Result

READERS = 8
"""Records, or results, that one request reads at once."""

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
    """

    measured: Sequence[Measured]
    left_out: Sequence[LeftOut]

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
        submitter: the caller's name. Other people's images count as missing.
        most: largest number of grains that are read for one answer.
    """

    def __init__(self, store: JobStore, submitter: str, most: int) -> None:
        self._store = store
        self._submitter = submitter
        self._left = self._most = most

    def jobs(self, image_ids: Sequence[str]) -> list[Job | None]:
        """Returns the job of each image; None where there is none of this caller."""
        with ThreadPoolExecutor(READERS) as pool:
            return list(pool.map(self._job, image_ids))

    def names(self, image_ids: Sequence[str]) -> list[str]:
        """Returns the name of each image."""
        return list(image_ids)

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
        for image_id, name, job in zip(image_ids, self.names(image_ids), self.jobs(image_ids), strict=True):
            if job is None:
                left_out.append(LeftOut(image_id, name, "missing"))
            elif job.state is State.DONE:
                measured.append((image_id, name))
            elif job.state is State.FAILED:
                left_out.append(LeftOut(image_id, name, "failed", job.error.message if job.error else ""))
            else:
                left_out.append(LeftOut(image_id, name, "waiting"))
        return measured, left_out

    def read(self, image_ids: Sequence[str], *, masks: bool) -> Images:
        """Reads the results of images. All reads together may have as many grains as the shelf allows.

        Args:
            image_ids: ids of the images.
            masks: whether masks are needed; without them results take less memory.

        Raises:
            SampleTooLarge: the images have more grains.
        """
        there, left_out = self.sort(image_ids)
        measured: list[Measured] = []
        for (image_id, name), data in zip(there, _in_order(self._result, [each for each, _ in there]), strict=True):
            if data is None:
                left_out.append(LeftOut(image_id, name, "missing"))
                continue
            self._left -= len(data["segmentedObjects"])
            if self._left < 0:
                raise SampleTooLarge(
                    f"the images have more than {self._most} grains, which is as many as are measured at once: make "
                    "smaller samples"
                )
            if not masks:
                for each in data["segmentedObjects"]:
                    each["mask"] = None
            measured.append(self._measured(image_id, name, data))
        return Images(measured, left_out)

    def _job(self, image_id: str) -> Job | None:
        try:
            job = self._store.job(image_id)
        except ImageNotFound:
            return None
        return job if job.submitter == self._submitter else None

    def _result(self, image_id: str) -> dict[str, Any] | None:
        try:
            return self.result(image_id)
        except ResultNotFound:  # deleted since its record was read
            return None

    def _measured(self, image_id: str, name: str, data: dict[str, Any]) -> Measured:
        result = Result(data, lambda: self.image(image_id))

        def picture() -> tuple[NDArray[np.uint8] | None, str]:
            try:
                return result.pixels(), ""
            except ImageNotFound:
                return None, "it was deleted"

        return Measured(name, result, fetch=picture)


def _in_order(read: Callable[[str], Any], image_ids: Sequence[str]) -> Iterable[Any]:
    """Yields what is read of each image, in order; a few are read ahead, and none after the last that is wanted."""
    with ThreadPoolExecutor(READERS) as pool:
        ahead = [pool.submit(read, each) for each in image_ids[:READERS]]
        for index in range(len(image_ids)):
            if index + READERS < len(image_ids):
                ahead.append(pool.submit(read, image_ids[index + READERS]))
            yield ahead.pop(0).result()
