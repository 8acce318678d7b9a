"""The HTTP contract, against a real TorchServe with the real sam_tiny from the emulator.

A coarse grid keeps these requests short; the found grains do not matter here.
"""

from __future__ import annotations

import base64
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
import requests
import yaml
from PIL import Image

from grain_handler.wire.image import MAX_BYTES
from grain_handler.wire.options import Options
from grainserve import Result, contract
from tests.unit.handler.pictures import encoded, gradient
from tools.mar import ROOT, pack
from tools.stack import Stack
from training.synthetic import synthesize

GRAINS = synthesize(np.random.default_rng(11), "matrix", 160, 200, grain_px=40).image
PNG = encoded(GRAINS, "PNG")
BASE64 = base64.b64encode(PNG).decode()
COARSE = {"points_per_side": 4, "pred_iou_thresh": 0.1, "stability_score_thresh": 0.1}
TIMEOUT = 300


def url(stack: Stack, rest: str = "") -> str:
    return f"{stack.torchserve.inference}/predictions/sam_tiny{rest}"


def ask(stack: Stack, image: bytes = PNG, rest: str = "", **options: Any) -> requests.Response:
    """Sends a form, as `curl -F image=@… -F name=value` does."""
    fields = {name: (None, str(value)) for name, value in (COARSE | options).items()}
    return requests.post(url(stack, rest), files={"image": ("image", image), **fields}, timeout=TIMEOUT)


def result(answer: requests.Response) -> dict[str, Any]:
    """Returns the result of a request that must have succeeded, after checking it against the wire contract."""
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"] == "application/json"
    found: dict[str, Any] = answer.json()
    contract.validate_result(found)
    return found


def assert_error(answer: requests.Response, status: int, code: str) -> None:
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert answer.json()["error"]["message"]
    assert answer.headers["Content-Type"] == "application/json"


def test_raw_bytes_as_curl_sends_them(stack: Stack) -> None:
    """Sends the README's curl command; this is also the only request here with the model's own points."""
    found = result(requests.put(url(stack), data=PNG, timeout=TIMEOUT))
    image = found["metadata"]["image"]
    assert image == {"width": 200, "height": 160, "format": "PNG", "mode": "RGB", "bytes": len(PNG)}
    assert found["segmentedObjects"]
    defaults = yaml.safe_load((ROOT / "config" / "sam_tiny.yaml").read_text())["grainserve"]["defaults"]
    assert found["metadata"]["options"] == Options(**defaults).model_dump()


@pytest.mark.parametrize("field", ["data", "body"])
def test_options_beside_an_image_that_torchserve_takes_for_the_body_are_read(stack: Stack, field: str) -> None:
    options = COARSE | {"um_per_px": 2.5, "imageId": "beside"}
    answer = requests.post(url(stack), data=options, files={field: ("image", PNG)}, timeout=TIMEOUT)
    metadata = result(answer)["metadata"]
    assert (metadata["units"]["umPerPx"], metadata["imageId"]) == (2.5, "beside")


def test_form_and_json_give_the_same_objects(stack: Stack) -> None:
    from_form = result(ask(stack, imageId="same"))
    body = {"image": BASE64, "imageId": "same", **COARSE}
    from_json = result(requests.post(url(stack), json=body, timeout=TIMEOUT))
    assert from_form["segmentedObjects"] == from_json["segmentedObjects"] != []
    assert from_form["metadata"]["imageId"] == from_json["metadata"]["imageId"] == "same"


def test_a_crop_is_measured_as_the_image_cut_to_it(stack: Stack) -> None:
    x, y, width, height = 30, 20, 150, 110
    alone = result(ask(stack, encoded(GRAINS[y : y + height, x : x + width], "PNG")))
    framed = result(ask(stack, crop=f"{x},{y},{width},{height + 20}", ignore_bottom=160 - y - height))
    assert framed["metadata"]["frame"] == {"x": x, "y": y, "width": width, "height": height}
    assert framed["metadata"]["image"]["width"] == 200
    ours, theirs = Result(framed).label_map, Result(alone).label_map
    assert theirs.any()
    assert np.array_equal(ours, np.pad(theirs, ((y, 160 - y - height), (x, 200 - x - width))))
    edges = [[each["properties"]["touchesEdge"] for each in found["segmentedObjects"]] for found in (framed, alone)]
    assert edges[0] == edges[1]
    outside = ask(stack, crop="100,100,101,10")
    assert_error(outside, 422, "invalid_option")


RGBA = np.dstack([gradient(), np.full((24, 32), 128, np.uint8)])
SIXTEEN = np.arange(24 * 32, dtype=np.uint16).reshape(24, 32) * 50


