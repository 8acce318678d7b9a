from __future__ import annotations

import pytest

from grain_handler.embeddings.in_process import InProcess
from tests.unit.handler.embeddings.made import kept

SIDE = 300
"""An entry of 0.26 MiB: three in a MiB."""


def test_the_entry_nobody_asked_for_the_longest_goes_first() -> None:
    cache = InProcess(1)
    for name in "abc":
        cache.put(name, kept(side=SIDE))
    assert cache.get("a") is not None
    cache.put("d", kept(side=SIDE))
    assert [name for name in "abcd" if cache.get(name)] == ["a", "c", "d"]


def test_it_holds_no_more_bytes_than_it_may() -> None:
    cache = InProcess(1)
    for i in range(20):
        cache.put(str(i % 7), kept(i, SIDE + i))
        assert cache.bytes <= 2**20
        assert cache.bytes == sum(entry.nbytes for entry in cache._entries.values())
    assert len(cache) == 3


@pytest.mark.parametrize("mib", [0, 1])
def test_what_is_larger_than_all_is_not_kept_and_drives_nothing_out(mib: int) -> None:
    cache = InProcess(mib)
    cache.put("small", kept(side=8))
    cache.put("large", kept(side=1000))
    assert cache.get("large") is None
    assert len(cache) == mib


def test_an_entry_that_comes_again_counts_once() -> None:
    cache = InProcess(1)
    cache.put("a", kept(1, SIDE))
    again = kept(2, SIDE)
    cache.put("a", again)
    assert cache.get("a") is again
    assert cache.bytes == again.nbytes
