"""A submission: the jobs that measure one image, and how their results become one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from grainserve.result import Result


@dataclass(frozen=True)
class Submission:
    """An image that was submitted.

    Attributes:
        image_ids: its job, or those of its tiles.
        result: makes the results of these jobs, in their order, the image's own.
    """

    image_ids: tuple[str, ...]
    result: Callable[[Sequence[Result]], Result]

    @classmethod
    def of_one(cls, image_id: str) -> Submission:
        """Returns the submission of an image that one job measures."""
        return cls((image_id,), lambda results: results[0])
