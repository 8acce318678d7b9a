"""Shares of a gateway's capacity."""

from __future__ import annotations

import pytest

from grainserve.gateway.shares import Busy, Shares


def test_one_owner_has_a_share_and_all_have_no_more_than_there_is() -> None:
    shares = Shares("4 uploads", 4, 0.5)
    with shares.hold("a"), shares.hold("a"):
        with pytest.raises(Busy, match="4 uploads"), shares.hold("a"):
            pass
        with shares.hold("b"), shares.hold("b"), pytest.raises(Busy), shares.hold("c"):
            pass
        with shares.hold("c"):
            pass
    with shares.hold("a"):
        pass


def test_an_owner_has_a_place_however_small_its_share() -> None:
    shares = Shares("2 uploads", 2, 0.1)
    with shares.hold("a"), pytest.raises(Busy), shares.hold("a"):
        pass


def test_what_is_larger_than_a_share_counts_as_one() -> None:
    shares = Shares("10 bytes", 10, 0.5)
    with shares.hold("a", 1000), shares.hold("b", 5), pytest.raises(Busy), shares.hold("c"):
        pass


def test_places_come_back_from_what_fails() -> None:
    shares = Shares("1 upload", 1, 1)
    for _ in range(2):
        with pytest.raises(ValueError, match="broken"), shares.hold("a"):
            raise ValueError("broken")
