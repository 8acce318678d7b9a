"""Comparison of automatic masks with stock SAM's, for models, images and options chosen by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from segment_anything.modeling import Sam

from grain_handler.masks import Mask
from grain_handler.sam import models
from grain_handler.sam.automask import MaskGenerator, MaskSettings
from tests.unit.handler.sams import PUBLISHED, VITS, random_sam, random_vit, shaken, trained
from tests.unit.handler.scenes import Picture, grains, noise, one_grain, photograph, uniform
from tests.unit.handler.stock import Stock, assert_same

TINY: dict[str, Any] = {"pred_iou_thresh": 0.3, "stability_score_thresh": 0.6}
"""Thresholds with which sam_tiny keeps many masks, good and bad."""


def agree(sam: Sam, image: Picture, settings: MaskSettings, expected: range = range(1, 10_000)) -> list[Mask]:
    """Compares our masks with stock's; returns ours."""
    stock = Stock(sam, settings)
    masks = stock.masks(image)
    assert len(masks) in expected, "a comparison of nothing proves nothing"
    ours = MaskGenerator(sam).generate(image, settings)
    try:
        assert_same(ours, masks, *image.shape[:2])
    except AssertionError as error:
        if stock.unsettled:
            raise AssertionError(f"rounding decides about {stock.unsettled}: choose another seed") from error
        raise
    return ours


ANY = range(10_000)
SCENES: dict[str, tuple[int, int, range, Callable[[], Picture]]] = {
    # frame, points along a side, least number of masks, image
    "no grains": (512, 6, ANY, lambda: uniform(300, 300)),
    "no grains, dark": (512, 4, ANY, lambda: uniform(64, 200, 20)),
    "noise": (512, 4, ANY, lambda: noise(128, 96, 1)),
    "one grain": (512, 6, range(1, 9), lambda: one_grain(256, 256)),
    "loose grains, wide": (512, 6, range(15, 99), lambda: grains(1, "loose", 210, 400, 40)),
    "grains in a matrix, tall": (512, 6, range(10, 99), lambda: grains(2, "matrix", 512, 301, 50)),
    "32 × 32 px": (512, 5, range(5, 99), lambda: grains(8, "loose", 32, 32, 6)),
    "one pixel": (512, 2, ANY, lambda: uniform(1, 1, 200)),
    "one column": (512, 3, ANY, lambda: noise(500, 1, 2)),
    "a fine grid": (256, 16, range(60, 999), lambda: grains(4, "polycrystal", 256, 240, 30)),
    "600 grains, 1024 px": (512, 6, range(9, 99), lambda: grains(3, "polycrystal", 1024, 1024, 42)),
    "1024 px, full frame": (1024, 3, range(5, 99), lambda: grains(5, "loose", 1024, 1024, 80)),
    "32 × 32 px, full frame": (1024, 4, range(1, 99), lambda: grains(0, "loose", 32, 32, 4)),
    "1000 × 640 px, full frame": (1024, 4, range(9, 99), lambda: grains(7, "loose", 640, 1000, 70)),
    "a photograph of sand": (512, 6, range(5, 99), lambda: photograph("torrey_pines_beach", 480)),
    "a photograph of gravel": (512, 6, range(5, 99), lambda: photograph("ig_1_P1060330_1", 512)),
    "a photograph, full frame": (1024, 4, range(1, 99), lambda: photograph("2346", 1024)),
}


@pytest.mark.parametrize("scene", SCENES)
def test_the_trained_model_on_any_image(scene: str) -> None:
    frame, side, expected, make = SCENES[scene]
    agree(trained(frame), make(), MaskSettings(points_per_side=side, **TINY), expected)


@pytest.mark.parametrize("name", VITS)
def test_the_reduced_encoders_have_the_published_shapes(name: str) -> None:
    with torch.device("meta"):
        published, reduced = models.REGISTRY[name](), random_vit(0, 256, 256, window_size=14, **VITS[name])
    theirs, ours = published.image_encoder.blocks[0], reduced.blocks[0]
    assert (ours.window_size, ours.attn.num_heads) == (theirs.window_size, theirs.attn.num_heads)
    assert {name: value.shape for name, value in ours.named_parameters()} == {
        name: value.shape for name, value in theirs.named_parameters()
    }


