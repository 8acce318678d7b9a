"""Prompts, against a real TorchServe with the real sam_tiny."""

from __future__ import annotations

import base64
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from pycocotools import mask as coco
from typer.testing import CliRunner

from grainserve import Client, Result
from grainserve.cli import app
from grainserve.errors import ImageRejected
from tests.contract.test_handler import BASE64, PNG, TIMEOUT, assert_error, result, url
from tools.stack import Stack

POINT = {"points": [[100, 80]]}


def ask(stack: Stack, **body: Any) -> requests.Response:
    return requests.post(url(stack), json=body, timeout=TIMEOUT)


def ask_interactive(stack: Stack, **body: Any) -> requests.Response:
    return requests.post(f"{url(stack)}-prompt", json=body, timeout=TIMEOUT)


def scores(found: dict[str, Any]) -> list[float]:
    return [each["predictedIou"] for each in found["segmentedObjects"]]


def test_a_click_finds_the_object_under_it_and_a_token_refines_it(stack: Stack) -> None:
    found = result(ask(stack, image=BASE64, prompts=[POINT, {"box": [40, 30, 95, 71]}], um_per_px=2.0))
    masks = {each["id"]: each for each in found["segmentedObjects"]}
    (clicked, boxed) = ([masks[number] for number in each["objectIds"]] for each in found["prompts"])
    assert clicked
    assert len(boxed) == 1
    assert [each["predictedIou"] for each in clicked] == sorted(
        (each["predictedIou"] for each in clicked), reverse=True
    )
    best = clicked[0]
    assert best["properties"]["area_um2"] == pytest.approx(4 * best["properties"]["area"])
    mask = best["mask"]
    pixels = coco.decode({"size": mask["size"], "counts": mask["counts"].encode()})
    assert pixels.sum() == best["properties"]["area"]
    assert pixels[80 - mask["y"], 100 - mask["x"]]
    refined = result(ask(stack, image=BASE64, prompts=[{**POINT, "mask": best["maskToken"]}]))
    assert len(refined["segmentedObjects"]) == 1


def test_an_image_that_was_seen_is_asked_by_its_digest(stack: Stack) -> None:
    sent = result(ask(stack, image=BASE64, prompts=[POINT]))
    kept = result(ask(stack, imageDigest=sent["metadata"]["imageDigest"], prompts=[POINT]))
    for each in (*kept["segmentedObjects"], *sent["segmentedObjects"]):
        del each["maskToken"]  # it has the second in which it was made
    assert kept["segmentedObjects"] == sent["segmentedObjects"]
    assert_error(ask(stack, imageDigest="0" * 64, prompts=[POINT]), 404, "embedding_missing")
    assert_error(ask(stack, image=BASE64, imageDigest="0" * 64, prompts=[POINT]), 422, "digest_mismatch")


def test_the_interactive_model_answers_prompts_alone(stack: Stack) -> None:
    """Requests that come together are one batch, and each has its own answer, by the decoder that has learnt clicks."""
    points = [[100, 80], [60, 50], [30, 90], [101, 81]]
    bodies = [
        {"image": BASE64, "imageId": f"click-{i}", "prompts": [{"points": [point]}]} for i, point in enumerate(points)
    ]
    bodies.insert(2, {"image": BASE64, "imageId": "no-click"})
    with ThreadPoolExecutor(len(bodies)) as together:
        answers = list(together.map(lambda body: ask_interactive(stack, **body), bodies))
    assert_error(answers.pop(2), 422, "prompts_required")
    del bodies[2]
    for answer, body in zip(answers, bodies, strict=True):
        mine, alone, other = result(answer), result(ask_interactive(stack, **body)), result(ask(stack, **body))
        assert mine["metadata"]["imageId"] == body["imageId"]
        assert mine["metadata"]["model"] == "sam_tiny-prompt"
        assert mine["metadata"]["promptDecoder"]["uri"].endswith("/sam_tiny_prompt_decoder.pth")
        assert mine["metadata"]["checkpoint"] == other["metadata"]["checkpoint"]
        assert mine["prompts"] == alone["prompts"]
        # Which prompts are decoded together changes rounding.
        assert scores(mine) == pytest.approx(scores(alone), abs=1e-4)
        assert scores(mine) != pytest.approx(scores(other), abs=1e-2)


@pytest.mark.parametrize(
    ("prompts", "code"),
    [
        ([], "no_prompts"),
        ([{"points": [[500, 80]]}], "point_outside"),
        ([{"box": [90, 30, 40, 71]}], "invalid_box"),
        ([{"points": [[100, 80]], "labels": [1, 0]}], "invalid_labels"),
        ([{**POINT, "mask": base64.urlsafe_b64encode(b"no token").decode()}], "invalid_mask_token"),
    ],
)
def test_a_prompt_that_cannot_be_asked_has_its_own_error(stack: Stack, prompts: list[Any], code: str) -> None:
    assert_error(ask(stack, image=BASE64, prompts=prompts), 422, code)


@pytest.mark.usefixtures("environment")
def test_a_session_points_at_objects_and_takes_a_click_back(stack: Stack) -> None:
    with Client(prompt_model="sam_tiny") as client:
        session = client.open(PNG, um_per_px=2.0)
        clicked = session.add(points=[(100, 80)])
        assert clicked.mask[80, 100]
        boxed = session.add(box=(40, 30, 95, 71))
        refined = session.add(points=[(105, 80)], object=clicked.number)
        assert len(refined.masks) == 1
        with pytest.raises(ImageRejected) as refused:
            session.add(points=[(500, 80)])
        assert refused.value.code == "point_outside"
        assert session.objects == (refined, boxed)
        assert session.undo()
        assert session.objects == (clicked, boxed)
        kept = session.to_result()
        validated = client.segment(PNG, prompts=[each.prompt for each in session.objects], um_per_px=2.0)
        for grain, answer in zip(kept.grains, validated.answers, strict=True):
            assert grain.properties["area_um2"] == pytest.approx(4 * grain.area)
            assert np.mean(kept.mask(grain) == validated.mask(answer[0])) > 0.999


@pytest.mark.parametrize("mask_format", ["rle", "png", "polygon"])
@pytest.mark.usefixtures("environment")
def test_masks_lie_where_their_measurements_say(stack: Stack, mask_format: str) -> None:
    with Client(prompt_model="sam_tiny") as client:
        result = client.segment(PNG, points=[(100, 80)], mask_format=mask_format)
    for grain in result.answers[0]:
        rows, columns = np.nonzero(result.mask(grain))
        assert len(rows) == grain.area
        assert (columns.mean(), rows.mean()) == pytest.approx(tuple(grain.properties["centroid"].values()))


@pytest.mark.usefixtures("environment")
def test_the_command_line_segments_and_draws(stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAINSERVE_PROMPT_MODEL", "sam_tiny")
    (tmp_path / "grains.png").write_bytes(PNG)
    files = [str(tmp_path / name) for name in ("grains.png", "out.png", "out.json")]
    objects = ["--object", "100,80", "--object", "40,30,95,71"]
    done = CliRunner().invoke(app, ["segment", files[0], *objects, "--out", files[1], "--json", files[2]])
    assert done.exit_code == 0, done.output
    assert len(Result.from_json(files[2]).answers) == 2
    assert Path(files[1]).read_bytes().startswith(b"\x89PNG")
