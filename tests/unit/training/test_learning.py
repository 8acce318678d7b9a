from __future__ import annotations

import dataclasses
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from segment_anything.modeling import Sam

from grain_handler.sam.models import build_sam_tiny, load
from grain_handler.sam.tiny_encoder import SEED_CHANNELS
from grain_handler.storage.weights import Checkpoint
from training.crops import UNKNOWN, Batch, CropStream
from training.forward import decode, meant, windows
from training.losses import (
    coverage,
    dense_loss,
    dense_targets,
    intersection_over_union,
    mask_loss,
    prompt_loss,
)
from training.schedule import cosine, plateau
from training.train import Training


@pytest.fixture(scope="module")
def batch() -> Batch:
    return next(iter(CropStream(5, crops=2, prompts=6)))


@pytest.fixture(scope="module")
def sam() -> Sam:
    torch.manual_seed(0)
    return build_sam_tiny()


def test_a_strip_lower_than_the_least_crop_is_learnt_from() -> None:
    image, labels = np.full((40, 300, 3), 90, np.uint8), np.ones((40, 300), np.int32)
    crops = next(iter(CropStream(5, crops=4, prompts=2, source=lambda _: (image, labels), sides=(256,))))
    assert crops.images.shape == (4, 3, 256, 256)


def test_prompts_lie_on_what_they_mean(batch: Batch) -> None:
    for crop in range(2):
        for prompt in range(6):
            x0, y0, x1, y1 = batch.prompts[crop, prompt].tolist()
            if batch.is_box[crop, prompt]:
                ys, xs = torch.nonzero(batch.labels[crop] == batch.targets[crop, prompt], as_tuple=True)
                extent = max(int(xs.max() - xs.min()), int(ys.max() - ys.min())) + 1
                assert abs(x0 - int(xs.min())) <= 0.25 * extent
                assert abs(y1 - int(ys.max()) - 1) <= 0.25 * extent
            else:
                assert (x0, y0) == (x1, y1)
                here, target = int(batch.labels[crop, int(y0), int(x0)]), int(batch.targets[crop, prompt])
                # A point on ground beside a crooked grain, but near its centroid, still means this grain.
                assert here in (target, 0)


def test_a_crop_decodes_as_sam_decodes_it(sam: Sam) -> None:
    """At the frame's origin and full size, the trainer's batched decoder is SAM's own."""
    torch.manual_seed(1)
    embedding = torch.randn(1, 128, 64, 64)
    prompts = torch.tensor([[[200.0, 300.0, 200.0, 300.0], [100.0, 150.0, 400.0, 500.0]]])
    is_box = torch.tensor([[False, True]])
    whole = Batch(torch.empty(0), torch.empty(0), torch.zeros(1, 2), prompts, is_box, torch.ones(1, 2))
    with torch.no_grad():
        logits, scores = decode(sam, embedding, whole)
        queries: list[dict[str, Any]] = [
            {"points": (prompts[0, :1, None, :2], torch.ones(1, 1)), "boxes": None},
            {"points": None, "boxes": prompts[0, 1:]},
        ]
        for i, query in enumerate(queries):
            sparse, dense = sam.prompt_encoder(masks=None, **query)
            expected = sam.mask_decoder.predict_masks(embedding, sam.prompt_encoder.get_dense_pe(), sparse, dense)
            torch.testing.assert_close(logits[i : i + 1], expected[0], atol=1e-4, rtol=1e-4)
            torch.testing.assert_close(scores[i : i + 1], expected[1], atol=1e-4, rtol=1e-4)


def test_the_instance_code_knows_where_the_crop_lies(sam: Sam) -> None:
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        here, offsets = sam.image_encoder.encode(image, torch.tensor([[0.0, 0.0]]))
        there, same = sam.image_encoder.encode(image, torch.tensor([[512.0, 256.0]]))
        served = sam.image_encoder(image)
    assert torch.equal(offsets, same)
    assert torch.equal(here, served)
    assert not torch.allclose(here, there)


