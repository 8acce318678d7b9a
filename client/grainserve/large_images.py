"""Images over 1024 px: submits their tiles as jobs, all to one model version, and resumes after a crash."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from grainserve.deadline import Deadline
from grainserve.errors import ImageNotFound, InvalidOption, JobFailed, ResultNotFound, WaitTimeout
from grainserve.images import ImageFile, ImageSource, display_pixels
from grainserve.jobs.store import JobStore
from grainserve.result import Result
from grainserve.results.frame import OPTIONS, frame_of, said_of
from grainserve.submission import Submission
from grainserve.tiles.layout import Layout
from grainserve.tiles.result import TILES_ONLY, assembled, merged_result, odd_ones
from grainserve.tiles.source import read


class Submitter(Protocol):
    """The part of `Client` that `submit_tiles` needs; see there for each method."""

    model: str
    version: str | None
    store: JobStore

    def default_version(self) -> str | None: ...  # noqa: D102

    def submit_checked(  # noqa: D102
        self,
        image: ImageFile,
        options: Mapping[str, Any],
        *,
        idempotency_key: str | None = None,
        version: str | None = None,
        on_id: Callable[[str], None] | None = None,
    ) -> str: ...

    def poll(self, image_id: str) -> Result | None: ...  # noqa: D102

    def finish(self, submission: Submission, timeout: Deadline) -> Result: ...  # noqa: D102

    def too_late(self, image_id: str, deadline: Deadline) -> WaitTimeout: ...  # noqa: D102


def submit_tiles(
    client: Submitter,
    image: ImageFile,
    largest_grain: int,
    options: Mapping[str, Any],
    *,
    deadline: Deadline,
    on_id: Callable[[str], None],
) -> Submission:
    """Submits all tiles of an image at once, so that the queue shows how much there is to do.

    A tile's idempotency key is made from all that its job measures. So the same image with the same options finds the
    jobs of an earlier run, wherever that run ended. Besides the image's pixels, only one tile's PNG is in memory at a
    time.

    Args:
        client: client that submits the jobs.
        image: image over 1024 px.
        largest_grain: largest extent of a grain expected, px.
        options: checked options.
        deadline: time limit for submitting all tiles.
        on_id: called with the image id of each job before the job is stored.

    Raises:
        WaitTimeout: the tiles were not submitted in time; the jobs submitted so far go on.
        InvalidOption: `largest_grain` is out of range, the mask format is not RLE, or a crop does not lie in the image.
        InvalidImage: the image cannot be read.
        StorageError: GCS could not store a tile.
    """
    if options.get("mask_format", "rle") != "rle":
        raise InvalidOption(
            f"mask_format is {options['mask_format']!r}; images over 1024 px are merged from 'rle' masks: leave it out"
        )
    options = {**options, "mask_format": "rle"}
    source = read(image)
    image.release()  # only the decoded pixels are needed from here on
    height, width = source.pixels.shape[:2]
    frame = frame_of(options, width, height)
    pixels = source.pixels[frame.slices]
    layout = Layout.of(frame.width, frame.height, largest_grain)
    framing = {name: options[name] for name in OPTIONS if name in options}
    asked = {name: value for name, value in options.items() if name not in OPTIONS}  # tiles are cut from the frame
    version = _version(client, pixels[layout.tiles[0].slices], asked, deadline, on_id)
    ids: list[str] = []
    for tile in layout.tiles:
        if ids and deadline.left <= 0:
            raise client.too_late(ids[-1], deadline)
        ids.append(_submit_tile(client, pixels[tile.slices], version, asked, on_id))
    description = source.description  # `merged` keeps this alone, so that the pixels can go
    warnings = (*source.warnings, *said_of(frame, framing, width, height))

    def merged(results: Sequence[Result]) -> Result:
        _forget(client, (ids[index] for index in odd_ones(results)[0]))  # so that the next run does not find them
        data = merged_result(layout, results, description, warnings, frame=frame, framing=framing)
        return Result(data, fetch_image=lambda: fetched(client.store, data["metadata"]))

    return Submission(tuple(ids), merged)


def fetched(store: JobStore, metadata: Mapping[str, Any]) -> ImageSource:
    """Fetches the image of a result from the bucket; assembles one that is there only as tiles.

    Args:
        store: store that the image, or its tiles, were submitted to.
        metadata: the result's metadata.

    Raises:
        ImageNotFound: the image, or a tile, was deleted.
    """
    if (tiles := metadata.get("tiles")) and str(metadata["imageId"]).startswith(TILES_ONLY):
        size = metadata["image"]["height"], metadata["image"]["width"]
        return assembled(tiles, (display_pixels(store.image(each)) for each in tiles["imageIds"]), size)
    return store.image(str(metadata["imageId"]))


def _version(
    client: Submitter,
    tile: NDArray[np.uint8],
    options: Mapping[str, Any],
    deadline: Deadline,
    on_id: Callable[[str], None],
) -> str:
    """Returns the version that measures all tiles, so that a swap in between does not mix two.

    It is the client's version, else TorchServe's default one. Where management is not to be asked, one tile is measured
    first, and the version that answers is taken.
    """
    if known := client.version or client.default_version():
        return known
    measured = client.finish(Submission.of_one(client.submit_checked(ImageFile(tile), options, on_id=on_id)), deadline)
    return str(measured.metadata["version"])


def _submit_tile(
    client: Submitter, tile: NDArray[np.uint8], version: str, options: Mapping[str, Any], on_id: Callable[[str], None]
) -> str:
    png = ImageFile(tile)
    asked = json.dumps([client.model, version, options], sort_keys=True).encode()
    key = f"tile/{hashlib.sha256(hashlib.sha256(png.data).digest() + asked).hexdigest()}"
    image_id = client.submit_checked(png, options, idempotency_key=key, version=version, on_id=on_id)
    try:
        client.poll(image_id)
    except (JobFailed, ResultNotFound):  # an earlier run left a job without a result
        _forget(client, [image_id])
        image_id = client.submit_checked(png, options, idempotency_key=key, version=version, on_id=on_id)
    return image_id


def _forget(client: Submitter, image_ids: Iterable[str]) -> None:
    """Deletes jobs, each once; jobs that are gone already are fine.

    Tiles that are alike, as blank margins are, share one job.
    """
    for image_id in dict.fromkeys(image_ids):
        with suppress(ImageNotFound):
            client.store.delete(image_id)
