"""What every step of every run does once it has a loss."""

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
    """One step of the optimizer, its gradient clipped to a norm of 1, then of the moving averages.

    Args:
        loss: Scalar, of what the optimizer holds.
        optimizer: Of what learns.
        rate: Learning rate of this step.
        step: Steps taken before.
        averages: Each moving average with the parameter it follows; changed in place.
        decay: Share that an average keeps of itself; less in the first steps, so that the beginning is forgotten.

    Raises:
        FloatingPointError: If the gradient is not finite; nothing was changed.
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
