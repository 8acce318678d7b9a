"""Low-rank adapters (LoRA, Hu et al. 2021): an encoder learns by a few parameters, later merged into its weights."""

from __future__ import annotations

from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.tuners_utils import BaseTunerLayer
from segment_anything.modeling import Sam
from torch import Tensor, nn

RANK = 8


def add_adapters(encoder: nn.Module) -> None:
    """Adds an adapter to every linear layer and plain convolution of an encoder.

    Dilated and grouped convolutions get none: peft adapts neither.
    """
    names = [
        name
        for name, layer in encoder.named_modules()
        if isinstance(layer, nn.Linear)
        or (isinstance(layer, nn.Conv2d) and layer.groups == 1 and set(layer.dilation) == {1})
    ]
    inject_adapter_in_model(LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules=names), encoder)


def merged_state(sam: Sam) -> dict[str, Tensor]:
    """Returns the state dict of the plain model, with the adapters merged into the weights that they adapt."""
    adapters = {name: layer for name, layer in sam.named_modules() if isinstance(layer, BaseTunerLayer)}
    for layer in adapters.values():
        layer.merge()
    state = {}
    for name, value in sam.state_dict().items():
        if ".lora_" not in name:
            state[name.replace(".base_layer.", ".")] = value.clone()
    for layer in adapters.values():
        layer.unmerge()
    return state
