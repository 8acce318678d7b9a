"""transformers' SAM with segment_anything's weights."""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from segment_anything.modeling import ImageEncoderViT, Sam
from torch import Tensor

from grain_handler.sam.mask_settings import MaskSettings

RENAMED = (
    (r"^image_encoder\.", "vision_encoder."),
    (r"\.patch_embed\.proj\.", ".patch_embed.projection."),
    (r"\.blocks\.", ".layers."),
    (r"\.neck\.0\.", ".neck.conv1."),
    (r"\.neck\.1\.", ".neck.layer_norm1."),
    (r"\.neck\.2\.", ".neck.conv2."),
    (r"\.neck\.3\.", ".neck.layer_norm2."),
    (r"\.norm(\d|_final_attn)\.", r".layer_norm\1."),
    (r"\.layer_norm_final_attn\.", ".layer_norm_final_attn."),
    (r"\.pe_layer\.positional_encoding_gaussian_matrix$", ".shared_embedding.positional_embedding"),
    (r"\.point_embeddings\.", ".point_embed."),
    (r"\.mask_downscaling\.0\.", ".mask_embed.conv1."),
    (r"\.mask_downscaling\.1\.", ".mask_embed.layer_norm1."),
    (r"\.mask_downscaling\.3\.", ".mask_embed.conv2."),
    (r"\.mask_downscaling\.4\.", ".mask_embed.layer_norm2."),
    (r"\.mask_downscaling\.6\.", ".mask_embed.conv3."),
    (r"\.output_upscaling\.0\.", ".upscale_conv1."),
    (r"\.output_upscaling\.1\.", ".upscale_layer_norm."),
    (r"\.output_upscaling\.3\.", ".upscale_conv2."),
    # The heads' three linear layers.
    (r"(_mlps\.\d|iou_prediction_head)\.layers\.0\.", r"\1.proj_in."),
    (r"(_mlps\.\d|iou_prediction_head)\.layers\.2\.", r"\1.proj_out."),
    (r"(_mlps\.\d|iou_prediction_head)\.layers\.1\.", r"\1.layers.0."),
)
"""What segment_anything calls a tensor (regular expression) → what transformers does, applied in this order."""


def takes(sam: Sam) -> bool:
    """Whether transformers has this model's image encoder."""
    return isinstance(sam.image_encoder, ImageEncoderViT)


def renamed(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict of segment_anything's under transformers' names."""
    result = {}
    for name, value in state.items():
        new = name
        for pattern, replacement in RENAMED:
            new = re.sub(pattern, replacement, new)
        result[new] = value
    # Held twice: for prompts and for the image.
    result["shared_image_embedding.positional_embedding"] = result[
        "prompt_encoder.shared_embedding.positional_embedding"
    ]
    return result


def model(sam: Sam) -> Any:
    """A `transformers.SamModel` with the weights of a stock model, on its device."""
    transformers = importlib.import_module("transformers")
    encoder = sam.image_encoder
    channels, depth = encoder.patch_embed.proj.out_channels, len(encoder.blocks)
    vision = transformers.SamVisionConfig(
        hidden_size=channels,
        num_hidden_layers=depth,
        num_attention_heads=encoder.blocks[0].attn.num_heads,
        global_attn_indexes=[i for i, block in enumerate(encoder.blocks) if block.window_size == 0],
        mlp_dim=encoder.blocks[0].mlp.lin1.out_features,
    )
    built = transformers.SamModel(transformers.SamConfig(vision_config=vision.to_dict()))
    built.load_state_dict(renamed(sam.state_dict()), strict=True)
    return built.to(sam.device).eval()


def pipeline(sam: Sam) -> Any:
    """Its mask generation pipeline, with its own image processor as it comes."""
    transformers = importlib.import_module("transformers")
    transformers.logging.set_verbosity_error()
    built = model(sam)
    return transformers.MaskGenerationPipeline(
        model=built, image_processor=transformers.SamImageProcessor(), device=sam.device
    )


def generate(pipeline: Any, image: NDArray[np.uint8], settings: MaskSettings) -> Any:
    """Runs it; returns {"masks": H × W bool tensors, "scores": predicted IoU}."""
    return pipeline(
        Image.fromarray(image),
        points_per_batch=settings.points_per_batch,
        points_per_crop=settings.points_per_side,
        pred_iou_thresh=settings.pred_iou_thresh,
        stability_score_thresh=settings.stability_score_thresh,
        stability_score_offset=settings.stability_score_offset,
        crops_nms_thresh=settings.box_nms_thresh,
    )
