"""The optimisation step that all runs share."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn


def descend(
    loss: Tensor,
    optimizer: torch.optim.Optimizer,
    rate: float,
    step: int,
    *,
    averages: Iterable[tuple[Tensor, Tensor]],
    decay: float,
) -> None:
    """Takes a step of the optimizer, with the gradient clipped to a norm of 1, then of the moving averages.

    Args:
        loss: scalar that depends on the optimizer's parameters.
        optimizer: optimizer of the parameters that learn.
        rate: learning rate of this step.
        step: steps taken before.
        averages: each moving average with the parameter that it follows; changed in place.
        decay: share of itself that an average keeps, 0…1; less in the first steps, so that the beginning is forgotten.

    Raises:
        FloatingPointError: the gradient is not finite; nothing was changed.
    """
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    norm = nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], 1.0)
    if not torch.isfinite(norm):
        raise FloatingPointError(f"the gradient is {norm.item()} at step {step}: resume from the last state")
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.step()
    decay = min(decay, (step + 1) / (step + 21))
    with torch.no_grad():
        for average, new in averages:
            average.lerp_(new, 1 - decay)
