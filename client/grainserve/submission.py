"""A submission: the jobs that measure one image, and how their results become one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from grainserve.result import Result


@dataclass(frozen=True)
class Submission:
    """An image that was submitted, as one job or as one for each tile.

    Attributes:
        image_ids: image id of its job, or of each tile's job.
        result: makes the image's result from the jobs' results, which must be in the order of `image_ids`.
    """

    image_ids: tuple[str, ...]
    result: Callable[[Sequence[Result]], Result]

    @classmethod
    def of_one(cls, image_id: str) -> Submission:
        """Returns the submission of an image that is one job."""
        return cls((image_id,), lambda results: results[0])