def test_coverage_and_iou() -> None:
    labels = torch.zeros(1, 8, 8, dtype=torch.int32)
    labels[0, :4, :6] = 3
    cover = coverage(labels, torch.tensor([[3, 0]]))
    assert cover[0, 0].tolist() == [[1.0, 0.5], [0.0, 0.0]]
    assert cover[0, 1].sum() == 0
    logits = torch.tensor([[1.0, -1.0], [1.0, -1.0]])
    assert intersection_over_union(logits, cover[0, 0]) == 0.5


def test_offsets_point_at_centroids() -> None:
    labels = torch.zeros(1, 32, 32, dtype=torch.int32)
    labels[0, 8:24, 0:16] = 1
    truth = dense_targets(labels)
    inside = [[False] * 4, [True, True, False, False], [True, True, False, False], [False] * 4]
    assert truth.inside[0].tolist() == inside
    cell_x, cell_y = 4.0, 12.0
    assert truth.offsets[0, :, 1, 0].tolist() == [(8 - cell_x) / 32, (16 - cell_y) / 32]
    assert float(truth.sizes[0, 1, 0]) == pytest.approx(np.log2(np.sqrt(4 / np.pi * 256) / 32), abs=1e-6)


@pytest.fixture
def partial() -> tuple[torch.Tensor, torch.Tensor]:
    """Makes labels of two grains, and the same labels with an unknown right half."""
    labels = torch.zeros(1, 64, 64, dtype=torch.int32)
    labels[0, 8:24, 4:24], labels[0, 32:56, 40:60] = 1, 2
    return labels, torch.where(torch.arange(64) >= 32, UNKNOWN, labels)


def test_no_dense_loss_counts_what_is_unknown(partial: tuple[torch.Tensor, torch.Tensor]) -> None:
    _, unknown = partial
    maps, seeds = torch.randn(1, 2, 16, 16), torch.randn(1, SEED_CHANNELS, 8, 8)
    maps.requires_grad_()
    seeds.requires_grad_()
    dense_loss(maps, seeds, unknown).backward()
    assert maps.grad is not None
    assert seeds.grad is not None
    # On ground only the foreground channel counts; a boundary is known on both of its sides.
    assert (maps.grad[..., 8:] == 0).all()
    assert (seeds.grad[..., 4:] == 0).all()
    assert (maps.grad[..., :8] != 0).all()
    assert (seeds.grad[:, 2, :, :4] != 0).all()


def test_no_prompt_loss_counts_what_is_unknown(partial: tuple[torch.Tensor, torch.Tensor]) -> None:
    labels, unknown = partial
    points = torch.tensor([[[10.0, 12, 10, 12], [50, 50, 50, 50], [40, 4, 40, 4]]])
    images, boxes = torch.zeros(1, 3, 64, 64, dtype=torch.uint8), torch.zeros(1, 3, dtype=torch.bool)
    known = Batch(images, unknown, torch.zeros(1, 2), points, boxes, torch.tensor([[1, UNKNOWN, UNKNOWN]]))
    truth, real, counts = meant(known)
    assert real.tolist() == [True, False, False]
    assert counts.tolist() == [True, False, False]
    torch.manual_seed(0)
    logits, scores = torch.randn(3, 4, 16, 16, requires_grad=True), torch.randn(3, 4, requires_grad=True)
    loss, _ = prompt_loss(logits, scores, truth, real, counts)
    loss.backward()
    for grad in (logits.grad, scores.grad):
        assert grad is not None
        assert grad[0].abs().sum() > 0
        assert (grad[1:] == 0).all()
    alone, _ = prompt_loss(logits[:1], scores[:1], *(each[:1] for each in meant(replace(known, labels=labels))))
    torch.testing.assert_close(loss, alone)


