"""An imitation of TorchServe's answers to prompts: each prompt finds the next disc of `made.py`."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import pytest

from tests.unit.client.fake_torchserve import Answer, FakeTorchServe
from tests.unit.client.made import DISCS, make_result

MISSING: Answer = (404, b'{"error": {"code": "embedding_missing", "message": "send the image itself"}}')
POINT = {"points": [[20, 15]]}
BOX = {"box": [38, 18, 63, 43]}


def digest(image: bytes) -> str:
    """Returns what stands for an image here; workers take the SHA-256 of its pixels."""
    return hashlib.sha256(image).hexdigest()


def result(body: dict[str, Any]) -> bytes:
    """Makes the answer to a request with prompts; a prompt with `multimask` finds two discs."""
    made = make_result(body["imageId"], um_per_px=body.get("um_per_px"), mask_format=body.get("mask_format", "rle"))
    discs = made["segmentedObjects"]
    objects: list[dict[str, Any]] = []
    prompts: list[dict[str, list[int]]] = []
    for index, prompt in enumerate(body["prompts"]):
        found = [discs[(index + more) % len(DISCS)] for more in range(1 + bool(prompt.get("multimask")))]
        ids = range(len(objects) + 1, len(objects) + 1 + len(found))
        objects += [
            each | {"id": number, "predictedIou": 0.9 - number / 1000, "stabilityScore": 0.9, "maskToken": "t"}
            for number, each in zip(ids, found, strict=True)
        ]
        prompts.append({"objectIds": list(ids)})
    named = body.get("imageDigest") or digest(base64.b64decode(body["image"]))
    made["metadata"] |= {"imageDigest": named, "model": "sam_tiny-prompt"}
    return json.dumps(made | {"segmentedObjects": objects, "prompts": prompts}).encode()


@pytest.fixture
def prompting(torchserve: FakeTorchServe, monkeypatch: pytest.MonkeyPatch) -> FakeTorchServe:
    """TorchServe that answers prompts."""
    monkeypatch.setattr(torchserve, "result", result)
    return torchserve
