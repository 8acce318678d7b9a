"""Images over 1024 px: each look at such a job takes it one step on, and no step waits for a tile.

1. The image scaled down is submitted, to estimate the largest grain, unless that is given.
2. The tiles are submitted, each as a job of its own.
3. When all tiles are done, their results are merged.

All that a step needs is in the bucket, and a step that is taken twice does nothing the second time: parts have ids that
follow from the image's. So any process may die at any moment.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from grainserve.admission import DECODING, check_any, refused
from grainserve.errors import (
    GrainserveError,
    ImageNotFound,
    ImageRejected,
    InvalidResult,
    ResultNotFound,
    TilesDisagree,
)
from grainserve.images import MAX_SIDE, ImageFile
from grainserve.jobs.job import AUTO, LARGEST_GRAIN, Failure, Job, State, Tiles
from grainserve.jobs.markers import Ticket
from grainserve.jobs.parts import LOOK, Part
from grainserve.jobs.store import DELETED, JobStore
from grainserve.reading.picture import read_picture
from grainserve.reading.refusal import Refused
from grainserve.results.data import ResultData
from grainserve.results.frame import OPTIONS, Box, frame_of, said_of
from grainserve.tiles.layout import LARGEST_GRAIN as USUAL
from grainserve.tiles.layout import MAX_LARGEST_GRAIN, Layout
from grainserve.tiles.result import merged_result, odd_ones
from grainserve.tiles.source import Source

ESTIMATES = (32, MAX_LARGEST_GRAIN)
"""Least and largest extent that a first look may estimate, px."""
MOST_GRAINS, MARGIN = 99, 1.25
"""Percentage of the grains of a first look, and how many times their largest extent the estimate is: single masks of
the ground are larger than all grains, and a look at fewer pixels misses some of an outline."""
NOT_OF_A_LOOK = {*OPTIONS, LARGEST_GRAIN, "um_per_px", "scale_source", "min_area", "min_mask_region_area"}
"""Options that would mean something else in the image scaled down."""
MOST_TILES = 1000
"""Most tiles of an image: 40 megapixels take 484 at most, unless they are one long strip."""
SOONEST, FOR_EACH, LATEST = 1.0, 0.25, 10.0
"""Seconds until the next step: at least, for each tile that is not done, at most."""
CUTTING = threading.Lock()
"""Held while an image is cut: one at a time in a process, for the memory that its pixels take."""


@dataclass(frozen=True)
class Wait:
    """The job goes on later.

    Attributes:
        tiles: tiles of the image, once they are laid.
        seconds: time until the next step, s.
    """

    tiles: Tiles | None
    seconds: float


Outcome = Wait | Failure | dict[str, Any]
"""Outcome of a step: more steps, the failure of the job, or its result."""


class NotWanted(Exception):
    """The job is no longer this dispatcher's: the step ends where it is."""


