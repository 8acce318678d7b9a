"""Images over 1024 px as one job: steps, deaths between them, failures, and deletion."""

from __future__ import annotations

import base64
import io
import json
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from grainserve import Result
from grainserve.contract import validate_result
from grainserve.dispatch import large
from grainserve.dispatch.large import LargeImages, NotWanted, Wait
from grainserve.errors import JobFailed, StorageUnreachable
from grainserve.jobs.job import Failure, Job, State
from grainserve.jobs.markers import Ticket
from grainserve.jobs.parts import LOOK, Part
from grainserve.jobs.store import DELETED, Claim, JobStore
from grainserve.storage.bucket import Bucket
from tests.unit.client.dispatch.test_dispatcher import dispatching, ended, pending, until
from tests.unit.client.fake_torchserve import TOO_LARGE, FakeTorchServe
from tests.unit.client.test_large_images import HEIGHT, TILES, WIDTH, find_bright
from tests.unit.client.test_large_images import pixels as pixels  # noqa: PLC0414 - a fixture
from tests.unit.client.test_large_images import truth as truth  # noqa: PLC0414 - a fixture
from tests.unit.client.tiles.truth import Truth

Pixels = NDArray[np.uint8]


@pytest.fixture
def mosaic(pixels: Pixels) -> bytes:
    return png(pixels)


@pytest.fixture
def store(bucket: Bucket) -> JobStore:
    return JobStore(bucket)


@pytest.fixture(autouse=True)
def segmenter(torchserve: FakeTorchServe, monkeypatch: pytest.MonkeyPatch) -> FakeTorchServe:
    """An imitation of TorchServe that finds every bright grain; steps follow one another at once."""
    torchserve.result = find_bright  # type: ignore[method-assign]
    monkeypatch.setattr(large, "SOONEST", 0.02)
    monkeypatch.setattr(large, "FOR_EACH", 0.0)
    return torchserve


def png(image: Pixels) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def submit(store: JobStore, image: bytes, largest_grain: int | str = 128, **options: Any) -> str:
    asked = {"largest_grain": largest_grain, **options}
    return store.submit(image, model="sam_tiny", version=None, options=asked, submitter="lab")


def measured(store: JobStore, torchserve: FakeTorchServe, image_id: str) -> None:
    with dispatching(store, torchserve):
        until(lambda: ended(store, image_id))


def claimed(store: JobStore, image_id: str) -> Claim:
    claim = store.claim(Ticket("lab", image_id), "me")
    assert isinstance(claim, Claim)
    return claim


def step(store: JobStore, image_id: str) -> None:
    """Takes a job on by one step that leads to another one."""
    claim = claimed(store, image_id)
    outcome = LargeImages(store).step(claim.job)
    assert isinstance(outcome, Wait)
    store.put_back(claim, outcome.tiles, -1.0)


def tile(store: JobStore, image_id: str, index: int) -> Job:
    return store.job(Part.tile(image_id, 128, index).image_id)


def test_a_large_image_is_one_job_with_one_result(
    store: JobStore,
    segmenter: FakeTorchServe,
    mosaic: bytes,
    truth: Truth,
) -> None:
    image_id = submit(store, mosaic, um_per_px=2.0, min_area=5)
    measured(store, segmenter, image_id)
    data = store.poll(image_id)
    assert data is not None
    validate_result(data)
    result = Result(data)
    assert np.array_equal(result.label_map > 0, truth.labels > 0)
    assert len(result.grains) == truth.labels.max()
    metadata = result.metadata
    assert metadata["imageId"] == image_id
    assert metadata["units"]["umPerPx"] == 2.0
    assert metadata["image"] == {
        "width": WIDTH, "height": HEIGHT, "format": "PNG", "mode": "RGB", "bytes": len(mosaic),
    }  # fmt: skip
    assert (metadata["tiles"]["count"], metadata["tiles"]["overlap"] >= 256) == (TILES, True)
    assert metadata["tiles"]["imageIds"] == [tile(store, image_id, index).image_id for index in range(TILES)]
    assert [body.get("min_area") for _, body in segmenter.requests] == [5] * TILES
    assert not any("largest_grain" in body for _, body in segmenter.requests), "TorchServe does not know it"
    assert store.job(image_id).attempts == 1, "looks at tiles do not count"
    assert {tile(store, image_id, index).parent for index in range(TILES)} == {image_id}


