from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from google.cloud import storage
from PIL import Image

from grainserve import AsyncClient, Client, images
from grainserve.errors import (
    BucketNotFound,
    ImageNotFound,
    InvalidConfiguration,
    InvalidImage,
    InvalidImageId,
    InvalidOption,
    JobFailed,
    ModelNotFound,
    ScaleNotFound,
    StorageUnreachable,
    TorchServeUnreachable,
    WaitTimeout,
)
from grainserve.images import ImageSource
from grainserve.jobs.job import State
from grainserve.jobs.store import JobStore
from grainserve.reading import picture as picture_reading
from grainserve.storage.bucket import Bucket
from tests.unit.client.fake_torchserve import TOO_LARGE, FakeTorchServe
from tests.unit.client.made import DISCS, HEIGHT, WIDTH, make_image


@pytest.fixture
def client(bucket_name: str, torchserve: FakeTorchServe) -> Iterator[Client]:
    with Client() as client:
        yield client


def test_analyze_brings_the_grains(client: Client, torchserve: FakeTorchServe, picture: Path) -> None:
    result = client.analyze(picture, um_per_px=2.5, timeout=60)
    assert len(result.grains) == len(DISCS)
    assert result.um_per_px == 2.5
    path, body = torchserve.requests[0]
    assert path == "/predictions/sam_tiny"
    assert body["um_per_px"] == 2.5
    assert body["imageId"] == result.image_id
    assert set(body) == {"image", "imageId", "um_per_px"}


def test_a_scale_that_is_found_goes_with_its_source(client: Client, torchserve: FakeTorchServe, tmp_path: Path) -> None:
    image = make_image()
    image.save(tmp_path / "sand.png", dpi=(25_400, 25_400))
    result = client.analyze(tmp_path / "sand.png", scale="file", timeout=60)
    _, body = torchserve.requests[0]
    assert (body["um_per_px"], body["scale_source"]) == (pytest.approx(1.0, rel=1e-4), "PNG resolution tags")
    assert (result.um_per_px, result.scale_source) == (body["um_per_px"], body["scale_source"])


def test_nothing_is_submitted_without_the_scale_asked_for(
    client: Client, picture: Path, names: Callable[[], set[str]]
) -> None:
    with pytest.raises(ScaleNotFound):
        client.analyze(picture, scale="file", timeout=60)
    assert names() == set()


def test_a_model_that_torchserve_does_not_have_is_told_before_anything_is_stored(
    bucket_name: str, torchserve: FakeTorchServe, picture: Path, names: Callable[[], set[str]]
) -> None:
    with Client(model="sam_vit_b") as client, pytest.raises(ModelNotFound, match="sam_vit_b"):
        client.analyze(picture, timeout=60)
    with Client(version="2.0") as client, pytest.raises(ModelNotFound, match="sam_tiny version 2"):
        client.analyze(picture, timeout=60)
    assert names() == set()


def test_version_and_model_reach_the_url(bucket_name: str, torchserve: FakeTorchServe, picture: Path) -> None:
    with Client(model="sam_vit_b", version="2.0") as client:
        client.wait(client.submit(picture), timeout=60)
    assert torchserve.requests[0][0] == "/predictions/sam_vit_b/2.0"


def test_submit_returns_before_the_work_is_done(
    client: Client, picture: Path, names: Callable[[], set[str]], bucket_name: str
) -> None:
    with Client(dispatch=False) as idle:
        image_id = idle.submit(picture)
        assert idle.poll(image_id) is None
        assert idle.state(image_id) is State.QUEUED
        (entry,) = idle.store.entries.listed("lab")
        assert (entry.image_id, entry.name) == (image_id, picture.name)
        record = f"jobs/{image_id}.json"
        assert names() == {f"images/{image_id}", record, f"pending/lab/{image_id}", entry.object_name}
        assert idle.store.image(image_id) == picture.read_bytes()
    result = client.wait(image_id, timeout=60)  # another client's dispatcher takes it
    assert result.image_id == image_id