class LargeImages:
    """Takes the jobs of large images on, step by step.

    Args:
        store: store of the jobs.
        wanted: tells whether a step should go on; asked before each tile that is submitted.
        on_part: called with the ticket of each part that was submitted.
    """

    def __init__(
        self,
        store: JobStore,
        wanted: Callable[[], bool] = lambda: True,
        on_part: Callable[[Ticket], None] = lambda _: None,
    ) -> None:
        self._store = store
        self._wanted = wanted
        self._on_part = on_part

    def step(self, job: Job) -> Outcome:
        """Takes a job of a large image on by one step.

        Raises:
            ImageNotFound: the image was deleted.
            StorageError: storage does not answer; what is done already stays.
            TilesDisagree: the tiles were not all measured alike; those that differ from the latest one are deleted, and
                the next step submits them again.
            NotWanted: the step should not go on.
        """
        try:
            return self._lay(job) if job.tiles is None else self._go_on(job, job.tiles)
        except _Ended as ended:
            return ended.failure

    def _lay(self, job: Job) -> Outcome:
        """Lays the tiles and submits them, after a first look if there has to be one."""
        given, said = job.options[LARGEST_GRAIN], list[str]()
        look: dict[str, Any] | None = None
        if given == AUTO and (found := self._state(Part(job.image_id, LOOK))) is not None:
            try:
                look = self._result_of(found)
            except (ResultNotFound, InvalidResult):  # deleted or damaged since it was made: the next step looks again
                self._forget(found.image_id)
                return Wait(None, SOONEST)
            if look is None:
                self._mark(found)
                return Wait(None, SOONEST)
        with CUTTING:
            source = _decoded(self._store.image(job.image_id))
            height, width = source.pixels.shape[:2]
            frame = _checked(lambda: frame_of(job.options, width, height))
            pixels = source.pixels[frame.slices]
            if given == AUTO and look is None and max(pixels.shape[:2]) > MAX_SIDE:
                self._submit(job, Part(job.image_id, LOOK), _scaled(pixels), _options_of_look(job.options))
                return Wait(None, SOONEST)
            if given == AUTO:
                given, text = _estimate(look, max(pixels.shape[:2]))
                said.append(text)
            layout = _checked(lambda: Layout.of(frame.width, frame.height, given))
            if (count := len(layout.columns) * len(layout.rows)) > MOST_TILES:
                what = f"the image would take {count} tiles, and {MOST_TILES} are the limit: cut it, or scale it down"
                return Failure("too_many_tiles", what, 413)
            warnings = (*said, *source.warnings, *said_of(frame, job.options, width, height))
            tiles = Tiles(given, len(layout.tiles), source.description, warnings)
            self._submit_tiles(job, tiles, layout, pixels, range(tiles.count))
        return Wait(tiles, _pause(tiles.count))

    def _go_on(self, job: Job, tiles: Tiles) -> Outcome:
        """Merges the tiles where all are done; submits those that are gone."""
        ids = [Part.tile(job.image_id, tiles.largest_grain, index).image_id for index in range(tiles.count)]
        pending = self._names(f"pending/{job.submitter}/", job, tiles)
        done = tiles_done(self._store, job)  # after those that are pending, so that none is in neither
        left = [index for index, each in enumerate(ids) if each not in done]
        if not left:
            return self._merged(job, tiles, ids)
        gone = [index for index in left if ids[index] not in pending and self._is_gone(job, tiles, index)]
        if gone:
            with CUTTING:
                source = _decoded(self._store.image(job.image_id))
                frame, layout = _laid(job, tiles)
                self._submit_tiles(job, tiles, layout, source.pixels[frame.slices], gone)
        return Wait(tiles, _pause(len(left)))

    def _merged(self, job: Job, tiles: Tiles, ids: Sequence[str]) -> Outcome:
        frame, layout = _laid(job, tiles)
        framing = {name: job.options[name] for name in OPTIONS if name in job.options}
        try:
            results = [ResultData(self._store.stored_result(each)) for each in ids]
        except ResultNotFound:
            return Wait(tiles, SOONEST)
        try:
            merged = merged_result(
                layout, results, tiles.image, tiles.warnings, frame=frame, framing=framing, image_id=job.image_id
            )
        except TilesDisagree:
            for index in odd_ones(results)[0]:
                self._forget(ids[index])
            raise
        if trace := results[0].metadata.get("traceId"):
            merged["metadata"]["traceId"] = trace
        return merged

    def _submit_tiles(
        self,
        job: Job,
        tiles: Tiles,
        layout: Layout,
        pixels: np.ndarray[Any, np.dtype[np.uint8]],
        indices: Sequence[int],
    ) -> None:
        there = self._names(f"pending/{job.submitter}/", job, tiles) | self._names("results/", job, tiles, ".json")
        asked = {name: value for name, value in job.options.items() if name not in (*OPTIONS, LARGEST_GRAIN)}
        for index in indices:
            part = Part.tile(job.image_id, tiles.largest_grain, index)
            if part.image_id in there:
                continue
            if not self._wanted():
                raise NotWanted
            tile = np.ascontiguousarray(pixels[layout.tiles[index].slices])
            self._submit(job, part, tile, {**asked, "mask_format": "rle"})

    def _submit(
        self, job: Job, part: Part, pixels: np.ndarray[Any, np.dtype[np.uint8]], options: dict[str, Any]
    ) -> None:
        self._store.submit(
            ImageFile(pixels).data,
            model=job.model,
            version=job.version,
            options=options,
            submitter=job.submitter,
            content_type="image/png",
            traceparent=job.traceparent,
            part=part,
        )
        self._on_part(Ticket(job.submitter, part.image_id))

    def _is_gone(self, job: Job, tiles: Tiles, index: int) -> bool:
        """Tells whether a tile is to be submitted: it has no job, or its result was deleted.

        Raises:
            _Ended: its job failed.
        """
        found = self._state(Part.tile(job.image_id, tiles.largest_grain, index))
        if found is not None and found.error == DELETED:  # whoever deleted it died before the end
            self._forget(found.image_id)
            return True
        if found is not None and found.state is State.FAILED and found.error:
            what = f"tile {index + 1} of {tiles.count} failed: {found.error.message}"
            raise _Ended(Failure(found.error.code, what, found.error.status))
        if found is None:
            return True
        if not found.ended:
            self._mark(found)
            return False
        try:
            self._store.stored_result(found.image_id)
        except ResultNotFound:
            self._forget(found.image_id)
            return True
        return False

    def _forget(self, image_id: str) -> None:
        """Deletes a part, which somebody else may have deleted before."""
        with suppress(ImageNotFound):
            self._store.delete(image_id)

    def _mark(self, part: Job) -> None:
        """Marks a part's job where the step that submitted it died before that."""
        ticket = Ticket(part.submitter, part.image_id)
        if not self._store.bucket.exists(ticket.marker):
            self._store.mark(ticket)

    def _state(self, part: Part) -> Job | None:
        try:
            return self._store.job(part.image_id)
        except ImageNotFound:
            return None

    def _result_of(self, look: Job) -> dict[str, Any] | None:
        """Returns the result of a first look; None while there is none.

        Raises:
            _Ended: the look failed.
        """
        if look.state is State.FAILED and look.error:
            what = f"the first look at the image scaled down failed: {look.error.message}"
            raise _Ended(Failure(look.error.code, what, look.error.status))
        return self._store.stored_result(look.image_id) if look.state is State.DONE else None

    def _names(self, folder: str, job: Job, tiles: Tiles, ending: str = "") -> set[str]:
        """Returns the ids of the image's tiles that have an object in a folder: one call for 1000."""
        found = self._store.bucket.names(f"{folder}{Part(job.image_id, str(tiles.largest_grain)).image_id}-")
        return {name.removeprefix(folder).removesuffix(ending) for name in found}


