"""The registry: model name → SAM module, and loading a checkpoint into it."""

from __future__ import annotations

from collections.abc import Callable

from segment_anything import build_sam_vit_b, build_sam_vit_h, build_sam_vit_l
from segment_anything.modeling import MaskDecoder, PromptEncoder, Sam, TwoWayTransformer

from grain_handler.tiny_encoder import TinyImageEncoder


def build_sam_tiny() -> Sam:
    """A SAM of four million parameters: SAM's own prompt encoder and mask decoder, 128 channels wide.

    Its random Fourier matrix is twice as steep as SAM's (a sharper position helps where grains are small).

    Returns:
        An untrained model in evaluation mode.
    """
    width, side = 128, 1024
    sam = Sam(
        image_encoder=TinyImageEncoder(side, width),
        prompt_encoder=PromptEncoder(
            embed_dim=width,
            image_embedding_size=(side // 16, side // 16),
            input_image_size=(side, side),
            mask_in_chans=16,
        ),
        mask_decoder=MaskDecoder(
            num_multimask_outputs=3,
            transformer=TwoWayTransformer(depth=2, embedding_dim=width, num_heads=8, mlp_dim=512),
            transformer_dim=width,
            iou_head_depth=3,
            iou_head_hidden_dim=width,
        ),
    )
    sam.prompt_encoder.pe_layer.positional_encoding_gaussian_matrix *= 2
    sam.eval()
    return sam


REGISTRY: dict[str, Callable[[], Sam]] = {
    "sam_vit_h": build_sam_vit_h,
    "sam_vit_l": build_sam_vit_l,
    "sam_vit_b": build_sam_vit_b,
    "sam_tiny": build_sam_tiny,
}
