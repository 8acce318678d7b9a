"""A result with another scale is what the handler would have answered with it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from grain_handler.answer import Sources, render
from grain_handler.masks import Mask
from grain_handler.segment import Found, measure
from grain_handler.storage.weights import Checkpoint
from grain_handler.wire.image import DecodedImage
from grain_handler.wire.options import Options
from grain_handler.wire.request import Request
from grain_handler.worker.model_config import ModelConfig
from grainserve.contract import validate_result
from grainserve.library.rescaled import CLASSES, rescaled
from grainserve.library.scales import Asked, Revision, revision

CHECKPOINT = Checkpoint(Path("a.pth"), "a.pth", None, "AAAAAA==", "file")
CONFIG = ModelConfig(
    model="sam_tiny",
    checkpoint="a.pth",
    name="sam_tiny",
    version="1.0",
    precision="fp32",
    device=torch.device("cpu"),
    cache=Path("cache"),
)
AT = datetime(2026, 12, 1, tzinfo=UTC)


def masks(seed: int, count: int) -> list[Mask]:
    random = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        height, width = random.integers(1, 20, 2).tolist()
        patch = random.random((height, width)) < 0.8
        patch[0, 0] = True
        x, y = random.integers(0, 40, 2).tolist()
        made.append(Mask(x, y, patch, 0.9, 0.9, int(random.integers(0, 5))))
    return made


def answered(found: list[Mask], um_per_px: float | None, source: str | None = None, **options: Any) -> dict[str, Any]:
    """The handler's answer to the same image and masks, measured with this scale."""
    pixels = np.random.default_rng(5).integers(0, 256, (64, 80, 3), dtype=np.uint8)
    given = {"um_per_px": um_per_px, "scale_source": source, "min_area": 0, "mode": "masks"} | options
    asked = Request("a", DecodedImage(pixels, "PNG", "RGB", 1), Options.model_validate(given))
    _, body = render(measure(Found(asked, found, 0.0)), CONFIG, Sources(CHECKPOINT))
    result: dict[str, Any] = json.loads(body)
    for name in ("timestamp", "processTime"):
        result["metadata"][name] = 0
    return result


def typed(um_per_px: float | None) -> Revision:
    return revision(Asked(um_per_px=um_per_px, has_number=True), "ann")(AT)


scale = st.none() | st.floats(1e-6, 1e6)


@given(before=scale, after=scale, seed=st.integers(0, 100), cropped=st.booleans())
def test_every_value_is_the_handlers_to_the_last_digit(
    *, before: float | None, after: float | None, seed: int, cropped: bool
) -> None:
    found, options = masks(seed, 3), {"crop": "2,3,61,60"} if cropped else {}
    asked = typed(after)

    changed = rescaled(answered(found, before, "OME-XML" if before else None, **options), [asked])

    told = changed["metadata"].pop("scale")
    assert told == {"umPerPx": after, "source": asked.source, "by": "ann", "at": told["at"], "revision": 1}
    assert not cropped or changed["metadata"]["frame"]["x"] == 2
    expected = answered(found, after, asked.scale_source, **options)
    assert changed == expected
    names = [list(grain["properties"]) for grain in changed["segmentedObjects"]]
    assert names == [list(grain["properties"]) for grain in expected["segmentedObjects"]], "tables keep their columns"


def test_the_last_revision_counts_and_the_stored_result_stays() -> None:
    stored = answered(masks(1, 2), 2.0)
    copy = json.dumps(stored)

    changed = rescaled(stored, [typed(3.0), typed(None), typed(4.0)])

    assert changed["metadata"]["units"]["umPerPx"] == 4.0
    assert changed["metadata"]["scale"]["revision"] == 3
    changed["metadata"]["timestamp"] = "2026-12-01T00:00:00Z"
    validate_result(changed)
    assert json.dumps(stored) == copy
    assert rescaled(stored, []) is stored


def test_a_classifier_that_knew_another_scale_is_a_warning() -> None:
    stored = answered(masks(1, 2), 2.0)
    stored["metadata"]["classifier"] = {}

    assert rescaled(stored, [typed(3.0)])["metadata"]["warnings"] == [CLASSES]
