"""What is kept within a number of bytes."""

from __future__ import annotations

from dataclasses import dataclass

from grainserve.pictures.cache import Cache


@dataclass(frozen=True)
class Block:
    nbytes: int


def test_what_was_not_asked_for_the_longest_goes_first() -> None:
    cache: Cache[Block] = Cache(100)
    for name in "abc":
        cache.put(name, Block(30))
    assert cache.get("a") == Block(30)
    cache.put("d", Block(30))
    assert [cache.get(name) is not None for name in "abcd"] == [True, False, True, True]
    assert cache.nbytes == 90


def test_a_value_takes_the_place_of_its_keys_older_one() -> None:
    cache: Cache[Block] = Cache(100)
    cache.put("a", Block(60))
    cache.put("a", Block(90))
    assert (cache.get("a"), cache.nbytes) == (Block(90), 90)


def test_what_is_too_large_alone_is_not_kept_and_drives_nothing_out() -> None:
    cache: Cache[Block] = Cache(100)
    cache.put("a", Block(60))
    cache.put("b", Block(101))
    assert (cache.get("a"), cache.get("b"), cache.nbytes) == (Block(60), None, 60)