def test_a_first_look_estimates_the_largest_grain(
    store: JobStore,
    segmenter: FakeTorchServe,
    mosaic: bytes,
    truth: Truth,
) -> None:
    image_id = submit(store, mosaic, "auto", um_per_px=2.0, min_area=5)
    measured(store, segmenter, image_id)
    data = store.poll(image_id)
    assert data is not None
    result = Result(data)
    assert len(result.grains) == truth.labels.max()
    (said,) = (text for text in result.metadata["warnings"] if "first look" in text)
    extents = [max(each.properties["boundingBox"][side] for side in ("width", "height")) for each in result.grains]
    tiles = store.job(image_id).tiles
    assert tiles is not None
    assert tiles.largest_grain == pytest.approx(1.25 * np.percentile(extents, 99), rel=0.1)
    assert f"as {tiles.largest_grain} px" in said
    look = segmenter.requests[0][1]
    assert (look["mask_format"], look["crop_n_layers"]) == ("none", 0)
    assert not {"um_per_px", "min_area"} & set(look)
    with Image.open(io.BytesIO(store.image(Part(image_id, "look").image_id))) as seen:
        assert seen.size == (1024, round(HEIGHT * 1024 / WIDTH))


@pytest.mark.parametrize(
    ("extents", "side", "expected"),
    [
        ([20] * 9 + [40] * 9, 2048, 100),  # found at half the size, and a quarter more
        ([3], 1024, 32),
        ([900], 1024, 384),
        ([40] * 199 + [900], 1024, 50),  # one mask of the ground
        ([], 4096, 128),
    ],
)
def test_an_estimate_is_bounded_and_no_single_mask_decides(extents: list[int], side: int, expected: int) -> None:
    boxes = [{"properties": {"boundingBox": {"width": each, "height": 3}}} for each in extents]
    found, said = large._estimate({"segmentedObjects": boxes}, side)
    assert found == expected
    assert f" {expected} px" in said
    assert "set largest_grain" in said


def test_a_part_that_is_one_tile_needs_no_look(store: JobStore, segmenter: FakeTorchServe, mosaic: bytes) -> None:
    image_id = submit(store, mosaic, "auto", crop=f"40,20,1024,{HEIGHT - 40}")
    measured(store, segmenter, image_id)
    data = store.poll(image_id)
    assert data is not None
    validate_result(data)
    assert (len(segmenter.requests), data["metadata"]["tiles"]["count"]) == (1, 1)
    assert data["metadata"]["frame"] == {"x": 40, "y": 20, "width": 1024, "height": HEIGHT - 40}


def test_dispatchers_that_end_after_each_step_make_one_result(
    store: JobStore,
    segmenter: FakeTorchServe,
    mosaic: bytes,
    truth: Truth,
) -> None:
    image_id = submit(store, mosaic, "auto")
    lives = 0
    while not ended(store, image_id):
        before = json.dumps([each.image_id for each in store.pending.all()]), store.job(image_id).to_json()

        def changed(before: tuple[str, bytes] = before) -> bool:
            return before != (
                json.dumps([each.image_id for each in store.pending.all()]),
                store.job(image_id).to_json(),
            )

        with dispatching(store, segmenter):
            until(changed)
        lives += 1
    assert lives > 2
    result = store.poll(image_id)
    assert result is not None
    assert len(result["segmentedObjects"]) == truth.labels.max()
    assert len(segmenter.requests) == 1 + TILES, "nothing was measured twice"


class Killed(Exception):
    """The process died."""


