"""Prompts through the whole worker."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pycocotools import mask as coco

from grain_handler import service
from grain_handler.grains.measure import measure_mask
from grain_handler.masks import Mask
from grain_handler.sam import models, prompt_decoder
from grainserve.contract import validate_error, validate_result
from tests.unit.handler.context import Context
from tests.unit.handler.pictures import encoded
from tests.unit.handler.sams import WEIGHTS
from tests.unit.handler.scenes import one_grain

IMAGE = one_grain(90, 120)
INSIDE, OUTSIDE = [72, 40], [5, 5]
BODY = {"image": base64.b64encode(encoded(IMAGE, "PNG")).decode(), "imageId": "a-1"}


@pytest.fixture(scope="module")
def handler() -> service.GrainHandler:
    handler = service.GrainHandler()
    handler.initialize(Context(WEIGHTS))
    return handler


def ask(handler: service.GrainHandler, *bodies: dict[str, Any]) -> list[dict[str, Any]]:
    answers = [json.loads(body) for body in handler.handle([{"body": BODY | body} for body in bodies], handler.context)]
    for answer in answers:
        (validate_error if "error" in answer else validate_result)(answer)
    return answers


def pixels(grain: dict[str, Any]) -> Mask:
    rle = grain["mask"]
    return Mask(rle["x"], rle["y"], coco.decode({"size": rle["size"], "counts": rle["counts"]}).astype(bool), 0, 0)


def test_each_prompt_is_answered_with_measured_masks_the_best_first(handler: service.GrainHandler) -> None:
    (answer,) = ask(handler, {"prompts": [{"points": [INSIDE]}, {"box": [54, 22, 90, 59]}], "um_per_px": 2.0})
    grains = {grain["id"]: grain for grain in answer["segmentedObjects"]}
    first, second = (each["objectIds"] for each in answer["prompts"])
    assert (first, second) == ([1, 2, 3][: len(first)], [len(first) + 1])
    scores = [grains[number]["predictedIou"] for number in first]
    assert scores == sorted(scores, reverse=True)
    best = grains[first[0]]
    assert best["properties"] == measure_mask(pixels(best), IMAGE, 2.0)
    assert 0 < best["stabilityScore"] <= 1
    x, y, patch = pixels(best).x, pixels(best).y, pixels(best).patch
    assert patch[INSIDE[1] - y, INSIDE[0] - x]
    assert best["properties"]["boundingBox"] == {"x": x, "y": y, "width": patch.shape[1], "height": patch.shape[0]}
    assert len(best["maskToken"]) < 400


def test_a_mask_is_refined_by_its_token_and_by_its_pixels(handler: service.GrainHandler) -> None:
    (answer,) = ask(handler, {"prompts": [{"points": [INSIDE]}]})
    best = answer["segmentedObjects"][0]
    refined = {"points": [INSIDE, OUTSIDE], "labels": [1, 0]}
    (again,) = ask(handler, {"prompts": [refined | {"mask": best["maskToken"]}, refined | {"mask": best["mask"]}]})
    assert [len(each["objectIds"]) for each in again["prompts"]] == [1, 1]


def test_positions_are_the_whole_images_where_a_part_is_measured(handler: service.GrainHandler) -> None:
    (answer,) = ask(handler, {"prompts": [{"points": [INSIDE]}], "crop": "40,10,70,70"})
    best = answer["segmentedObjects"][0]
    assert best["mask"]["x"] == best["properties"]["boundingBox"]["x"] >= 40
    x, y = pixels(best).x, pixels(best).y
    assert pixels(best).patch[INSIDE[1] - y, INSIDE[0] - x]


def test_a_batch_has_prompts_automatic_masks_and_errors_each_answered_as_if_alone(
    handler: service.GrainHandler,
) -> None:
    bodies: list[dict[str, Any]] = [
        {"prompts": [{"points": [INSIDE]}]},
        {"crop_n_layers": 0},
        {"prompts": [{"points": [[500, 5]]}]},
        {"prompts": [{"box": [54, 22, 90, 59]}]},
    ]
    handler.context.statuses.clear()
    together = ask(handler, *bodies)
    assert handler.context.statuses == {0: 200, 1: 200, 2: 422, 3: 200}
    assert together[2]["error"]["code"] == "point_outside"
    assert "prompts" not in together[1]
    assert not any("maskToken" in grain for grain in together[1]["segmentedObjects"])
    for i in (0, 1, 3):
        (alone,) = ask(handler, bodies[i])
        assert [grain["properties"]["boundingBox"] for grain in alone["segmentedObjects"]] == [
            grain["properties"]["boundingBox"] for grain in together[i]["segmentedObjects"]
        ]


def test_a_prompt_without_a_mask_is_answered_with_none(
    handler: service.GrainHandler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handler.predictor.framing, "mask_threshold", 1e6)
    (answer,) = ask(handler, {"prompts": [{"points": [INSIDE]}, {"points": [OUTSIDE]}]})
    assert answer["segmentedObjects"] == []
    assert answer["prompts"] == [{"objectIds": []}, {"objectIds": []}]


def test_an_interactive_model_refuses_a_request_without_prompts_and_answers_the_others() -> None:
    handler = service.GrainHandler()
    handler.initialize(Context(WEIGHTS, prompts_only=True))
    refused, answered = ask(handler, {}, {"prompts": [{"points": [INSIDE]}]})
    assert refused["error"]["code"] == "prompts_required"
    assert handler.context.statuses == {0: 422, 1: 200}
    assert len(answered["prompts"]) == 1
    assert handler.describe_handle()["promptsOnly"]


def test_what_goes_wrong_with_prompts_leaves_automatic_masks_alone(
    handler: service.GrainHandler, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_asked: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(handler.predictor, "predict", fail)
    handler.context.statuses.clear()
    ask(handler, {"prompts": [{"points": [INSIDE]}]}, {"crop_n_layers": 0}, {"prompts": [{"points": [OUTSIDE]}]})
    assert handler.context.statuses == {0: 507, 1: 200, 2: 507}


def test_a_small_prompted_mask_is_measured_although_grains_of_its_size_are_dropped(
    handler: service.GrainHandler, monkeypatch: pytest.MonkeyPatch
) -> None:
    (answer,) = ask(handler, {"prompts": [{"points": [INSIDE]}], "min_area": 9000, "max_area_fraction": 0.001})
    assert answer["segmentedObjects"]
    assert np.all([grain["properties"]["area"] < 9000 for grain in answer["segmentedObjects"]])


@pytest.fixture
def keeping() -> service.GrainHandler:
    handler = service.GrainHandler()
    handler.initialize(Context(WEIGHTS, embedding_cache_mib=64))
    return handler


def test_a_kept_image_is_asked_about_by_its_digest_and_encoded_once(
    keeping: service.GrainHandler, monkeypatch: pytest.MonkeyPatch
) -> None:
    embed, encoded_images = keeping.generator.embed, []

    def counted(images: list[Any]) -> Any:
        encoded_images.append(len(images))
        return embed(images)

    monkeypatch.setattr(keeping.generator, "embed", counted)
    prompts = [{"points": [INSIDE]}]
    (automatic,) = ask(keeping, {"crop_n_layers": 0})
    (first,) = ask(keeping, {"prompts": prompts})
    digest = first["metadata"]["imageDigest"]
    by_digest = {"image": None, "imageDigest": digest}
    again, everything, same = ask(
        keeping,
        by_digest | {"prompts": prompts},
        by_digest | {"crop_n_layers": 0},
        {"imageDigest": digest, "prompts": prompts},
    )
    assert encoded_images == [1]
    for one in (again, same):
        assert one["metadata"]["image"] == first["metadata"]["image"]
        assert [grain["properties"] for grain in one["segmentedObjects"]] == [
            grain["properties"] for grain in first["segmentedObjects"]
        ]
    assert everything["segmentedObjects"] == automatic["segmentedObjects"]


def test_a_digest_that_is_not_kept_lies_or_is_none_is_told(keeping: service.GrainHandler) -> None:
    ask(keeping, {"crop_n_layers": 0})
    other = {"imageDigest": "0" * 64}
    answers = ask(
        keeping,
        other | {"image": None},
        other,
        {"imageDigest": "0" * 63},
        {"imageDigest": 7, "image": None},
    )
    assert [answer["error"]["code"] for answer in answers] == [
        "embedding_missing",
        "digest_mismatch",
        "invalid_digest",
        "invalid_digest",
    ]
    assert [keeping.context.statuses[i] for i in range(4)] == [404, 422, 422, 422]


def test_a_worker_that_keeps_nothing_knows_no_digest(handler: service.GrainHandler) -> None:
    (answer,) = ask(handler, {"image": None, "imageDigest": "0" * 64})
    assert answer["error"]["code"] == "embedding_missing"


def test_another_tenant_does_not_find_the_image(keeping: service.GrainHandler) -> None:
    keeping.context.headers = [
        {"Grainserve-Tenant": "lab-a"},
        {"Grainserve-Tenant": "lab-b"},
        {"Grainserve-Tenant": "/"},
    ]
    (first,) = ask(keeping, {"prompts": [{"points": [INSIDE]}]})
    body = {"image": None, "imageDigest": first["metadata"]["imageDigest"], "prompts": [{"points": [INSIDE]}]}
    answers = ask(keeping, body, body, body)
    assert "segmentedObjects" in answers[0]
    assert [answer["error"]["code"] for answer in answers[1:]] == ["embedding_missing", "invalid_option"]


def test_a_prompt_decoder_answers_in_the_place_of_the_checkpoint_s_own(
    handler: service.GrainHandler, tmp_path: Path
) -> None:
    torch.manual_seed(3)
    other, path = models.build_sam_tiny(), tmp_path / "prompt_decoder.pth"
    torch.save(prompt_decoder.content(other, "sam_tiny", handler.checkpoint.crc32c), path)
    clicked = service.GrainHandler()
    clicked.initialize(Context(WEIGHTS, prompt_decoder=str(path), prompts_only=True))
    asked = {"prompts": [{"points": [INSIDE]}]}
    (own,), (others,) = ask(handler, asked), ask(clicked, asked)
    assert others["metadata"]["checkpoint"] == own["metadata"]["checkpoint"]
    assert others["metadata"]["promptDecoder"]["uri"] == str(path)
    assert "promptDecoder" not in own["metadata"]
    scores = [[grain["predictedIou"] for grain in each["segmentedObjects"]] for each in (own, others)]
    assert scores[0] != scores[1]
    token = own["segmentedObjects"][0]["maskToken"]
    (refused,) = ask(clicked, {"prompts": [{"points": [INSIDE], "mask": token}]})
    assert refused["error"]["code"] == "mask_token_expired"


def test_a_prompt_decoder_must_not_change_automatic_masks(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="prompt_decoder: only for a model with prompts_only"):
        service.GrainHandler().initialize(Context(WEIGHTS, prompt_decoder=str(tmp_path / "any.pth")))