@pytest.mark.parametrize(
    ("image", "kind", "mode"),
    [
        (encoded(gradient(), "PNG"), "PNG", "RGB"),
        (encoded(gradient(), "JPEG"), "JPEG", "RGB"),
        (encoded(gradient(), "TIFF"), "TIFF", "RGB"),
        (encoded(gradient(), "BMP"), "BMP", "RGB"),
        (encoded(gradient(), "WEBP"), "WEBP", "RGB"),
        (encoded(RGBA, "PNG"), "PNG", "RGBA"),
        (encoded(Image.fromarray(gradient()).quantize(9), "PNG"), "PNG", "P"),
        (encoded(Image.fromarray(gradient()).convert("L"), "JPEG"), "JPEG", "L"),
        (encoded(SIXTEEN, "TIFF"), "TIFF", "I;16"),
        (encoded(SIXTEEN, "PNG"), "PNG", "I;16"),
    ],
)
def test_every_kind_of_image(stack: Stack, image: bytes, kind: str, mode: str) -> None:
    metadata = result(ask(stack, image, points_per_side=1))["metadata"]
    assert (metadata["image"]["format"], metadata["image"]["mode"]) == (kind, mode)
    assert bool(metadata["warnings"]) == (mode == "I;16")


def test_exif_orientation_comes_before_measuring(stack: Stack) -> None:
    picture = Image.fromarray(gradient())
    exif = picture.getexif()
    exif[0x0112] = 6
    found = result(ask(stack, encoded(picture, "JPEG", exif=exif), points_per_side=1))
    assert (found["metadata"]["image"]["width"], found["metadata"]["image"]["height"]) == (24, 32)


PAGES = [Image.fromarray(np.full((8, 8), level, np.uint8)) for level in (0, 255)]
BOMB = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\xea\x60\0\0\xea\x60\x08\x02\0\0\0\x0f\xb0\xe2\x15\0\0\x03\xe8IDAT"


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        (b"", {}, 400, "empty_body"),
        (b"{oops", {"Content-Type": "application/json"}, 400, "invalid_json"),
        (b"[1]", {"content-type": "application/json"}, 400, "invalid_json"),
        (b"{}", {"Content-Type": "application/json"}, 400, "missing_image"),
        (b'{"image": "a!"}', {"Content-Type": "application/json"}, 400, "invalid_base64"),
        (b"hello", {"Content-Type": "text/plain"}, 415, "not_an_image"),
        (b"hello", {}, 415, "not_an_image"),
        (encoded(np.zeros((4, 1025), np.uint8), "PNG"), {}, 413, "image_too_large"),
        (BOMB, {}, 413, "decompression_bomb"),
        (b"\x89PNG\r\n\x1a\n" + bytes(MAX_BYTES), {}, 413, "too_many_bytes"),
        (encoded(gradient(), "GIF"), {}, 415, "unsupported_format"),
        (encoded(PAGES[0], "TIFF", save_all=True, append_images=PAGES[1:]), {}, 415, "multiple_pages"),
        (encoded(PAGES[0], "WEBP", save_all=True, append_images=PAGES[1:]), {}, 415, "multiple_pages"),
        (PNG[: len(PNG) // 2], {}, 415, "truncated_image"),
        (encoded(GRAINS, "JPEG")[:-500], {}, 415, "truncated_image"),
    ],
)
def test_rejections(stack: Stack, body: bytes, headers: dict[str, str], status: int, code: str) -> None:
    assert_error(requests.post(url(stack), data=body, headers=headers, timeout=TIMEOUT), status, code)


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"points_per_side": 0}, "invalid_option"),
        ({"points_per_side": 2.5}, "invalid_option"),
        ({"pred_iou_thresh": 2}, "invalid_option"),
        ({"mode": "grain"}, "invalid_option"),
        ({"um_per_px": -1}, "invalid_option"),
        ({"label": ""}, "invalid_option"),
        ({"imageId": "../../etc"}, "invalid_option"),
        ({"colour": "red"}, "unknown_option"),
    ],
)
def test_wrong_options(stack: Stack, options: dict[str, Any], code: str) -> None:
    assert_error(ask(stack, **options), 422, code)
    answer = requests.post(url(stack), json={"image": BASE64, **options}, timeout=TIMEOUT)
    assert_error(answer, 422, code)


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_are_not_finite(stack: Stack, value: str) -> None:
    body = f'{{"image": "{BASE64}", "um_per_px": {value}}}'
    answer = requests.post(url(stack), data=body, headers={"Content-Type": "application/json"}, timeout=TIMEOUT)
    # TorchServe's own JSON reader may refuse them first; either way the refusal names the reason.
    assert answer.status_code in (400, 422)
    assert answer.json()["error"]["code"] in ("invalid_json", "invalid_option")
    assert_error(ask(stack, um_per_px=value), 422, "invalid_option")


