"""Every tensor lies on the model's device: automatic masks run as on a GPU, with the CPU's results."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from segment_anything.modeling import Sam
from torch.nn.attention import SDPBackend, sdpa_kernel
from torchvision.ops import nms

from grain_handler.masks import Mask
from grain_handler.sam.automask import MaskGenerator
from grain_handler.sam.crops import Framing
from grain_handler.sam.mask_decoder import PromptDecoder
from grain_handler.sam.mask_settings import MaskSettings
from grain_handler.sam.upsampling import Upsampler
from tests.unit.handler.lookalike import CPU, lookalike
from tests.unit.handler.sams import random_sam, trained
from tests.unit.handler.scenes import grains

pytestmark = [
    # from torchvision's NMS, when it computes only shapes
    pytest.mark.filterwarnings("ignore:`create_unbacked_symint` is deprecated:FutureWarning"),
    # from FakeTensorMode, for whatever it copies
    pytest.mark.filterwarnings("ignore:Accessing the data pointer of FakeTensor:UserWarning"),
]

IMAGE = grains(2, "matrix", 96, 128, 30)
SIDE = 128
GRIDS = [np.stack(np.meshgrid(line, line), -1).reshape(-1, 2) for line in (np.array([0.3, 0.6]), np.array([0.4]))]
SETTINGS = MaskSettings(
    point_grids=GRIDS,
    points_per_batch=3,
    pred_iou_thresh=0.2,
    stability_score_thresh=0.1,
    box_nms_thresh=0.95,
    min_mask_region_area=4,
)


def small_vit() -> Sam:
    return random_sam(0, SIDE)


def tiny() -> Sam:
    return copy.deepcopy(trained(SIDE))


def segmented(sam: Sam, precision: str, **changed: Any) -> list[Mask]:
    return MaskGenerator(sam, precision).generate(IMAGE, MaskSettings(**{**vars(SETTINGS), **changed}))


@pytest.mark.parametrize(
    ("model", "precision", "options"),
    [
        (small_vit, "fp32", {"crop_n_layers": 1}),
        (small_vit, "bf16", {"points": "adaptive"}),
        (small_vit, "int8", {"pred_iou_thresh": 0}),
        (tiny, "fp32", {"points": "adaptive"}),
        (tiny, "bf16", {}),
        (tiny, "fp32", {"pred_iou_thresh": 2}),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_masks_on_a_gpu_are_those_on_the_cpu(model: Callable[[], Sam], precision: str, options: dict[str, Any]) -> None:
    with sdpa_kernel(SDPBackend.MATH):  # as there
        expected = segmented(model(), precision, **options)
    assert expected or options == {"pred_iou_thresh": 2}, "a comparison of nothing proves nothing"
    with lookalike() as device:
        found = segmented(model().to(device), precision, **options)
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours.x, ours.y, ours.patch.shape) == (theirs.x, theirs.y, theirs.patch.shape)
        assert np.array_equal(ours.patch, theirs.patch)


@pytest.mark.parametrize("model", [small_vit, tiny])
def test_several_images_are_embedded_on_the_model_s_device(model: Callable[[], Sam]) -> None:
    expected = MaskGenerator(model()).embed([IMAGE, IMAGE[:50]])
    with lookalike() as device:
        made = MaskGenerator(model().to(device)).embed([IMAGE, IMAGE[:50]])
        for mine, theirs in zip(made, expected, strict=True):
            assert mine.tokens.device == device
            torch.testing.assert_close(mine.tokens.cpu(), theirs.tokens, rtol=1e-4, atol=1e-4)


def weights_left_behind(upsampler: Upsampler) -> None:
    upsampler.vertical.weights = upsampler.vertical.weights.cpu()


def starts_left_behind(upsampler: Upsampler) -> None:
    upsampler.horizontal.first = upsampler.horizontal.first.cpu()


def position_left_behind(decoder: PromptDecoder) -> None:
    decoder.position = decoder.position.cpu()


def norm_left_behind(decoder: PromptDecoder) -> None:
    decoder.image_norms[1].weight = decoder.image_norms[1].weight.cpu()


def frame_left_behind(framing: Framing) -> None:
    framing.device = CPU


@pytest.mark.parametrize(
    ("owner", "leave_behind"),
    [
        (Upsampler, weights_left_behind),
        (Upsampler, starts_left_behind),
        (PromptDecoder, position_left_behind),
        (PromptDecoder, norm_left_behind),
        (Framing, frame_left_behind),
    ],
)
def test_a_tensor_left_on_the_cpu_is_found(
    monkeypatch: pytest.MonkeyPatch, owner: Any, leave_behind: Callable[[Any], None]
) -> None:
    begin: Any = owner.__init__

    def init(self: Any, *args: Any) -> None:
        begin(self, *args)
        leave_behind(self)

    monkeypatch.setattr(owner, "__init__", init)
    with lookalike() as device, pytest.raises(RuntimeError, match="device"):
        segmented(small_vit().to(device), "fp32", point_grids=[GRIDS[1]])


def test_the_lookalike_refuses_what_cuda_refuses_and_allows_what_it_allows() -> None:
    here = torch.tensor([3.0, 0.0, 5.0])
    with lookalike() as device:
        there = here.to(device)
        assert there.device == device
        for wrong in (
            lambda: there + here,
            lambda: torch.cat([there, here]),
            lambda: here[there > 0],
            lambda: here[there.long().clamp(max=2)],
            lambda: nms(torch.stack(4 * [there], 1), here, 0.5),
        ):
            with pytest.raises(RuntimeError, match="device"):
                wrong()
        with pytest.raises((TypeError, RuntimeError)):
            there.numpy()
        # numbers, and tensors of the CPU as indices
        assert (there + torch.tensor(1.0)).tolist() == [4, 1, 6]
        assert there[here > 0].cpu().tolist() == [3, 5]
        assert torch.nonzero(there)[:, 0].tolist() == [0, 2]
