from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from segment_anything.modeling import ImageEncoderViT
from torch import Tensor, nn

from grain_handler.sam.fused_encoder import FusedEncoder
from tests.unit.handler.sams import VITS, random_vit


@torch.inference_mode()
def assert_same(vit: ImageEncoderViT, batch: int = 1) -> None:
    """Compares embeddings; they are normalised to about one, so the tolerance is relative to their size."""
    images = torch.randn(batch, 3, vit.img_size, vit.img_size, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(FusedEncoder(vit)(images), vit(images), rtol=0, atol=3e-5)


@pytest.mark.parametrize(
    "layout",
    [
        {"window_size": 4, "global_attn_indexes": ()},
        {"window_size": 3, "global_attn_indexes": (0, 2)},
        {"window_size": 8, "global_attn_indexes": ()},
        {"window_size": 14, "global_attn_indexes": (1,)},
        {"window_size": 1, "global_attn_indexes": ()},
        {"window_size": 0},
        {"embed_dim": 40, "num_heads": 5},
        {"use_abs_pos": False},
    ],
    ids=str,
)
def test_any_layout(layout: dict[str, Any]) -> None:
    assert_same(random_vit(1, 128, **layout))


@pytest.mark.parametrize("name", VITS)
def test_the_published_widths(name: str) -> None:
    assert_same(random_vit(2, 256, 256, depth=2, window_size=14, global_attn_indexes=(1,), **VITS[name]))


def test_the_published_frame() -> None:
    """It has 4096 tokens, windows of 14 that reach beyond them, and heads as wide as ViT-H's."""
    assert_same(random_vit(3, 1024, 32, depth=2, embed_dim=80, num_heads=1, window_size=14, global_attn_indexes=(1,)))


def test_positions_of_another_frame_are_interpolated() -> None:
    vit = random_vit(4, 128)
    for block in vit.blocks:
        for name in ("rel_pos_h", "rel_pos_w"):
            setattr(block.attn, name, nn.Parameter(torch.randn(2 * 11 - 1, 16)))
    assert_same(vit)


@settings(deadline=None, max_examples=30)
@given(
    seed=st.integers(0, 2**32 - 1),
    cells=st.integers(1, 7),
    heads=st.integers(1, 3),
    head_width=st.sampled_from([1, 4, 10]),
    window=st.integers(0, 9),
    whole=st.sets(st.integers(0, 2)),
    batch=st.integers(1, 3),
)
def test_any_vision_transformer(
    *, seed: int, cells: int, heads: int, head_width: int, window: int, whole: set[int], batch: int
) -> None:
    vit = random_vit(
        seed,
        16 * cells,
        8,
        embed_dim=heads * head_width,
        num_heads=heads,
        window_size=window,
        global_attn_indexes=tuple(whole),
    )
    assert_same(vit, batch)


def test_parameters_are_shared_and_left_alone() -> None:
    vit = random_vit(5)
    before = {name: value.clone() for name, value in vit.state_dict().items()}
    fused = FusedEncoder(vit)
    fused(torch.zeros(1, 3, 128, 128))
    assert all(torch.equal(before[name], value) for name, value in vit.state_dict().items())
    mine: list[Tensor] = list(fused.parameters())
    assert {value.data_ptr() for value in mine} <= {value.data_ptr() for value in vit.parameters()}