def tiles_done(store: JobStore, job: Job) -> set[str]:
    """Returns the ids of a large image's tiles that have a result; none before the tiles are laid."""
    if job.tiles is None:
        return set()
    found = store.bucket.names(f"results/{Part(job.image_id, str(job.tiles.largest_grain)).image_id}-")
    return {name.removeprefix("results/").removesuffix(".json") for name in found}


class _Ended(Exception):
    """The job fails."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


def _checked(make: Callable[[], Any]) -> Any:
    try:
        return make()
    except GrainserveError as error:
        raise _Ended(Failure(error.code, str(error), 422)) from None


def _decoded(data: bytes) -> Source:
    """Decodes an image of any sender."""
    try:
        header = check_any(data)
        with DECODING:
            picture = read_picture(data, header)
    except Refused as fault:
        raise _rejected(refused(fault)) from None
    except ImageRejected as error:
        raise _rejected(error) from None
    return Source.of(picture, header.format, len(data))


def _rejected(error: ImageRejected) -> _Ended:
    return _Ended(Failure(error.code, str(error), error.status))


def _laid(job: Job, tiles: Tiles) -> tuple[Box, Layout]:
    frame = frame_of(job.options, tiles.image["width"], tiles.image["height"])
    return frame, Layout.of(frame.width, frame.height, tiles.largest_grain)


def _scaled(pixels: np.ndarray[Any, np.dtype[np.uint8]]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Scales an image down to the largest that a model takes whole."""
    height, width = pixels.shape[:2]
    scale = MAX_SIDE / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BOX))


def _options_of_look(options: Mapping[str, Any]) -> dict[str, Any]:
    asked = {name: value for name, value in options.items() if name not in NOT_OF_A_LOOK}
    return {**asked, "mask_format": "none", "crop_n_layers": 0}  # enlarged crops are for small grains


def _estimate(look: Mapping[str, Any] | None, side: int) -> tuple[int, str]:
    """Estimates the largest grain from a first look.

    Args:
        look: result of the image scaled down; None if the image is small enough to be one tile.
        side: longer side of the part that is measured, px.

    Returns:
        The extent, px, and how it came about, in words.
    """
    if look is None:
        return USUAL, f"the part that was measured is one tile: the largest grain was taken as {USUAL} px"
    boxes = [each["properties"]["boundingBox"] for each in look["segmentedObjects"]]
    ways = "set largest_grain where you know better"
    if not boxes:
        return (
            USUAL,
            f"a first look at the image scaled down found no grain: the largest was taken as {USUAL} px; {ways}",
        )
    extents = [max(box["width"], box["height"]) * side / MAX_SIDE for box in boxes]
    found = round(MARGIN * float(np.percentile(extents, MOST_GRAINS)))
    bounded = min(max(found, ESTIMATES[0]), ESTIMATES[1])
    limited = f", and {found} px were found" if found != bounded else ""
    return bounded, (
        f"the largest grain was estimated as {bounded} px, from a first look at the image scaled down{limited}: {ways}"
    )


def _pause(left: int) -> float:
    return min(LATEST, SOONEST + FOR_EACH * left)
