from __future__ import annotations

import dataclasses

import pytest
import torch
from segment_anything.modeling import Sam

from grain_handler.models import build_sam_tiny
from training.crops import Batch, CropStream
from training.losses import coverage, dense_targets, intersection_over_union, mask_loss
from training.train import DenseHead, decode, learning_rate, losses


@pytest.fixture(scope="module")
def batch() -> Batch:
    return next(iter(CropStream(5, crops=2, prompts=6)))


@pytest.fixture(scope="module")
def sam() -> Sam:
    torch.manual_seed(0)
    return build_sam_tiny()


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
                assert batch.labels[crop, int(y0), int(x0)] == batch.targets[crop, prompt]


def test_a_crop_decodes_as_sam_decodes_it(sam: Sam) -> None:
    """At the frame's origin and full size, the trainer's batched decoder is SAM's own."""
    torch.manual_seed(1)
    embedding = torch.randn(1, 128, 64, 64)
    prompts = torch.tensor([[[200.0, 300.0, 200.0, 300.0], [100.0, 150.0, 400.0, 500.0]]])
    is_box = torch.tensor([[False, True]])
    whole = Batch(torch.empty(0), torch.empty(0), torch.zeros(1, 2), prompts, is_box, torch.ones(1, 2))
    with torch.no_grad():
        logits, scores = decode(sam, embedding, whole)
        queries = [
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
    _, offsets, counts = dense_targets(labels)
    assert counts[0].tolist() == [[False] * 4, [True, True, False, False], [True, True, False, False], [False] * 4]
    cell_x, cell_y = 4.0, 12.0
    assert offsets[0, :, 1, 0].tolist() == [(8 - cell_x) / 32, (16 - cell_y) / 32]


def test_an_empty_mask_is_not_a_minimum() -> None:
    """Losses that let empty masks win never learn small grains."""
    truth = torch.zeros(64, 64)
    truth[10:14, 10:14] = 1
    empty, rough = torch.full((64, 64), -4.0), torch.full((64, 64), -4.0)
    rough[8:16, 8:16] = 4.0
    assert mask_loss(rough, truth) < mask_loss(empty, truth)


def test_the_learning_rate_warms_up_holds_and_falls_to_zero() -> None:
    rates = [learning_rate(step, 10_000, 1.0) for step in (0, 299, 5000, 7000, 8500, 10_000)]
    assert rates == pytest.approx([1 / 300, 1, 1, 1, 0.5, 0])


def test_a_few_steps_reduce_the_loss(batch: Batch) -> None:
    torch.manual_seed(0)
    sam, head = build_sam_tiny().train(), DenseHead(128)
    optimizer = torch.optim.AdamW([*sam.parameters(), *head.parameters()], lr=1e-3)
    small = dataclasses.replace(batch, prompts=batch.prompts[:, :3], is_box=batch.is_box[:, :3], targets=batch.targets[:, :3])
    history = []
    for _ in range(8):
        loss, _ = losses(sam, head, small, dense_only=False)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append(loss.item())
    assert history[-1] < 0.9 * history[0]
