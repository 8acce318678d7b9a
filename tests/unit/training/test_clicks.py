"""Learning from clicks: what learns, where clicks are put, and that a run goes on where it was interrupted."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.random import Generator
from segment_anything import SamPredictor
from segment_anything.modeling import Sam

from grain_handler.sam import prompt_decoder
from training import clicks
from training.checkpoints import fetch, load
from training.clicking import Chooser, answer, asked, click
from training.crops import CropStream, Pair
from training.synthetic import synthesize

WEIGHTS = "weights/sam_tiny.pth"


@pytest.fixture
def sam() -> Sam:
    return load("sam_tiny", fetch(WEIGHTS), torch.device("cpu")).eval()


def small(rng: Generator) -> Pair:
    """Draws a small synthetic image, quick to make."""
    made = synthesize(rng, height=256, width=256, grain_px=40.0)
    return made.image, made.labels


def stream(side: int = 256) -> CropStream:
    return CropStream(3, crops=2, prompts=6, sides=(side,), source=small)


@pytest.mark.parametrize("boxed", [False, True])
def test_answers_are_those_of_sam_predictor(sam: Sam, boxed: bool) -> None:
    of = next(each for drawn in stream(1024) for each in asked(sam, drawn) if (each.boxes is not None) == boxed)
    points = torch.cat([of.points[:1], torch.tensor([[[300.0, 200.0], [90.0, 700.0]]])], 1)
    labels = torch.cat([of.labels[:1], torch.tensor([[0.0, 1.0]])], 1)
    one = replace(of, image=of.image[:1], place=of.place[:1], boxes=None if of.boxes is None else of.boxes[:1])
    predictor = SamPredictor(sam)
    predictor.features, predictor.is_image_set = one.image, True
    predictor.original_size = predictor.input_size = (1024, 1024)
    mask = torch.full((1, 256, 256), -4.0)
    mask[0, 40:90, 30:80] = 5.0
    with torch.no_grad():
        for given in (None, mask[None]):
            logits, scores = answer(sam, one, points, labels, None if given is None else given[0])
            _, iou, low = predictor.predict_torch(points, labels, one.boxes, given, multimask_output=False)
            torch.testing.assert_close(scores[:, :1], iou, atol=1e-4, rtol=0)
            torch.testing.assert_close(logits[:, :1], low, atol=1e-3, rtol=1e-4)


def test_a_click_goes_to_the_middle_of_the_largest_fault_and_says_what_it_is() -> None:
    truth = torch.zeros(2, 20, 20)
    truth[:, 4:12, 4:12] = 1
    shown = truth.clone()
    shown[0, 4:12, 9:12] = 0  # a piece is missing
    shown[1, 5:10, 12:17] = 1  # there is too much
    shown[1, 0, 0] = 1
    places, labels = click((shown > 0) != (truth > 0.5), truth, torch.tensor([[0.0, 0.0], [100.0, 200.0]]), Chooser())
    assert labels.tolist() == [[1.0], [0.0]]
    assert 4 * 9 < places[0, 0, 0] < 4 * 12
    assert places[1, 0].tolist() == [100 + 4 * 14 + 2, 200 + 4 * 7 + 2]


def test_without_a_fault_a_click_goes_into_the_object() -> None:
    truth = torch.zeros(1, 8, 8)
    truth[0, 2:4, 5:7] = 1
    (place,), (label,) = click(truth > 1, truth, torch.zeros(1, 2), Chooser(np.random.default_rng(5)))
    assert label.item() == 1
    assert truth[0, int(place[0, 1] // 4), int(place[0, 0] // 4)] == 1


def test_an_interrupted_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"HELD_OUT": 1, "EVERY": 1, "SIDES": (256,), "PROMPTS": {256: 3}, "VALIDATED": 3}.items():
        monkeypatch.setattr(clicks, name, value)
    monkeypatch.setattr("training.train.synthetic", small)
    for steps in ("1", "2"):
        command = ["training.clicks", "--run", str(tmp_path), "--start", WEIGHTS, "--crops", "1", "--steps", steps]
        monkeypatch.setattr(sys, "argv", command)
        assert clicks.main() == 0
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [0, 1, 2]
    assert {len(row) for line in lines for row in line["held_out"].values()} == {3}
    served = load("sam_tiny", fetch(WEIGHTS), torch.device("cpu"))
    before = {name: value.clone() for name, value in served.state_dict().items()}
    prompt_decoder.load(fetch(str(tmp_path / clicks.DECODER)), "sam_tiny", fetch(WEIGHTS), served)
    changed = {name.partition(".")[0] for name, value in served.state_dict().items() if not value.equal(before[name])}
    assert changed == {"prompt_encoder", "mask_decoder"}