class Mortal(Bucket):
    """A bucket whose user dies after the next write."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.deaths = 0

    def _write(self, *given: Any) -> int:
        super()._write(*given)
        self.deaths += 1
        raise Killed


def test_a_step_may_end_after_any_write_and_another_goes_on(
    store: JobStore,
    segmenter: FakeTorchServe,
    mosaic: bytes,
    truth: Truth,
    bucket_name: str,
) -> None:
    image_id = submit(store, mosaic, "auto")
    mortal = Mortal(bucket_name)
    dying = JobStore(mortal)
    while True:
        try:
            outcome = LargeImages(dying).step(store.job(image_id))
        except Killed:
            continue
        if not isinstance(outcome, Wait):
            break
        store.put_back(claimed(store, image_id), outcome.tiles, 60.0)  # so that the dispatcher leaves it alone
        with dispatching(store, segmenter):
            until(lambda: pending(store) == [image_id])
        job, generation = store._records.read(image_id)
        store._records.swap(replace(job, not_before=None), generation)
    assert isinstance(outcome, dict)
    validate_result(outcome)
    assert len(outcome["segmentedObjects"]) == truth.labels.max()
    assert mortal.deaths == 3 * (1 + TILES), "image, record and marker of each part"
    assert len(segmenter.requests) == 1 + TILES


def test_a_step_that_is_no_longer_wanted_submits_no_more(store: JobStore, mosaic: bytes) -> None:
    image_id = submit(store, mosaic)
    asked = iter([True, False])
    with pytest.raises(NotWanted):
        LargeImages(store, lambda: next(asked)).step(store.job(image_id))
    assert len(pending(store)) == 2, "the image's, and the first tile's"


def test_a_tile_that_fails_fails_the_image_with_its_reason(
    store: JobStore, segmenter: FakeTorchServe, mosaic: bytes
) -> None:
    image_id = submit(store, mosaic)
    segmenter.script = [TOO_LARGE]
    measured(store, segmenter, image_id)
    with pytest.raises(JobFailed, match=r"tile [12] of 2 failed: the image is 4000 px wide") as failed:
        store.poll(image_id)
    assert (failed.value.code, failed.value.status) == ("image_too_large", 413)
    assert pending(store) == []


def test_a_look_that_fails_fails_the_image_with_its_reason(
    store: JobStore, segmenter: FakeTorchServe, mosaic: bytes
) -> None:
    image_id = submit(store, mosaic, "auto")
    segmenter.script = [TOO_LARGE]
    measured(store, segmenter, image_id)
    with pytest.raises(JobFailed, match="first look at the image scaled down failed: the image is 4000 px wide"):
        store.poll(image_id)


@pytest.mark.parametrize(
    ("end", "options", "code"),
    [
        (-5000, {}, "truncated_image"),
        (6, {}, "not_an_image"),
        (None, {"crop": f"0,0,{WIDTH},{HEIGHT + 1}"}, "invalid_option"),
        (None, {"largest_grain": 385}, "invalid_option"),
    ],
)
def test_what_cannot_be_cut_fails_at_once(
    store: JobStore, mosaic: bytes, end: int | None, options: dict[str, Any], code: str
) -> None:
    image_id = submit(store, mosaic[:end], **options)
    claim = claimed(store, image_id)
    outcome = LargeImages(store).step(claim.job)
    assert isinstance(outcome, Failure)
    store.reject(claim, outcome)
    with pytest.raises(JobFailed) as failed:
        store.poll(image_id)
    assert (failed.value.code, failed.value.attempts) == (code, 1)


def test_tiles_that_are_gone_are_measured_again(store: JobStore, segmenter: FakeTorchServe, mosaic: bytes) -> None:
    image_id = submit(store, mosaic)
    step(store, image_id)
    store.delete(tile(store, image_id, 0).image_id)
    finish(store, tile(store, image_id, 1), segmenter)
    delete_result(store, tile(store, image_id, 1))
    measured(store, segmenter, image_id)
    result = store.poll(image_id)
    assert result is not None
    validate_result(result)


def test_a_tile_whose_deletion_broke_off_is_measured_again(
    store: JobStore, segmenter: FakeTorchServe, mosaic: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    image_id = submit(store, mosaic)
    step(store, image_id)
    finish(store, tile(store, image_id, 0), segmenter)

    def lost(name: str, generation: int) -> None:
        raise StorageUnreachable("storage went away")

    with monkeypatch.context() as patch:
        patch.setattr(store.bucket, "delete", lost)
        with pytest.raises(StorageUnreachable):
            store.delete(tile(store, image_id, 0).image_id)
    assert tile(store, image_id, 0).error == DELETED
    delete_result(store, tile(store, image_id, 0))
    measured(store, segmenter, image_id)
    assert store.poll(image_id) is not None


def test_a_first_look_whose_result_is_gone_is_taken_again(
    store: JobStore, segmenter: FakeTorchServe, mosaic: bytes
) -> None:
    image_id = submit(store, mosaic, "auto")
    step(store, image_id)
    look = store.job(Part(image_id, LOOK).image_id)
    finish(store, look, segmenter)
    delete_result(store, look)
    measured(store, segmenter, image_id)
    assert store.poll(image_id) is not None


def test_a_long_strip_is_not_cut_into_countless_tiles(store: JobStore) -> None:
    image_id = submit(store, png(np.zeros((1, 1_300_000, 3), np.uint8)), 1)
    outcome = LargeImages(store).step(claimed(store, image_id).job)
    assert isinstance(outcome, Failure)
    assert (outcome.code, outcome.status) == ("too_many_tiles", 413)
    assert len(pending(store)) <= 1


def finish(store: JobStore, job: Job, segmenter: FakeTorchServe, **changes: Any) -> None:
    """Ends a tile's job with a result."""
    data = json.loads(find_bright(job_request(store, job), **changes))
    store.finish(claimed(store, job.image_id), data)


