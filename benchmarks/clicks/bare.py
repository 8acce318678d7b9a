"""A click without servers: the worker's steps, the decoder alone, and segment_anything's predictor.

python -m benchmarks.clicks.bare MODEL CHECKPOINT IMAGE COUNT

Prints JSON in its last line: for each the median time of a click on a kept image, ms.
"""

from __future__ import annotations

import base64
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from PIL import Image
from segment_anything import SamPredictor

from benchmarks.clicks.load import median_ms, points
from grain_handler.prompt import Prompt
from grain_handler.sam.models import load
from grain_handler.sam.prompted import Asked
from grain_handler.service import GrainHandler
from grain_handler.storage.weights import Checkpoint


def context(model: str, checkpoint: Path) -> Any:
    """Returns what a handler needs of TorchServe's context."""
    section = {"model": model, "checkpoint": str(checkpoint), "precision": "fp32", "embedding_cache_mib": 64}
    return SimpleNamespace(
        manifest={"model": {"modelName": model, "modelVersion": "1.0"}},
        system_properties={"gpu_id": None},
        model_yaml_config={"grainserve": section},
        get_all_request_header=lambda _: {},
        get_request_header=lambda *_: None,
        get_request_id=lambda _: "click",
        set_response_status=lambda **_: None,
        set_response_content_type=lambda *_: None,
        metrics=SimpleNamespace(add_time=lambda *_: None),
    )


def timed(click: Callable[[list[float]], Any], clicks: list[list[float]]) -> float:
    """Returns the median time of a click, ms."""
    click(clicks[0])
    seconds = []
    for point in clicks:
        began = time.perf_counter()
        click(point)
        seconds.append(time.perf_counter() - began)
    return median_ms(seconds)


def main(model: str, checkpoint: Path, file: Path, count: int) -> None:
    """Measures and prints."""
    handler = GrainHandler()
    handler.initialize(context(model, checkpoint))
    image = np.asarray(Image.open(file).convert("RGB"))
    clicks = points(len(image), count)

    def whole(point: list[float], **said: Any) -> Any:
        body = {"prompts": [{"points": [point]}], **said}
        return json.loads(handler.handle([{"body": body}], handler.context)[0])

    digest = whole(clicks[0], image=base64.b64encode(file.read_bytes()).decode())["metadata"]["imageDigest"]
    tokens = handler.generator.embed([image])[0].tokens
    size = (image.shape[0], image.shape[1])

    def decoder(point: list[float]) -> Any:
        prompt = Prompt(np.array([point]), np.ones(1, np.int64), None, None, True)
        return handler.predictor.predict([Asked(tokens, size, [prompt])])

    stock = SamPredictor(load(model, Checkpoint(checkpoint, str(checkpoint), "1", ""), torch.device("cpu")))
    stock.set_image(image)
    figures = {
        "worker_ms": timed(lambda point: whole(point, imageDigest=digest), clicks),
        "decoder_ms": timed(decoder, clicks),
        "stock_predictor_ms": timed(lambda point: stock.predict(np.array([point]), np.ones(1, int)), clicks),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
