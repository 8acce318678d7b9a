"""Measured images of one key, and samples of them."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import numpy as np

from grainserve.jobs.markers import Ticket
from grainserve.jobs.store import Claim
from tests.unit.client.made import make_result
from tests.unit.gateway.conftest import Gateway, png

SIDE, PITCH = 200, 40


def discs(seed: int, *, um_per_px: float | None = 2.5, mask_format: str = "rle") -> dict[str, Any]:
    """Makes a result of up to 25 discs of chance sizes in a frame of 200 × 200 px; the frame cuts some."""
    chance = np.random.default_rng(seed)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    masks = []
    for index in range(25):
        y, x = (PITCH * place + PITCH // 2 for place in divmod(index, SIDE // PITCH))
        masks.append((columns - x) ** 2 + (rows - y) ** 2 <= chance.uniform(4, 21) ** 2)
    result = make_result(um_per_px=um_per_px, mask_format=mask_format, masks=masks)
    for each in result["segmentedObjects"]:
        each["properties"] |= {"orientationFromX": chance.uniform(0, 180), "aspectRatio": chance.uniform(1, 3)}
    return result


def measured(gateway: Gateway, result: dict[str, Any], key: str | None = None) -> str:
    """Uploads an image, gives its job this result, and returns the image id."""
    store, size = gateway.service.store, result["metadata"]["image"]
    image_id = gateway.upload(png(size["width"], size["height"]), key)
    claim = store.claim(Ticket(store.job(image_id).submitter, image_id), "test")
    assert isinstance(claim, Claim)
    own = deepcopy(result)
    own["metadata"]["imageId"] = image_id
    store.finish(claim, own)
    return image_id


def sample(gateway: Gateway, image_ids: Sequence[str], key: str | None = None, name: str = "sand") -> str:
    """Makes a sample and returns its id."""
    answer = gateway.ask("POST", "/samples", key, json={"name": name, "imageIds": list(image_ids)})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["sampleId"])