@pytest.mark.parametrize("name", VITS)
def test_a_sam_of_the_published_shapes(name: str) -> None:
    vit = random_vit(5, 256, 256, depth=2, window_size=14, global_attn_indexes=(1,), **VITS[name])
    settings = MaskSettings(6, pred_iou_thresh=0.5, stability_score_thresh=0.3, box_nms_thresh=0.9)
    agree(random_sam(5, 256, PUBLISHED, vit), grains(9, "loose", 200, 256, 40), settings, range(5, 99))


OPTIONS: dict[str, dict[str, Any]] = {
    "one point": {"points_per_side": 1, "pred_iou_thresh": 0, "stability_score_thresh": 0},
    "no threshold": {"pred_iou_thresh": 0, "stability_score_thresh": 0},
    "empty masks": {"pred_iou_thresh": 0, "stability_score_thresh": 0, "box_nms_thresh": 1.0},
    "hardly any passes": {"pred_iou_thresh": 0.8},
    "none passes": {"pred_iou_thresh": 2.0},
    "none is stable": {"stability_score_thresh": 1.1},
    "no offset": {"stability_score_offset": 0.0},
    "a large offset": {"stability_score_offset": 3.0, "stability_score_thresh": 0.2},
    "hardly any overlap": {"box_nms_thresh": 0.05},
    "any overlap": {"box_nms_thresh": 1.0},
    "crops": {"crop_n_layers": 1},
    "crops of crops, fewer points": {"crop_n_layers": 2, "crop_n_points_downscale_factor": 2},
    "crops that do not overlap": {"crop_n_layers": 1, "crop_overlap_ratio": 0.0, "crop_nms_thresh": 0.3},
    "crops that keep everything": {"crop_n_layers": 1, "crop_nms_thresh": 1.0, "box_nms_thresh": 1.0},
    "crops in which none passes": {"crop_n_layers": 1, "pred_iou_thresh": 2.0},
    "small regions": {"min_mask_region_area": 20, "stability_score_thresh": 0.3},
    "every region is small": {"min_mask_region_area": 5000},
    "small regions in crops": {"min_mask_region_area": 20, "crop_n_layers": 1},
    "points of one's own": {"point_grids": [np.array([[0.0, 0.0], [0.31, 0.77], [1.0, 1.0], [0.5, 0.5], [0.9, 0.1]])]},
}


@pytest.mark.parametrize("name", OPTIONS)
def test_any_option(name: str) -> None:
    sam = shaken(2, 0.2)
    settings = MaskSettings(**{"points_per_side": 6} | TINY | OPTIONS[name])
    expected = range(1) if name in ("none passes", "none is stable", "crops in which none passes") else range(1, 999)
    agree(sam, grains(2, "loose", 100, 128, 25), settings, expected)


def test_a_stability_without_pixels_is_not_a_number_as_in_stock() -> None:
    settings = MaskSettings(6, pred_iou_thresh=0, stability_score_thresh=0, box_nms_thresh=1.0)
    masks = agree(shaken(7, 0.5), grains(2, "loose", 100, 128, 25), settings)
    assert any(np.isnan(mask.stability_score) and mask.area == 0 for mask in masks)


def test_a_mask_threshold_of_ones_own() -> None:
    sam = shaken(3, 0.1)
    sam.mask_threshold = 0.7
    agree(sam, grains(3, "loose", 100, 128, 25), MaskSettings(6, **TINY))


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (4, 3), (30, 2)])
def test_an_image_smaller_than_its_crops(size: tuple[int, int]) -> None:
    masks = MaskGenerator(shaken(1, 0.1, 128)).generate(uniform(*size), MaskSettings(2, crop_n_layers=2, **TINY))
    assert all(mask.full(*size).shape == size for mask in masks)