def test_orphans_of_a_closed_client_are_found_by_listing(client: Client, picture: Path) -> None:
    with Client(dispatch=False) as idle:
        orphan = idle.submit(picture)
        client.analyze(picture, timeout=60)  # starts the dispatcher; nobody submits the orphan to it
        assert idle.wait(orphan, timeout=60).image_id == orphan


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((5, 7), np.uint8),
        np.zeros((5, 7, 3), np.uint8),
        np.zeros((5, 7, 4), np.uint8),
        np.full((5, 7), 40_000, np.uint16),
    ],
    ids=lambda array: f"{array.dtype}-{array.ndim}-{array.shape[-1]}",
)
def test_arrays_are_submitted_as_png(
    bucket_name: str, array: np.ndarray[tuple[int, ...], np.dtype[np.generic]], tmp_path: Path
) -> None:
    with Client(dispatch=False) as client:
        data = client.store.image(client.submit(array))
    path = tmp_path / "stored.png"
    path.write_bytes(data)
    with Image.open(path) as stored:
        assert stored.format == "PNG"
        np.testing.assert_array_equal(np.asarray(stored), array)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((5, 7)),
        np.zeros((5, 7, 2), np.uint8),
        np.zeros((0, 7), np.uint8),
        np.zeros((5, 7, 3), np.uint16),
        b"",
        "/nowhere/to/be/found.png",
        b"grain,diameter\n1,2.5\n",
        b"GIF89a" + bytes(50),
        b"II*\0" + bytes(50),
    ],
    ids=["float", "two channels", "empty", "16-bit colour", "no bytes", "no file", "a table", "GIF", "no TIFF"],
)
@pytest.mark.parametrize("ask", [Client.submit, Client.analyze])
def test_what_is_no_image_is_told_before_anything_is_stored(
    client: Client, image: Any, ask: Callable[..., object], names: Callable[[], set[str]]
) -> None:
    with pytest.raises(InvalidImage):
        ask(client, image)
    assert names() == set()


@pytest.mark.parametrize("verb", ["submit", "submit_many", "analyze"])
@pytest.mark.parametrize("packing", [None, "jpeg2000"])
def test_a_pixel_type_that_is_not_read_is_named_before_anything_is_stored(
    client: Client, tmp_path: Path, names: Callable[[], set[str]], verb: str, packing: str | None
) -> None:
    path = tmp_path / "bands.tif"
    layout: dict[str, Any] = {"photometric": "minisblack", "planarconfig": "contig"}
    tifffile.imwrite(path, np.zeros((64, 64, 5), np.uint16), compression=packing, **layout)
    given = [path] if verb == "submit_many" else path
    with pytest.raises(InvalidImage, match=r"5 × uint16 grey.*save "):
        getattr(client, verb)(given)
    assert names() == set()


def test_a_wrong_option_is_told_before_anything_is_stored(
    client: Client, picture: Path, names: Callable[[], set[str]]
) -> None:
    with pytest.raises(InvalidOption, match="did you mean 'um_per_px'"):
        client.submit(picture, um_per_pixel=2.5)
    assert names() == set()


def test_a_rejected_image_raises_job_failed_with_the_handlers_words(
    client: Client, torchserve: FakeTorchServe, picture: Path
) -> None:
    torchserve.script = [TOO_LARGE]
    with pytest.raises(JobFailed, match="4000 px") as failure:
        client.analyze(picture, timeout=60)
    assert (failure.value.code, failure.value.status, failure.value.attempts) == ("image_too_large", 413, 1)


def test_unknown_and_malformed_ids(client: Client) -> None:
    with pytest.raises(ImageNotFound, match="f" * 32):
        client.poll("f" * 32)
    with pytest.raises(ImageNotFound):
        client.wait("f" * 32, timeout=60)
    for bad in ("../jobs/x", "", "a/b", "a" * 129, "ä"):
        with pytest.raises(InvalidImageId):
            client.poll(bad)


def test_wait_gives_up_in_time_and_says_where_the_job_is(bucket_name: str, picture: Path) -> None:
    with Client(dispatch=False) as idle:
        image_id = idle.submit(picture)
        with pytest.raises(WaitTimeout, match="queued"):
            idle.wait(image_id, timeout=0.1)


