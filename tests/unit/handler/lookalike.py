"""A simulated GPU: torch believes that tensors lie on `cuda`, while the CPU computes their values.

torch's `FakeTensorMode` knows shapes, types and devices without a GPU, and refuses operations on tensors of two
devices, as CUDA does. But it stops where code looks at values (`nonzero`, a Boolean index, `tolist`), as every filter
of masks does. So each fake tensor has a twin on the CPU here. Every operation runs twice: on the fakes, for torch's own
rules about devices, and on the twins, for the values. A copy from `cuda` to the CPU is the twin itself.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensor,
    FakeTensorMode,
    unset_fake_temporarily,
)
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

CUDA, CPU = torch.device("cuda", 0), torch.device("cpu")
INDEXING = (torch.ops.aten.index.Tensor, torch.ops.aten.index_put.default, torch.ops.aten.index_put_.default)


class _Twice(TorchDispatchMode):
    """Runs every operation that touches `cuda` on the fakes and on their twins."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        flat, _ = tree_flatten((args, kwargs))
        if not any(isinstance(one, FakeTensor) or (isinstance(one, torch.device) and one == CUDA) for one in flat):
            with unset_fake_temporarily():
                return func(*args, **kwargs)
        if func is torch.ops.prim.device.default:
            return args[0].fake_device
        if torch.is_inference_mode_enabled():  # composite operations then come as a whole
            with self:
                made = func.decompose(*args, **kwargs)
            if made is not NotImplemented:
                return made
        if func in INDEXING:
            _refuse_indices_elsewhere(flat)
        try:
            fakes = func(*args, **kwargs)
        except (DynamicOutputShapeException, DataDependentOutputException):
            fakes = None  # the twins know the values
            if func not in INDEXING:
                _refuse_two_devices(flat)
        positional, named = tree_map(_twin, (args, kwargs))
        with unset_fake_temporarily():
            twins = func(*positional, **named)
        if fakes is None:
            fakes = tree_map(_fake_like, twins)
        flat_fakes, spec = tree_flatten(fakes)
        flat_twins, _ = tree_flatten(twins)
        return spec.unflatten([_pair(*both) for both in zip(flat_fakes, flat_twins, strict=True)])


def _refuse_two_devices(given: list[Any]) -> None:
    """Refuses tensors of two devices, as CUDA does, before torch checks them."""
    devices = {one.device for one in given if isinstance(one, Tensor) and one.dim() > 0}
    if len(devices) > 1:
        raise RuntimeError(f"Expected all tensors on the same device, found {', '.join(map(str, devices))}")


def _refuse_indices_elsewhere(given: list[Any]) -> None:
    """Refuses CUDA indices of CPU tensors, which FakeTensorMode accepts; CUDA tensors do accept CPU indices."""
    indexed, *indices = [one for one in given if isinstance(one, Tensor)]
    if indexed.device == CPU and any(one.device == CUDA for one in indices):
        raise RuntimeError("indices should be either on cpu or on the same device as the indexed tensor (cpu)")


def _twin(one: Any) -> Any:
    if isinstance(one, torch.device):
        return CPU
    return one.twin if isinstance(one, FakeTensor) else one  # type: ignore[attr-defined]  # see _pair


def _fake_like(twin: Any) -> Any:
    if not isinstance(twin, Tensor):
        return twin
    return torch.empty_strided(twin.shape, twin.stride(), dtype=twin.dtype, device=CUDA)


def _pair(fake: Any, twin: Any) -> Any:
    """Wraps an operation's result: a fake on `cuda` with its twin, or the twin if the result is on the CPU."""
    if not isinstance(fake, FakeTensor) or fake.device.type == "cpu":
        return twin
    assert fake.shape == twin.shape
    # For a layer norm in bfloat16 the CPU returns the means in bfloat16, CUDA in single precision.
    with unset_fake_temporarily():
        fake.twin = twin.to(fake.dtype)  # type: ignore[attr-defined]
    return fake


def _convert(module: nn.Module, convert: Any) -> nn.Module:
    """`nn.Module._apply` without the tricks that keep a parameter's identity, which fail with fakes."""
    for part in module.modules():
        for name, parameter in part._parameters.items():
            if parameter is not None:
                part._parameters[name] = nn.Parameter(convert(parameter.detach()), parameter.requires_grad)
        for name, buffer in part._buffers.items():
            if buffer is not None:
                part._buffers[name] = convert(buffer)
    return module


def _deepcopy(fake: Any, memo: dict[int, Any]) -> Any:
    """`Tensor.__deepcopy__` that does not ask where a fake's memory is."""
    if id(fake) not in memo:
        copied = fake.detach().clone()
        memo[id(fake)] = nn.Parameter(copied, fake.requires_grad) if isinstance(fake, nn.Parameter) else copied
    return memo[id(fake)]


@contextlib.contextmanager
def lookalike() -> Iterator[torch.device]:
    """Simulates a `cuda` device within the context."""
    with (
        mock.patch.object(nn.Module, "_apply", _convert),
        mock.patch.object(FakeTensor, "__deepcopy__", _deepcopy, create=True),
        sdpa_kernel(SDPBackend.MATH),  # choosing a faster one would ask the driver
        FakeTensorMode(allow_non_fake_inputs=True),
        _Twice(),
    ):
        yield CUDA
