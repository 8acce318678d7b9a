from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from grain_handler.sam.memory import DEFAULT_MIB, Budget

CPU = torch.device("cpu")
MIB = 2**20


class Device:
    """A device that runs out of memory above a number of items, and records its calls."""

    def __init__(self, holds: int) -> None:
        self.holds = holds
        self.asked: list[int] = []

    def __call__(self, part: slice) -> list[int]:
        items = list(range(part.start, part.stop))
        self.asked.append(len(items))
        if len(items) > self.holds:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return items


@given(
    count=st.integers(0, 200),
    fit=st.integers(1, 100),
    holds=st.integers(1, 100),
    at_most=st.none() | st.integers(1, 50),
)
def test_no_item_is_lost_or_done_twice(count: int, fit: int, holds: int, at_most: int | None) -> None:
    budget, device = Budget(CPU, 1), Device(holds)
    made = list(budget.chunks(count, MIB // fit, device, at_most))
    assert [item for part in made for item in part] == list(range(count))
    assert max(device.asked, default=0) <= min(budget_of(fit), at_most or count)
    if count > 0:
        assert max(map(len, made)) <= holds


def budget_of(fit: int) -> int:
    """Returns how many items fit into a mebibyte if an item is its `fit`-th part, rounded down to bytes."""
    return MIB // (MIB // fit)


def test_the_budget_is_halved_for_good() -> None:
    budget, device = Budget(CPU, 1), Device(holds=10)
    list(budget.chunks(64, MIB // 64, device))
    assert device.asked == [64, 32, 16, *8 * [8]]
    device.asked.clear()
    list(budget.chunks(20, MIB // 64, device))
    assert device.asked == [8, 8, 4]
    assert budget.chunk(MIB // 128) == 16, "half of the bytes, whatever takes them"


def test_what_was_made_before_memory_ran_out_is_kept() -> None:
    device = Device(holds=64)
    chunks = Budget(CPU, 1).chunks(100, MIB // 40, device)
    assert next(chunks) == list(range(40))
    device.holds = 10
    assert [item for part in chunks for item in part] == list(range(40, 100))


def test_a_single_item_that_does_not_fit_is_an_error() -> None:
    device = Device(holds=0)
    with pytest.raises(torch.OutOfMemoryError):
        list(Budget(CPU, 1).chunks(9, MIB // 8, device))
    assert device.asked == [8, 4, 2, 1]


def test_an_item_larger_than_the_budget_is_tried_alone() -> None:
    device = Device(holds=1)
    assert list(Budget(CPU, 1).chunks(2, 5 * MIB, device)) == [[0], [1]]


@pytest.mark.parametrize("error", [torch.AcceleratorError("an illegal memory access"), RuntimeError("a fault")])
def test_other_errors_are_not_tried_again(error: Exception) -> None:
    asked = []

    def step(part: slice) -> None:
        asked.append(part)
        raise error

    with pytest.raises(type(error)):
        list(Budget(CPU, 1).chunks(8, 1, step))
    assert len(asked) == 1


def test_a_device_has_a_default() -> None:
    assert Budget(CPU, None).bytes == DEFAULT_MIB["cpu"] * MIB
    assert Budget(torch.device("cuda"), None).bytes == DEFAULT_MIB["cuda"] * MIB
    assert Budget(torch.device("mps"), None).bytes == DEFAULT_MIB["cpu"] * MIB
    assert Budget(CPU, 7).bytes == 7 * MIB
