"""The benchmark of prompts: what it counts, and that counting changes nothing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks import seeds as benchmark
from benchmarks.scored.images import Known
from grain_handler.sam import models
from grain_handler.sam.automask import MaskGenerator
from grain_handler.segment import mask_settings
from grain_handler.wire.options import Options
from tools.problem import Problem
from training.serving import Served


def generator() -> MaskGenerator:
    torch.manual_seed(0)
    return MaskGenerator(models.build_sam_tiny().eval())


def known() -> Known:
    pixels = np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    labels = np.zeros((96, 128), np.int32)
    labels[10:50, 10:60] = 1
    return Known("noise", "photographs", "noise", pixels, labels)


@pytest.mark.parametrize(("points", "prompts"), [("grid", 16), ("adaptive", 16), ("seeds", None)])
def test_prompts_are_counted_and_masks_are_the_same(points: str, prompts: int | None) -> None:
    options = Options.model_validate({"points": points, "points_per_side": 4, "pred_iou_thresh": 1.0})
    made, image = generator(), known()
    settings = mask_settings(options, *image.labels.shape)
    (embedding,) = made.embed([image.image])
    plain = made.generate(image.image, settings, embedding)
    with benchmark.listening(made) as asked:
        heard = made.generate(image.image, settings, embedding)
    assert len(plain) == len(heard)
    assert len(asked.seeds) == 0 or points == "seeds"
    if prompts is None:
        assert asked.prompts >= len(asked.seeds[0])
    else:
        assert asked.prompts == prompts
    before = asked.prompts
    made.generate(image.image, settings, embedding)
    assert asked.prompts == before, "nobody listens afterwards"
    case = benchmark.measure(image, made, options)
    assert {"image", "points", "prompts", "seconds", "f1", "d50_error"} <= set(case)
    assert (case["image"], case["points"], case["prompts"]) == ("noise", points, before)


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr("sys.argv", ["seeds.py", *arguments])
    return benchmark.main()


def test_a_case_for_each_image_and_way_and_a_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "photographs", lambda: iter([known()]))
    monkeypatch.setattr(Served, "generator", lambda _: generator())
    few = {way: {**asked, "points_per_side": "4"} for way, asked in benchmark.WAYS.items()}
    monkeypatch.setattr(benchmark, "WAYS", few)
    out, picture = tmp_path / "out.json", tmp_path / "seeds.png"
    assert run(monkeypatch, "--points", "seeds", "--out", str(out)) == 0
    (case,) = json.loads(out.read_text())
    assert (case["image"], case["points"], case["options"]["points"]) == ("noise", "seeds", "seeds")
    earlier = tmp_path / "earlier.pth"
    torch.save(models.build_sam_tiny().state_dict(), earlier)
    assert run(monkeypatch, "--points", "seeds", "--earlier", str(earlier), "--out", str(out)) == 0
    now, before = json.loads(out.read_text())
    assert (now["points"], before["points"]) == ("seeds", "adaptive")
    assert now["checkpoint_crc32c"] == case["checkpoint_crc32c"] != before["checkpoint_crc32c"]
    assert run(monkeypatch, "--picture", str(picture), "--photograph", "noise") == 0
    with Image.open(picture) as drawn:
        assert min(drawn.size) > 100
    with pytest.raises(Problem, match="there are noise"):
        run(monkeypatch, "--picture", str(picture), "--photograph", "other")


def test_what_is_missing_is_said_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "photographs", lambda: iter([]))
    with pytest.raises(Problem, match="the annotated photographs are looked for in"):
        run(monkeypatch)
    sam = models.build_sam_tiny()
    sam.image_encoder.seed_head = None
    monkeypatch.setattr(benchmark, "photographs", lambda: iter([known()]))
    monkeypatch.setattr(Served, "generator", lambda _: MaskGenerator(sam.eval()))
    with pytest.raises(Problem, match="this model predicts no seeds"):
        run(monkeypatch, "--out", str(tmp_path / "out.json"))