@pytest.fixture(scope="module")
def scene() -> tuple[Sam, Picture, MaskSettings, list[Mask]]:
    sam, image = shaken(4, 0.2), grains(4, "loose", 110, 128, 25)
    settings = MaskSettings(6, **TINY)
    return sam, image, settings, MaskGenerator(sam).generate(image, settings)


def assert_equal(ours: list[Mask], others: list[Mask]) -> None:
    assert len(ours) == len(others)
    for mine, other in zip(ours, others, strict=True):
        assert (mine.x, mine.y, mine.patch.shape) == (other.x, other.y, other.patch.shape)
        assert (mine.patch == other.patch).all()
        assert mine.predicted_iou == pytest.approx(other.predicted_iou, abs=1e-5)


@pytest.mark.parametrize("batch", [1, 5, 1000])
def test_the_number_of_points_at_once_changes_nothing(
    scene: tuple[Sam, Picture, MaskSettings, list[Mask]], batch: int
) -> None:
    sam, image, _, expected = scene
    assert len(expected) > 10
    assert_equal(MaskGenerator(sam).generate(image, MaskSettings(6, batch, **TINY)), expected)


@pytest.mark.parametrize("mib", [1, 3, 4000])
def test_memory_changes_nothing(scene: tuple[Sam, Picture, MaskSettings, list[Mask]], mib: int) -> None:
    sam, image, settings, expected = scene
    assert_equal(MaskGenerator(sam, memory_mib=mib).generate(image, settings), expected)


def test_an_embedding_made_before(scene: tuple[Sam, Picture, MaskSettings, list[Mask]]) -> None:
    sam, image, settings, expected = scene
    generator = MaskGenerator(sam)
    embeddings = generator.embed([one_grain(60, 50), image])
    assert [each.tokens.shape for each in embeddings] == 2 * [(1, 128, 16, 16)]
    assert_equal(generator.generate(image, settings, embeddings[1]), expected)


def test_an_embedding_is_of_the_whole_image_and_not_of_its_crops(
    scene: tuple[Sam, Picture, MaskSettings, list[Mask]],
) -> None:
    sam, image, _, _ = scene
    settings, generator = MaskSettings(4, crop_n_layers=1, **TINY), MaskGenerator(sam)
    assert_equal(generator.generate(image, settings, generator.embed([image])[0]), generator.generate(image, settings))


def test_the_model_is_left_as_it_was(scene: tuple[Sam, Picture, MaskSettings, list[Mask]]) -> None:
    sam, image, settings, _ = scene
    before = {name: value.clone() for name, value in sam.state_dict().items()}
    for precision in ("fp32", "bf16"):
        MaskGenerator(sam, precision).generate(image, settings)
    assert all(torch.equal(before[name], value) for name, value in sam.state_dict().items())


def test_in_bfloat16_masks_are_nearly_the_same() -> None:
    # Over several images: on one, a processor's rounding may change a few choices between a point's three masks.
    sam, best = trained(512), []
    for seed in (4, 5, 6):
        image = grains(seed, "polycrystal", 400, 400, 40)
        exact, rough = (
            [mask.full(400, 400) for mask in MaskGenerator(sam, precision).generate(image, MaskSettings(8, **TINY))]
            for precision in ("fp32", "bf16")
        )
        assert len(exact) > 20
        best += [max((mask & other).sum() / (mask | other).sum() for other in rough) for mask in exact]
    # A mask near a threshold may be lost; the rest agree.
    matched = [iou for iou in best if iou >= 0.5]
    assert len(matched) >= 0.9 * len(best)
    assert np.mean(matched) >= 0.98


@pytest.mark.parametrize("precision", ["fp16", "", "FP32"])
def test_an_unknown_precision_is_refused(precision: str) -> None:
    with pytest.raises(ValueError, match="fp32, bf16"):
        MaskGenerator(trained(), precision)
