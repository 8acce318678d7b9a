"""SAMs in double precision, to tell rounding from a different answer."""

from __future__ import annotations

import copy
from typing import Any

from segment_anything.modeling import PromptEncoder, Sam
from torch import Tensor, nn


def in_double(sam: Sam) -> Sam:
    """Makes a copy that computes in double precision, except for the encoding of prompts.

    Stock casts points to single precision whatever its weights are. So the copy's prompt encoder gives the original's
    answers in double precision, with the same rounding for all.
    """
    exact = copy.deepcopy(sam)
    exact.image_encoder.double()
    exact.mask_decoder.double()
    exact.prompt_encoder = _Widened(exact.prompt_encoder)
    exact.pixel_mean, exact.pixel_std = exact.pixel_mean.double(), exact.pixel_std.double()
    return exact.eval()


class _Widened(nn.Module):
    def __init__(self, encoder: PromptEncoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.no_mask_embed = copy.deepcopy(encoder.no_mask_embed).double()

    def forward(self, points: Any, boxes: Any, masks: Any) -> tuple[Tensor, Tensor]:
        sparse, dense = self.encoder(points, boxes, masks)
        return sparse.double(), dense.double()

    def get_dense_pe(self) -> Tensor:
        dense: Tensor = self.encoder.get_dense_pe()
        return dense.double()
