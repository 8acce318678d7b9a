"""The obvious design, for comparison: a FastAPI server with segment_anything's SamPredictor that keeps one image.

python -m benchmarks.side_by_side.obvious_clicks PORT MODEL CHECKPOINT
"""

# Annotations are not postponed here: FastAPI evaluates them.

import base64
import hashlib
import io
import sys
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import torch
import uvicorn
from fastapi import FastAPI
from PIL import Image
from pydantic import BaseModel
from segment_anything import SamPredictor

from grain_handler.sam.models import load
from grain_handler.storage.weights import Checkpoint


class Click(BaseModel):
    """An image in base64, and a point in it."""

    image: str
    point: tuple[float, float]


def make_app(model: str, checkpoint: Path) -> FastAPI:
    """Makes the server of one model."""
    app = FastAPI()
    predictor = SamPredictor(load(model, Checkpoint(checkpoint, str(checkpoint), "1", ""), torch.device("cpu")))
    lock, kept = Lock(), [b""]

    @app.get("/")
    def ready() -> None:
        """Answers when the model is loaded."""

    @app.post("/segment")
    def segment(click: Click) -> dict[str, Any]:
        data = base64.b64decode(click.image)
        with lock:
            if kept[0] != (digest := hashlib.sha256(data).digest()):
                predictor.set_image(np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))
                kept[0] = digest
            masks, scores, _ = predictor.predict(np.array([click.point]), np.ones(1, int))
        return {"masks": [_png(mask) for mask in masks], "scores": scores.tolist()}

    return app


def _png(mask: Any) -> str:
    buffer = io.BytesIO()
    Image.fromarray((255 * mask).astype(np.uint8)).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


if __name__ == "__main__":
    uvicorn.run(make_app(sys.argv[2], Path(sys.argv[3])), port=int(sys.argv[1]), log_level="warning")
