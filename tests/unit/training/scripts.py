"""Shared parts of the tests of training scripts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer

from grain_handler import service
from grain_handler.sam import models
from tests.unit.handler.context import Context
from tests.unit.handler.pictures import encoded
from training.synthetic import synthesize


def untrained(folder: Path, model: str, seed: int = 0) -> Path:
    """Makes a checkpoint of random numbers."""
    torch.manual_seed(seed)
    path = folder / f"{model}_untrained.pth"
    torch.save(models.REGISTRY[model]().state_dict(), path)
    return path


def rock(folder: Path, count: int = 3) -> Path:
    """Makes a folder of annotated images, as a user would."""
    folder.mkdir()
    for i in range(count):
        made = synthesize(np.random.default_rng(40 + i), "loose", 192, 192, grain_px=40)
        Image.fromarray(made.image).save(folder / f"{i}.png")
        Image.fromarray(made.labels.astype(np.uint16)).save(folder / f"{i}_labels.png")
    return folder


def interrupt(monkeypatch: pytest.MonkeyPatch, learning: type[Any], step: int) -> None:
    """Presses Ctrl-C once, after a number of steps."""
    usual = learning.take_step

    def take_step(self: Any, *arguments: Any) -> Any:
        if self.step == step:
            monkeypatch.setattr(learning, "take_step", usual)
            raise KeyboardInterrupt
        return usual(self, *arguments)

    monkeypatch.setattr(learning, "take_step", take_step)


def log(run: Path) -> list[dict[str, Any]]:
    """Returns the lines of a run's log."""
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def served(checkpoint: Path, model: str) -> dict[str, Any]:
    """Returns the handler's answer to a small image, with this checkpoint."""
    context = Context(checkpoint, model=model, precision="fp32")
    context.manifest["model"]["modelName"] = model
    handler = service.GrainHandler()
    handler.initialize(context)
    options = {"points_per_side": b"3", "pred_iou_thresh": b"0", "stability_score_thresh": b"0"}
    image = encoded(synthesize(np.random.default_rng(1), "loose", 64, 64).image, "PNG")
    (body,) = handler.handle([{"image": image} | options], context)
    assert context.statuses == {0: 200}, body
    answer: dict[str, Any] = json.loads(body)
    return answer


def small_vit() -> Sam:
    """Makes a SAM with a vision transformer of 32 channels: built like ViT-B, but quick."""
    frame, width = 1024, 32
    layout = {"embed_dim": width, "depth": 2, "num_heads": 2, "window_size": 8, "global_attn_indexes": (1,)}
    return Sam(
        ImageEncoderViT(img_size=frame, out_chans=width, use_rel_pos=True, **layout),
        PromptEncoder(width, (frame // 16, frame // 16), (frame, frame), mask_in_chans=16),
        MaskDecoder(
            transformer_dim=width,
            transformer=TwoWayTransformer(depth=2, embedding_dim=width, num_heads=2, mlp_dim=64),
            iou_head_hidden_dim=width,
        ),
    ).eval()