def test_unreachable_torchserve_fails_analyze_at_once_and_shows_in_wait(bucket_name: str, picture: Path) -> None:
    nowhere = "http://127.0.0.1:9"
    with Client(torchserve=nowhere) as client:
        with pytest.raises(TorchServeUnreachable, match="make serve"):
            client.analyze(picture)
        image_id = client.submit(picture)
        seen = []

        def progress(state: State, problem: Exception | None) -> None:
            seen.append(problem)
            if problem is not None:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            client.wait(image_id, timeout=60, progress=progress)
        assert isinstance(seen[-1], TorchServeUnreachable)
    assert client.store.job(image_id).state is State.QUEUED  # released on close, without using up its attempt
    assert client.store.job(image_id).attempts == 0


def test_submit_many_keeps_the_order(client: Client, picture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images: list[ImageSource] = [picture.read_bytes(), picture, np.asarray(Image.open(picture))]
    ids = client.submit_many(images, progress=False, min_area=5)
    assert [client.wait(image_id, timeout=60).image_id for image_id in ids] == ids
    assert len(set(ids)) == 3
    assert capsys.readouterr().out == ""


def test_overlay_fetches_the_image_from_the_bucket(client: Client, picture: Path, tmp_path: Path) -> None:
    client.analyze(picture, timeout=60).overlay(tmp_path / "overlay.png")
    with Image.open(tmp_path / "overlay.png") as overlay:
        assert overlay.size[0] % 80 == 0


def test_a_closed_client_takes_no_more_work(client: Client, picture: Path) -> None:
    client.close()
    with pytest.raises(InvalidConfiguration, match="closed"):
        client.submit(picture)


def test_settings_that_are_missing_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GRAINSERVE_BUCKET", raising=False)
    with pytest.raises(InvalidConfiguration, match="GRAINSERVE_BUCKET"):
        Client()


def test_a_bucket_that_is_not_there(gcs: storage.Client, picture: Path) -> None:
    with Client(bucket="never-made", dispatch=False) as client, pytest.raises(BucketNotFound, match="never-made"):
        client.submit(picture)


def test_an_unreachable_emulator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:9")
    store = JobStore(Bucket("any", patience=0.1))
    with pytest.raises(StorageUnreachable, match="STORAGE_EMULATOR_HOST"):
        store.submit(b"x", model="sam_tiny", version=None, options={}, submitter="lab")


def test_async_client_has_the_same_verbs(bucket_name: str, torchserve: FakeTorchServe, picture: Path) -> None:
    async def work() -> None:
        async with AsyncClient() as client:
            ids = await client.submit_many([picture, picture], progress=False)
            results = await asyncio.gather(*(client.wait(image_id, timeout=60) for image_id in ids))
            assert [result.image_id for result in results] == ids
            assert await client.poll(ids[0]) is not None
            assert len((await client.analyze(picture, timeout=60)).grains) == len(DISCS)
            with pytest.raises(ImageNotFound):
                await client.wait("f" * 32)
        async with AsyncClient(dispatch=False) as idle:
            image_id = await idle.submit(picture)
            with pytest.raises(WaitTimeout):
                await idle.wait(image_id, timeout=0.1)

    asyncio.run(work())


STEPS = {"looks", "finishing", "submit_checked", "too_late"}
"""Names that the verbs are built on, for other kinds of clients."""


def verbs(kind: type) -> dict[str, set[str]]:
    """Returns a client's public names → their named parameters."""
    members = {name: member for name, member in inspect.getmembers(kind) if not name.startswith("_")}
    return {
        name: set(inspect.signature(member).parameters) if callable(member) else set()
        for name, member in members.items()
    }


def test_async_client_has_every_verb_with_its_arguments() -> None:
    own, others = verbs(AsyncClient), verbs(Client)
    assert set(own) == set(others) - STEPS
    for name, parameters in own.items():
        assert parameters <= others[name], name
        assert "options" in parameters or parameters == others[name], name


def test_segment_asks_the_prompt_model_and_stores_nothing(
    client: Client, torchserve: FakeTorchServe, picture: Path, names: Callable[[], set[str]]
) -> None:
    result = client.segment(picture, points=[DISCS[1][:2]], um_per_px=2.5)
    path, body = torchserve.requests[0]
    assert path == "/predictions/sam_tiny-prompt"
    assert set(body) == {"image", "imageId", "prompts", "um_per_px"}
    assert [len(answer) for answer in result.answers] == [2]
    assert (result.um_per_px, result.pixels().shape) == (2.5, (HEIGHT, WIDTH, 3))
    several = client.segment(picture, prompts=[{"box": (0, 0, 40, 30)}, {"points": [(2, 2)]}])
    assert [len(answer) for answer in several.answers] == [1, 0]
    assert names() == set()
    with Client(prompt_model="sam_tiny", version="2.0") as other:
        other.segment(picture, box=(0, 0, 40, 30))
    assert torchserve.requests[-1][0] == "/predictions/sam_tiny"


def test_segment_finds_the_scale_as_submit_does(client: Client, tmp_path: Path) -> None:
    make_image().save(tmp_path / "sand.png", dpi=(25_400, 25_400))
    result = client.segment(tmp_path / "sand.png", box=(0, 0, 40, 30), scale="file")
    assert result.scale_source == "PNG resolution tags"
    session = client.open(tmp_path / "sand.png", scale="file")
    assert session.add(box=(0, 0, 40, 30)).result.um_per_px == pytest.approx(1.0, rel=1e-4)


@pytest.mark.parametrize("verb", ["segment", "open"])
def test_what_cannot_be_asked_about_is_told_before_anything_is_sent(
    client: Client, torchserve: FakeTorchServe, picture: Path, verb: str
) -> None:
    ask = getattr(client, verb)
    with pytest.raises(InvalidOption, match="did you mean 'um_per_px'"):
        ask(picture, um_per_pixel=2.5)
    with pytest.raises(ScaleNotFound):
        ask(picture, scale="file")
    with pytest.raises(InvalidImage, match="1025"):
        ask(np.zeros((5, 1025), np.uint8))
    assert torchserve.requests == []


def test_async_client_segments_and_opens_sessions(bucket_name: str, torchserve: FakeTorchServe, picture: Path) -> None:
    async def work() -> None:
        async with AsyncClient() as client:
            result = await client.segment(picture, points=[DISCS[1][:2]])
            assert len(result.answers[0]) == 2
            session = await client.open(picture)
            found = await session.add(points=[DISCS[1][:2]])
            assert (await session.to_result()).grains[0].area == found.grains[0].area == result.grains[0].area
            assert await session.undo()

    asyncio.run(work())


def test_async_client_says_what_goes_on(bucket_name: str, torchserve: FakeTorchServe, picture: Path) -> None:
    seen: list[State] = []
    done: list[tuple[int, int]] = []

    async def work() -> None:
        async with AsyncClient() as client:
            await client.check()
            assert await client.default_version() == client.client.default_version()
            begun = await client.begin(picture, um_per_px=2.0)
            assert await client.state(begun.image_ids[0]) in State
            result = await client.finish(
                begun, 60, lambda state, _: seen.append(state), lambda *each: done.append(each)
            )
            assert (result.image_id, result.um_per_px) == (begun.image_ids[0], 2.0)
            assert client.problem is None
            result.to_json(picture.with_suffix(".json"))
            assert (await client.result_from(picture.with_suffix(".json"))).pixels().shape[2] == 3

    asyncio.run(work())
    assert done == [(1, 1)]
    assert all(state in State for state in seen)


@pytest.mark.parametrize("verb", ["submit", "analyze"])
def test_a_file_is_read_and_decoded_once(
    client: Client, picture: Path, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    read, decode = Path.read_bytes, picture_reading.read_picture
    files: list[Path] = []
    pictures: list[int] = []

    def reading(path: Path) -> bytes:
        if path == picture:
            files.append(path)
        return read(path)

    def decoding(data: bytes, *arguments: Any, **more: Any) -> Any:
        pictures.append(len(data))
        return decode(data, *arguments, **more)

    monkeypatch.setattr(Path, "read_bytes", reading)
    monkeypatch.setattr(images, "read_picture", decoding)
    with pytest.raises(ScaleNotFound):
        getattr(client, verb)(picture, scale="auto", find_databar=True)
    assert (len(files), len(pictures)) == (1, 1)
    files.clear()
    getattr(client, verb)(picture, find_databar=True)
    assert len(files) == 1