def test_options_reach_the_answer(stack: Stack) -> None:
    found = result(ask(stack, label="quartz", um_per_px=2.5, mask_format="polygon"))
    assert found["metadata"]["units"]["umPerPx"] == 2.5
    for grain in found["segmentedObjects"]:
        assert grain["class"] == "quartz"
        assert grain["properties"]["area_um2"] == pytest.approx(6.25 * grain["properties"]["area"])
        assert isinstance(grain["mask"], list)


def test_mask_formats_and_modes(stack: Stack) -> None:
    rle, png, none = (result(ask(stack, mask_format=name))["segmentedObjects"] for name in ("rle", "png", "none"))
    assert [grain["properties"] for grain in rle] == [grain["properties"] for grain in none]
    assert {type(grain["mask"]) for grain in rle} == {dict}
    assert {type(grain["mask"]) for grain in png} == {str}
    assert {grain["mask"] for grain in none} == {None}
    masks = result(ask(stack, mode="masks", mask_format="none"))["segmentedObjects"]
    assert len(masks) >= len(rle)


def test_versioned_url(stack: Stack) -> None:
    assert result(ask(stack, rest="/1.0", points_per_side=1))["metadata"]["version"] == "1.0"
    missing = requests.post(url(stack, "/9.9"), data=PNG, timeout=TIMEOUT)
    assert missing.status_code == 404
    assert missing.json()["type"] == "ModelVersionNotFoundException"


def test_the_checkpoint_came_from_the_bucket(stack: Stack) -> None:
    bucket = stack.emulator.client().bucket(stack.environment["GRAINSERVE_WEIGHTS_BUCKET"])
    blob = bucket.get_blob("sam_tiny.pth")
    assert blob is not None
    assert result(ask(stack, points_per_side=1))["metadata"]["checkpoint"] == {
        "uri": f"gs://{bucket.name}/sam_tiny.pth",
        "generation": str(blob.generation),
        "crc32c": blob.crc32c,
    }


def test_customized_description(stack: Stack) -> None:
    address = f"{stack.torchserve.management}/models/sam_tiny/1.0"
    answer = requests.get(address, params={"customized": "true"}, timeout=TIMEOUT).json()[0]
    metadata = answer["customizedMetadata"]
    about = json.loads(metadata) if isinstance(metadata, str) else metadata
    assert about["model"] == "sam_tiny"
    assert about["checkpoint"]["uri"].startswith("gs://")
    assert about["defaults"]["mode"] == "grains"
    plain = requests.get(address, timeout=TIMEOUT).json()[0]
    assert plain["workers"][0]["status"] == "READY"


def test_explanations_are_refused_in_words(stack: Stack) -> None:
    address = f"{stack.torchserve.inference}/explanations/sam_tiny"
    assert_error(requests.post(address, data=PNG, timeout=TIMEOUT), 405, "explanations_unsupported")


def test_one_bad_image_does_not_hurt_the_rest_of_its_batch(stack: Stack, tmp_path: Path) -> None:
    config = yaml.safe_load((ROOT / "config" / "sam_tiny.yaml").read_text())
    config |= {"batchSize": 4, "maxBatchDelay": 5000}
    (tmp_path / "batch.yaml").write_text(yaml.safe_dump(config))
    version = "4.0"
    mar = pack("sam_tiny", version, config=tmp_path / "batch.yaml", out=tmp_path / f"batch-{uuid4().hex}.mar")
    stack.torchserve.register(mar)
    description = stack.torchserve.describe("sam_tiny", version)
    assert description is not None
    assert description["batchSize"] == 4
    images = [PNG, b"hello", encoded(np.zeros((4, 1025), np.uint8), "PNG"), PNG]
    with ThreadPoolExecutor(4) as pool:
        first, text, large, last = pool.map(lambda image: ask(stack, image, f"/{version}", imageId="i"), images)
    assert_error(text, 415, "not_an_image")
    assert_error(large, 413, "image_too_large")
    assert result(first)["segmentedObjects"] == result(last)["segmentedObjects"] != []
    removed = requests.delete(f"{stack.torchserve.management}/models/sam_tiny/{version}", timeout=TIMEOUT)
    assert removed.ok, removed.text
