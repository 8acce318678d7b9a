"""Large images with a real client, an emulated GCS and an imitation of TorchServe that finds bright grains."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from grainserve import AsyncClient, Client, Result
from grainserve.contract import validate_result
from grainserve.errors import (
    GrainserveError,
    InvalidImage,
    InvalidOption,
    JobFailed,
    ModelNotFound,
    TilesDisagree,
    WaitTimeout,
)
from grainserve.images import display_pixels
from grainserve.jobs.store import JobStore
from grainserve.tiles.layout import Layout
from tests.unit.client.cli import test_application as test_cli
from tests.unit.client.fake_torchserve import TOO_LARGE, FakeTorchServe
from tests.unit.client.tiles.truth import Truth, packing, tile_result

WIDTH, HEIGHT = 1400, 640
TILES = 2
DARK, BRIGHT = 40, 200


@pytest.fixture(scope="module")
def truth() -> Truth:
    """Makes grains that do not touch, so that brightness separates them."""
    labels = packing(WIDTH, seed=5, largest=90).labels[:HEIGHT]
    inside = (labels > 0) & (ndimage.minimum_filter(labels, 3) == ndimage.maximum_filter(labels, 3))
    return Truth(ndimage.label(inside)[0])


@pytest.fixture
def pixels(truth: Truth) -> np.ndarray[Any, np.dtype[np.uint8]]:
    grey = np.where(truth.labels > 0, BRIGHT, DARK).astype(np.uint8)
    grey[:, ::7] += 5  # so that all tiles differ
    return np.repeat(grey[..., None], 3, axis=2)


@pytest.fixture
def mosaic(pixels: np.ndarray[Any, np.dtype[np.uint8]], tmp_path: Path) -> Path:
    path = tmp_path / "mosaic.png"
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def segmenter(torchserve: FakeTorchServe) -> FakeTorchServe:
    """An imitation of TorchServe whose model finds every bright grain."""
    torchserve.result = find_bright  # type: ignore[method-assign]
    return torchserve


def find_bright(body: dict[str, Any], **changes: Any) -> bytes:
    with Image.open(io.BytesIO(base64.b64decode(body["image"]))) as image:
        assert (image.format, max(image.size)) == ("PNG", 1024)
        bright = np.asarray(image.convert("L")) > (DARK + BRIGHT) // 2
    result = tile_result(bright, body["imageId"], um_per_px=body.get("um_per_px"))
    result["metadata"] |= changes
    return json.dumps(result).encode()


@pytest.fixture
def client(bucket_name: str, segmenter: FakeTorchServe) -> Iterator[Client]:
    with Client() as client:
        yield client


def sizes(result: Result) -> list[int]:
    return sorted(grain.area for grain in result.grains)


def test_a_large_image_gives_every_grain_once_in_its_own_coordinates(
    client: Client, segmenter: FakeTorchServe, mosaic: Path, truth: Truth, tmp_path: Path
) -> None:
    done: list[tuple[int, int]] = []
    result = client.analyze(mosaic, timeout=60, um_per_px=2.0, on_done=lambda *each: done.append(each))
    assert done == [(number, TILES) for number in range(1, TILES + 1)]
    validate_result(result.to_dict())
    assert np.array_equal(result.label_map > 0, truth.labels > 0)
    assert len(result.grains) == truth.labels.max()
    for grain, window in zip(result.grains, result.windows, strict=True):
        box, centroid = grain.properties["boundingBox"], grain.properties["centroid"]
        rows, columns = np.nonzero(window.patch)
        assert (box["x"], box["y"]) == (window.x, window.y)
        assert (box["height"], box["width"]) == window.patch.shape
        assert (centroid["x"], centroid["y"]) == pytest.approx((window.x + columns.mean(), window.y + rows.mean()))
        assert grain.properties["centroid_um"] == pytest.approx({axis: 2 * at + 1 for axis, at in centroid.items()})
        assert grain.area == window.area == grain.properties["area_um2"] / 4
        ends = (window.x + box["width"], window.y + box["height"])
        assert grain.touches_edge == (0 in (window.x, window.y) or ends[0] == WIDTH or ends[1] == HEIGHT)
    assert [grain.id for grain in result.grains] == list(range(1, len(result.grains) + 1))
    metadata, layout = result.metadata, Layout.of(WIDTH, HEIGHT, 128)
    assert metadata["image"] | {"bytes": 0} == {
        "width": WIDTH, "height": HEIGHT, "format": "PNG", "mode": "RGB", "bytes": 0,
    }  # fmt: skip
    assert metadata["processTime"] == TILES * 1.5
    assert metadata["tiles"]["boxes"] == [vars(tile) for tile in layout.tiles]
    assert (metadata["tiles"]["count"], metadata["tiles"]["agreement"]) == (TILES, 1.0)
    result.overlay(tmp_path / "from_bucket.png")
    result.overlay(tmp_path / "from_file.png", mosaic)
    assert (tmp_path / "from_bucket.png").read_bytes() == (tmp_path / "from_file.png").read_bytes()
    result.to_json(tmp_path / "saved.json")
    client.result_from(tmp_path / "saved.json").overlay(tmp_path / "from_saved.png")
    exported = test_cli.run("export", tmp_path / "saved.json", "--to", "overlay", "--out", tmp_path)
    assert exported.exit_code == 0, exported.output
    assert (tmp_path / "saved_overlay.png").read_bytes() == (tmp_path / "from_file.png").read_bytes()


@pytest.mark.parametrize("crop", [f"250,0,{WIDTH - 260},{HEIGHT}", "40,20,1024,600"])
def test_a_crop_is_measured_as_the_image_cut_to_it(
    client: Client, segmenter: FakeTorchServe, mosaic: Path, pixels: np.ndarray[Any, Any], crop: str
) -> None:
    x, y, width, height = map(int, crop.split(","))
    options: dict[str, Any] = {"crop": crop, "ignore_bottom": 50, "um_per_px": 2.0, "crop_source": "by eye"}
    result = client.analyze(mosaic, timeout=60, **options)
    validate_result(result.to_dict())
    assert not any(set(request) & {"crop", "ignore_bottom"} for _, request in segmenter.requests)
    height = min(height, HEIGHT - 50 - y)
    metadata = result.metadata
    assert metadata["frame"] == vars(result.frame) == {"x": x, "y": y, "width": width, "height": height}
    assert (result.width, result.height) == (WIDTH, HEIGHT)
    assert {name: metadata["options"].get(name) for name in options} == options
    assert any("were measured (by eye)" in text for text in metadata["warnings"])
    part = pixels[y : y + height, x : x + width]
    labels = np.zeros((HEIGHT, WIDTH), bool)
    labels[y : y + height, x : x + width] = part[..., 0] > (DARK + BRIGHT) // 2
    assert np.array_equal(result.label_map > 0, labels)
    for grain, window in zip(result.grains, result.windows, strict=True):
        box, centroid = grain.properties["boundingBox"], grain.properties["centroid"]
        assert (box["x"], box["y"]) == (window.x, window.y)
        rows, columns = np.nonzero(window.patch)
        assert (centroid["x"], centroid["y"]) == pytest.approx((window.x + columns.mean(), window.y + rows.mean()))
        ends = (window.x + box["width"], window.y + box["height"])
        at_frame = window.x == x or window.y == y or ends[0] == x + width or ends[1] == y + height
        assert grain.touches_edge == at_frame
    tiles = [display_pixels(client.store.image(each)) for each in metadata["tiles"]["imageIds"]]
    for box, tile in zip(metadata["tiles"]["boxes"], tiles, strict=True):
        assert np.array_equal(tile, pixels[box["y"] : box["y"] + box["height"], box["x"] : box["x"] + box["width"]])
    fetched = result.pixels()
    assert np.array_equal(fetched[y : y + height, x : x + width], part)
    assert fetched.shape == (HEIGHT, WIDTH, 3)


def test_a_crop_beyond_a_large_image_is_told_before_anything_is_stored(
    client: Client, mosaic: Path, names: Callable[[], set[str]]
) -> None:
    with pytest.raises(InvalidOption, match=f"the image has {WIDTH} × {HEIGHT} px"):
        client.analyze(mosaic, crop=f"0,0,{WIDTH},{HEIGHT + 1}")
    assert names() == set()


def test_all_tiles_are_asked_of_the_version_that_is_the_default_at_first(
    client: Client, segmenter: FakeTorchServe, mosaic: Path
) -> None:
    client.analyze(mosaic, timeout=60)
    assert {path for path, _ in segmenter.requests} == {"/predictions/sam_tiny/1.0"}


def test_where_management_cannot_be_asked_a_tile_tells_the_version(
    bucket_name: str, segmenter: FakeTorchServe, mosaic: Path
) -> None:
    with Client(management="none") as client:
        client.analyze(mosaic, timeout=60)
    assert [path for path, _ in segmenter.requests].count("/predictions/sam_tiny") == 1
    assert [path for path, _ in segmenter.requests].count("/predictions/sam_tiny/1.0") == TILES


def test_a_second_run_measures_nothing_again(client: Client, segmenter: FakeTorchServe, mosaic: Path) -> None:
    first = client.analyze(mosaic, timeout=60)
    assert client.analyze(mosaic, timeout=60).to_dict() == first.to_dict()
    assert len(segmenter.requests) == TILES
    client.analyze(mosaic, timeout=60, min_area=30)
    assert len(segmenter.requests) == 2 * TILES, "other options are other jobs"
    with Client(version="1.0") as same:
        same.analyze(mosaic, timeout=60)
    assert len(segmenter.requests) == 2 * TILES


def test_a_run_that_was_killed_is_taken_up_where_it_was(
    bucket_name: str, segmenter: FakeTorchServe, mosaic: Path, truth: Truth
) -> None:
    def die(done: int, _: int) -> None:
        if done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), Client(concurrency=1) as client:
        client.analyze(mosaic, on_done=die)
    with Client() as client:
        before = segmenter.requests.copy()
        result = client.analyze(mosaic, timeout=60)
    assert len(result.grains) == truth.labels.max()
    again = {body["imageId"] for _, body in segmenter.requests[len(before) :]}
    finished = set(result.metadata["tiles"]["imageIds"][:1])
    assert not again & finished
    assert {body["imageId"] for _, body in segmenter.requests} == set(result.metadata["tiles"]["imageIds"])


def delete(store: JobStore, name: str) -> None:
    found = store.bucket.find(name)
    assert found is not None
    store.bucket.delete(name, found.generation)


def test_a_tile_that_failed_or_lost_its_result_is_measured_in_the_next_run(
    client: Client, segmenter: FakeTorchServe, mosaic: Path, store: JobStore
) -> None:
    segmenter.script = [TOO_LARGE]
    with pytest.raises(JobFailed):
        client.analyze(mosaic, timeout=60)
    result = client.analyze(mosaic, timeout=60)
    assert len(segmenter.requests) == TILES + 1
    delete(store, f"results/{result.metadata['tiles']['imageIds'][1]}.json")
    assert client.analyze(mosaic, timeout=60).to_dict() == result.to_dict()
    assert len(segmenter.requests) == TILES + 2


def test_a_checkpoint_replaced_meanwhile_is_told_and_the_next_run_mends_it(
    client: Client, segmenter: FakeTorchServe, mosaic: Path
) -> None:
    other = {"uri": "gs://weights/sam_tiny.pth", "generation": "16", "crc32c": "AAAAAA=="}
    left = [{"checkpoint": other, "timestamp": "2026-11-21T04:05:05.000Z"}]

    segmenter.result = lambda body: find_bright(body, **(left.pop() if left else {}))  # type: ignore[method-assign]
    with pytest.raises(TilesDisagree, match=f"1 of {TILES} tiles were measured with another checkpoint"):
        client.analyze(mosaic, timeout=60)
    result = client.analyze(mosaic, timeout=60)
    assert result.metadata["checkpoint"]["generation"] == "17"
    assert len(segmenter.requests) == TILES + 1


def test_tiles_that_are_alike_are_forgotten_once_and_the_others_too(
    client: Client, segmenter: FakeTorchServe, store: JobStore
) -> None:
    """With blank margins, two of four tiles share an image id."""
    wide = np.full((64, 3 * 1024, 3), DARK, np.uint8)
    wide[20:40, -900:-400:60] = BRIGHT  # in the last two tiles of four
    wide[:, -700:] += 1
    other = {"uri": "gs://weights/sam_tiny.pth", "generation": "16", "crc32c": "AAAAAA=="}
    early = {"checkpoint": other, "timestamp": "2026-11-21T04:05:05.000Z"}
    client.analyze(wide, timeout=60)
    ids = client.analyze(wide, timeout=60).metadata["tiles"]["imageIds"]
    assert len(ids) == 4
    assert len(set(ids)) == 3
    for image_id in set(ids[:3]):
        result = store.result(image_id)
        result["metadata"] |= early
        delete(store, f"results/{image_id}.json")
        store.bucket.create(f"results/{image_id}.json", json.dumps(result).encode(), "application/json")
    before = len(segmenter.requests)
    with pytest.raises(TilesDisagree, match=f"3 of {len(ids)} tiles"):
        client.analyze(wide, timeout=60)
    assert client.analyze(wide, timeout=60).metadata["checkpoint"]["generation"] == "17"
    assert len(segmenter.requests) - before == len(set(ids[:3])), "each was forgotten, and measured again"


def test_classes_come_through_with_the_classifier_that_named_them(
    client: Client, segmenter: FakeTorchServe, mosaic: Path
) -> None:
    classifier = {
        "uri": "gs://weights/sizes.skops", "generation": "3", "crc32c": "AAAAAA==", "classes": ["coarse", "fine"],
        "threshold": 0.5,
    }  # fmt: skip

    def name(area: int) -> str:
        return "coarse" if area > 1000 else "fine"

    def named(body: dict[str, Any]) -> bytes:
        data = json.loads(find_bright(body, classifier=classifier))
        for each in data["segmentedObjects"]:
            each |= {"class": name(each["properties"]["area"]), "classConfidence": 0.9, "classSource": "classifier"}
        return json.dumps(data).encode()

    segmenter.result = named  # type: ignore[method-assign]
    result = client.analyze(mosaic, timeout=60)
    validate_result(result.to_dict())
    assert result.metadata["classifier"] == classifier
    assert [grain.label for grain in result.grains] == [name(grain.area) for grain in result.grains]
    assert {grain.label for grain in result.grains} == {"coarse", "fine"}
    assert {(grain.class_confidence, grain.class_source) for grain in result.grains} == {(0.9, "classifier")}


def test_deep_grey_levels_are_stretched_once_for_all_tiles(client: Client, truth: Truth, mosaic: Path) -> None:
    deep = np.where(truth.labels > 0, 3000, 1000).astype(np.uint16)
    deep[0, 0] = 900  # the darkest of all, in the first tile only
    deep[-1, -1] = 3100
    result = client.analyze(deep, timeout=60)
    assert result.metadata["warnings"] == ["grey levels 900 to 3100 were stretched to 0 to 255"]
    assert result.metadata["image"]["mode"] == "I;16"
    assert len(result.grains) == truth.labels.max() + 1  # and that brightest pixel
    stored = [display_pixels(client.store.image(each)) for each in result.metadata["tiles"]["imageIds"]]
    assert {*np.unique(stored[1])} == {12, 243, 255}


def test_exif_orientation_is_applied_before_cutting(client: Client, mosaic: Path, truth: Truth) -> None:
    with Image.open(mosaic) as image:
        exif = image.getexif()
        exif[0x0112] = 6  # turned by a quarter
        image.save(mosaic, exif=exif)
    result = client.analyze(mosaic, timeout=60)
    assert (result.width, result.height) == (HEIGHT, WIDTH)
    assert np.array_equal(result.label_map > 0, np.rot90(truth.labels > 0, -1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mask_format": "png"}, "'rle'"),
        ({"largest_grain": 600}, "from 1 to 384"),
        ({"um_per_pixel": 1.0}, "um_per_px"),
    ],
)
def test_what_tiles_cannot_do_is_told_before_anything_is_stored(
    client: Client, mosaic: Path, names: Callable[[], set[str]], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidOption, match=message):
        client.analyze(mosaic, **options)
    assert names() == set()


def test_several_pages_are_refused(client: Client, mosaic: Path) -> None:
    with Image.open(mosaic) as image:
        image.save(mosaic.with_suffix(".tif"), save_all=True, append_images=[image])
    with pytest.raises(InvalidImage, match="2 pages"):
        client.analyze(mosaic.with_suffix(".tif"))


def test_time_runs_out_for_the_whole_image(bucket_name: str, segmenter: FakeTorchServe, mosaic: Path) -> None:
    with Client(version="1.0", dispatch=False) as idle, pytest.raises(WaitTimeout, match="queued"):
        idle.analyze(mosaic, timeout=0.1)


def test_a_model_that_is_not_there_is_told_at_once(
    bucket_name: str, segmenter: FakeTorchServe, mosaic: Path, names: Callable[[], set[str]]
) -> None:
    with Client(model="sam_vit_b") as client, pytest.raises(ModelNotFound):
        client.analyze(mosaic)
    assert names() == set()


def test_submit_of_a_large_image_leads_to_analyze(client: Client, segmenter: FakeTorchServe, mosaic: Path) -> None:
    segmenter.script = [TOO_LARGE]
    with pytest.raises(GrainserveError, match="`analyze` cuts it into tiles"):
        client.wait(client.submit(mosaic), timeout=60)


def test_async_client_takes_large_images_too(
    bucket_name: str, segmenter: FakeTorchServe, mosaic: Path, truth: Truth
) -> None:
    async def work() -> Result:
        async with AsyncClient() as client:
            return await client.analyze(mosaic, timeout=60)

    assert len(asyncio.run(work()).grains) == truth.labels.max()


def test_the_command_line_measures_a_large_image_beside_a_small_one(
    bucket_name: str, segmenter: FakeTorchServe, mosaic: Path, tmp_path: Path
) -> None:
    with Image.open(mosaic) as image:
        image.crop((0, 0, 1024, 500)).save(tmp_path / "small.png")
    done = test_cli.run("analyze", mosaic, tmp_path / "small.png", "--out", tmp_path / "out", "--largest-grain", 100)
    assert done.exit_code == 0, done.output
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        f"{name}{ending}" for name in ("mosaic", "small") for ending in (".json", ".csv", "_overlay.png", "_sizes.png")
    }
    assert "2 tiles that overlap by 200 px or more; they agree on 100% of the grains" in done.output
    saved = Result.from_json(tmp_path / "out" / "mosaic.json")
    assert (saved.width, saved.metadata["tiles"]["overlap"]) == (WIDTH, 200)
