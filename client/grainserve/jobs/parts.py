"""The parts of a large image: each is a job of its own, under an id that begins with the image's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from grainserve.errors import ImageNotFound, InvalidJob
from grainserve.storage.bucket import Bucket

AT_ONCE = 8
"""Parts deleted or cancelled at the same time: each costs several calls, and an image may have hundreds."""
LOOK = "look"
"""Name of the part that is the whole image scaled down."""


@dataclass(frozen=True)
class Part:
    """A part of a large image.

    Attributes:
        parent: image id of the large image.
        name: what no other part of it is called: LOOK, or the tiles' largest grain and the tile's number, so that tiles
            laid in another way are other jobs.
    """

    parent: str
    name: str

    @classmethod
    def tile(cls, parent: str, largest_grain: int, index: int) -> Part:
        """Returns a tile of the image.

        Args:
            parent: image id of the large image.
            largest_grain: largest extent of a grain, px, for which the tiles are laid.
            index: index of the tile.
        """
        return cls(parent, f"{largest_grain}-{index:04d}")

    @property
    def image_id(self) -> str:
        """Image id of the part's job."""
        return f"{self.parent}-{self.name}"


class Store(Protocol):
    """The part of `JobStore` that this module needs; see there."""

    bucket: Bucket

    def delete(self, image_id: str) -> None: ...  # noqa: D102

    def cancel(self, image_id: str) -> bool: ...  # noqa: D102


def delete_all(store: Store, parent: str) -> None:
    """Deletes all parts of a large image, and their jobs and results."""
    _each(store, parent, store.delete)
    for found in store.bucket.entries(f"images/{parent}-"):  # of a submission that did not come to its record
        store.bucket.delete(found.name, found.generation)


def cancel_all(store: Store, parent: str) -> None:
    """Cancels all jobs of a large image's parts that have not ended."""
    _each(store, parent, store.cancel)


def _each(store: Store, parent: str, do: Callable[[str], object]) -> None:
    def done(image_id: str) -> None:
        with suppress(ImageNotFound, InvalidJob):
            do(image_id)

    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="grainserve-parts") as pool:
        for _ in pool.map(done, list(_ids(store.bucket, parent))):
            pass


def _ids(bucket: Bucket, parent: str) -> Iterator[str]:
    """Yields the image ids of the parts that have a record."""
    names = bucket.names(f"jobs/{parent}-")
    return (name.removeprefix("jobs/").removesuffix(".json") for name in names)
