"""An image on its way: the jobs that measure it, and how their results become one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from grainserve.result import Result


@dataclass(frozen=True)
class Work:
    """An image on its way.

    Attributes:
        image_ids: its job, or those of its tiles.
        result: makes the results of these jobs, in their order, the image's own.
    """

    image_ids: tuple[str, ...]
    result: Callable[[Sequence[Result]], Result]
