"""A large image through all processes: stopped half way, continued, and compared with its truth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from grainserve import Client
from grainserve.contract import validate_result
from tools.stack import Stack
from training.scoring import score
from training.synthetic import synthesize

TRUTH = synthesize(np.random.default_rng(7005), "matrix", 640, 1400, grain_px=90)
SMALL_TILES: dict[str, Any] = {"largest_grain": 190}


@pytest.mark.usefixtures("environment")
def test_a_large_image_is_measured_by_tiles_and_taken_up_again(stack: Stack, tmp_path: Path) -> None:
    def stop(done: int, of: int) -> None:
        assert of == 2
        raise KeyboardInterrupt

    def written(prefix: str) -> dict[str, int]:
        blobs = stack.emulator.client().list_blobs(stack.environment["GRAINSERVE_BUCKET"], prefix=prefix)
        return {blob.name: blob.generation for blob in blobs}

    path = tmp_path / "section.png"
    Image.fromarray(TRUTH.image).save(path)
    jobs, results = set(written("jobs/")), set(written("results/"))
    with pytest.raises(KeyboardInterrupt), Client(concurrency=1) as client:
        client.analyze(path, timeout=300, on_done=stop, **SMALL_TILES)
    begun = set(written("jobs/")) - jobs
    done = {name: generation for name, generation in written("results/").items() if name not in results}
    assert len(begun) == 2
    assert len(done) >= 1

    with Client() as client:
        result = client.analyze(path, timeout=300, **SMALL_TILES)
        validate_result(result.to_dict())
        result.overlay(tmp_path / "overlay.png")  # the pixels of the image, taken from its tiles in the bucket
    assert set(written("jobs/")) - jobs == begun, "no tile is submitted again"
    assert {name: written("results/")[name] for name in done} == done, "and what was done is not done again"
    found = score(result.label_map, TRUTH.labels)
    assert found.f1 > 0.9
    assert abs(found.size_error) < 0.05