@settings(max_examples=40, deadline=None)
@given(
    middle=st.tuples(st.floats(0, 511), st.floats(0, 511)),
    size=st.tuples(st.integers(2, 200), st.integers(2, 200)),
    side=st.sampled_from([4, 8, 16, 32]),
)
def test_a_window_that_holds_the_whole_grain_has_the_truth_of_the_crop(
    middle: tuple[float, float], size: tuple[int, int], side: int
) -> None:
    """A window that does not hold it reports that the truth is out of sight."""
    x, y = middle
    labels = torch.zeros(1, 512, 512, dtype=torch.int32)
    rows = slice(max(0, int(y - size[1] / 2)), int(y + size[1] / 2) + 1)
    columns = slice(max(0, int(x - size[0] / 2)), int(x + size[0] / 2) + 1)
    labels[0, rows, columns] = 7
    prompt = torch.tensor([[[x, y, x, y]]])
    images, one = torch.zeros(1, 3, 512, 512, dtype=torch.uint8), torch.ones(1, 1)
    batch = Batch(images, labels, torch.zeros(1, 2), prompt, one.bool() & False, 7 * one.int())
    whole, real, _ = meant(batch)
    truth, seen, counts = meant(batch, side)
    assert truth.shape[1:] == (4 * side, 4 * side)
    left, top = (16 * windows(batch, side)[0, 0]).tolist()
    inside = left <= columns.start and top <= rows.start
    inside = inside and min(512, columns.stop) <= left + 16 * side and min(512, rows.stop) <= top + 16 * side
    if inside:
        assert (bool(seen), bool(counts)) == (bool(real), True)
        place = torch.zeros_like(whole)
        place[0, top // 4 : top // 4 + 4 * side, left // 4 : left // 4 + 4 * side] = truth[0]
        assert torch.equal(place, whole)
    else:
        assert bool(counts) == bool(truth.sum() >= 0.9 * whole.sum())
    assert left <= max(x, 0) <= left + 16 * side, "the prompt lies in its window"
    assert top <= max(y, 0) <= top + 16 * side


def test_a_window_decodes_as_the_crop_that_it_is(sam: Sam) -> None:
    """A prompt with a window gets the same answer as in a crop cut there."""
    torch.manual_seed(1)
    embedding = torch.randn(1, 128, 32, 32)
    images, box = torch.zeros(1, 3, 512, 512, dtype=torch.uint8), torch.tensor([[False, True]])
    prompts = torch.tensor([[[300.0, 200, 300, 200], [30, 20, 90, 80]]])
    crop = Batch(images, torch.zeros(1, 512, 512), torch.tensor([[16.0, 64]]), prompts, box, torch.ones(1, 2))
    with torch.no_grad():
        logits, scores = decode(sam, embedding, crop, 16)
        for i, (column, row) in enumerate(windows(crop, 16)[0].tolist()):
            moved = 16 * torch.tensor([[float(column), float(row)]])
            alone = Batch(
                torch.zeros(1, 3, 256, 256, dtype=torch.uint8),
                torch.zeros(1, 256, 256),
                crop.origins + moved,
                prompts[:, i : i + 1] - moved.repeat(1, 2),
                box[:, i : i + 1],
                torch.ones(1, 1),
            )
            expected = decode(sam, embedding[..., row : row + 16, column : column + 16], alone)
            torch.testing.assert_close(logits[i : i + 1], expected[0], atol=1e-4, rtol=1e-4)
            torch.testing.assert_close(scores[i : i + 1], expected[1], atol=1e-4, rtol=1e-4)


def test_an_empty_mask_is_not_a_minimum() -> None:
    """A loss with a minimum at empty masks never learns small grains."""
    truth = torch.zeros(64, 64)
    truth[10:14, 10:14] = 1
    empty, rough = torch.full((64, 64), -4.0), torch.full((64, 64), -4.0)
    rough[8:16, 8:16] = 4.0
    assert mask_loss(rough, truth) < mask_loss(empty, truth)


def test_a_short_run_warms_up_shortly() -> None:
    assert [cosine(step, 20, 1.0) for step in (0, 1, 20)] == pytest.approx([0.5, 0.994, 0], abs=1e-3)
    assert cosine(49, 10_000, 1.0) == pytest.approx(0.5, abs=1e-3)


def test_the_learning_rate_warms_up_holds_and_falls_to_zero() -> None:
    rates = [plateau(step, 10_000, 1.0) for step in (0, 299, 5000, 7000, 8500, 10_000)]
    assert rates == pytest.approx([1 / 300, 1, 1, 1, 0.5, 0])


@pytest.fixture
def small(batch: Batch) -> Batch:
    """Returns settings with three prompts a crop, for speed."""
    few = {name: getattr(batch, name)[:, :3] for name in ("prompts", "is_box", "targets")}
    return dataclasses.replace(batch, **few)


def test_a_few_steps_reduce_the_loss(small: Batch) -> None:
    torch.manual_seed(0)
    training = Training.begin(torch.device("cpu"), 1e-3)
    history = [training.take_step(small, 1e-3, dense_only=False)["loss"] for _ in range(8)]
    assert history[-1] < 0.9 * history[0]


def test_an_interrupted_run_goes_on_as_if_nothing_had_happened(small: Batch, tmp_path: Path) -> None:
    torch.manual_seed(0)
    training = Training.begin(torch.device("cpu"), 1e-3)
    training.take_step(small, 1e-3, dense_only=True)
    training.save(tmp_path)
    resumed = Training.begin(torch.device("cpu"), 1e-3)
    resumed.resume(tmp_path, torch.device("cpu"))
    assert resumed.step == training.step == 1
    expected = training.take_step(small, 1e-3, dense_only=False)
    assert resumed.take_step(small, 1e-3, dense_only=False) == pytest.approx(expected, rel=1e-3)
    for mine, its in zip(training.average.parameters(), resumed.average.parameters(), strict=True):
        torch.testing.assert_close(mine, its, atol=1e-5, rtol=1e-3)


def test_the_saved_checkpoint_is_one_the_handler_loads(tmp_path: Path) -> None:
    training = Training.begin(torch.device("cpu"), 1e-3)
    training.keep_if_best(tmp_path, 0.5)
    checkpoint = Checkpoint(tmp_path / "sam_tiny.pth", "sam_tiny.pth", None, "")
    loaded = load("sam_tiny", checkpoint, torch.device("cpu"))
    for mine, its in zip(training.average.parameters(), loaded.parameters(), strict=True):
        torch.testing.assert_close(mine, its, atol=1e-3, rtol=1e-3)


def test_only_a_better_checkpoint_replaces_the_best(tmp_path: Path) -> None:
    training = Training.begin(torch.device("cpu"), 1e-3)
    training.keep_if_best(tmp_path, 0.5)
    before = (tmp_path / "sam_tiny.pth").read_bytes()
    training.average.mask_decoder.iou_token.weight.data += 1
    training.keep_if_best(tmp_path, 0.6)
    assert (tmp_path / "sam_tiny.pth").read_bytes() == before
    training.keep_if_best(tmp_path, 0.4)
    assert (tmp_path / "sam_tiny.pth").read_bytes() != before


def test_a_gradient_that_is_not_finite_stops_the_run_and_changes_nothing(small: Batch) -> None:
    training = Training.begin(torch.device("cpu"), 1e-3)
    before = training.sam.mask_decoder.iou_token.weight.clone()
    training.head.project.weight.data.fill_(float("nan"))
    with pytest.raises(FloatingPointError, match="step 0"):
        training.take_step(small, 1e-3, dense_only=False)
    assert torch.equal(training.sam.mask_decoder.iou_token.weight, before)