def job_request(store: JobStore, job: Job) -> dict[str, Any]:
    return {"imageId": job.image_id, "image": base64.b64encode(store.image(job.image_id)).decode()}


def delete_result(store: JobStore, job: Job) -> None:
    found = store.bucket.find(f"results/{job.image_id}.json")
    assert found
    store.bucket.delete(found.name, found.generation)


def test_tiles_that_were_measured_otherwise_than_the_latest_are_measured_again(
    store: JobStore, segmenter: FakeTorchServe, mosaic: bytes
) -> None:
    image_id = submit(store, mosaic)
    step(store, image_id)
    other = {"uri": "gs://weights/sam_tiny.pth", "generation": "3", "crc32c": "AAAAAA=="}
    finish(store, tile(store, image_id, 0), segmenter, checkpoint=other, timestamp="2020-11-21T04:05:05.000Z")
    measured(store, segmenter, image_id)
    result = store.poll(image_id)
    assert result is not None
    assert result["metadata"]["checkpoint"] != other
    assert len(segmenter.requests) == TILES


@pytest.mark.parametrize("steps", [0, 1])
def test_a_deleted_image_takes_its_tiles_along(
    store: JobStore, segmenter: FakeTorchServe, mosaic: bytes, names: Callable[[], set[str]], steps: int
) -> None:
    image_id = submit(store, mosaic)
    for _ in range(steps):
        step(store, image_id)
    if steps:
        finish(store, tile(store, image_id, 0), segmenter)
        store.bucket.create(f"images/{image_id}-128-0007", b"of a submission that died", "image/png")
    other = submit(store, mosaic)
    store.delete(image_id)
    assert names() == {f"images/{other}", f"jobs/{other}.json", f"pending/lab/{other}"}


def test_a_deleted_image_that_is_done_leaves_nothing(
    store: JobStore, segmenter: FakeTorchServe, mosaic: bytes, names: Callable[[], set[str]]
) -> None:
    image_id = submit(store, mosaic, "auto")
    measured(store, segmenter, image_id)
    store.delete(image_id)
    assert names() == set()


def test_a_cancelled_image_takes_its_tiles_along(store: JobStore, mosaic: bytes) -> None:
    image_id = submit(store, mosaic)
    step(store, image_id)
    assert store.cancel(image_id)
    assert pending(store) == []
    for index in range(TILES):
        error = tile(store, image_id, index).error
        assert error
        assert error.code == "cancelled"


def late_tile(store: JobStore, mosaic: bytes, end: Callable[[str], object]) -> str:
    """Submits a tile of an image that has ended meanwhile, as a dispatcher may that does not know it yet."""
    image_id = submit(store, mosaic)
    job = store.job(image_id)
    end(image_id)
    source = large._decoded(mosaic)
    part = Part.tile(image_id, 128, 0)
    LargeImages(store)._submit(job, part, source.pixels[:100, :1024], {})
    return part.image_id


def test_a_tile_that_came_after_the_deletion_of_its_image_goes_unmeasured(
    store: JobStore, segmenter: FakeTorchServe, mosaic: bytes, names: Callable[[], set[str]]
) -> None:
    late_tile(store, mosaic, store.delete)
    with dispatching(store, segmenter):
        until(lambda: names() == set())
    assert segmenter.requests == []


def test_a_tile_that_came_after_the_end_of_its_image_goes_unmeasured(
    store: JobStore, segmenter: FakeTorchServe, mosaic: bytes
) -> None:
    late = late_tile(store, mosaic, store.cancel)
    measured(store, segmenter, late)
    assert store.job(late).state is State.FAILED
    assert segmenter.requests == []


def test_a_dispatcher_that_stops_leaves_the_job_as_good_as_new(
    store: JobStore, segmenter: FakeTorchServe, mosaic: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    image_id = submit(store, mosaic)
    begun = threading.Event()

    def stop(self: LargeImages, job: Job) -> Wait:
        begun.set()
        raise NotWanted

    monkeypatch.setattr(LargeImages, "step", stop)
    with dispatching(store, segmenter):
        until(begun.is_set)
    job = store.job(image_id)
    assert (job.attempts, job.lease, job.state) == (0, None, State.QUEUED)


def test_progress_counts_the_tiles_that_have_a_result(
    store: JobStore, segmenter: FakeTorchServe, mosaic: bytes
) -> None:
    image_id = submit(store, mosaic)
    assert large.tiles_done(store, store.job(image_id)) == set()
    step(store, image_id)
    finish(store, tile(store, image_id, 1), segmenter)
    assert large.tiles_done(store, store.job(image_id)) == {tile(store, image_id, 1).image_id}
