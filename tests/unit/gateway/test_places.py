"""Who holds how much at once."""

from __future__ import annotations

import pytest

from grainserve.gateway.shares import Busy, Places


def test_one_owner_has_a_share_and_all_have_no_more_than_there_is() -> None:
    places = Places("4 uploads", 4, 0.5)
    with places.hold("a"), places.hold("a"):
        with pytest.raises(Busy, match="4 uploads"), places.hold("a"):
            pass
        with places.hold("b"), places.hold("b"), pytest.raises(Busy), places.hold("c"):
            pass
        with places.hold("c"):
            pass
    with places.hold("a"):
        pass


def test_an_owner_has_a_place_however_small_its_share() -> None:
    places = Places("2 uploads", 2, 0.1)
    with places.hold("a"), pytest.raises(Busy), places.hold("a"):
        pass


def test_what_is_larger_than_a_share_counts_as_one() -> None:
    places = Places("10 bytes", 10, 0.5)
    with places.hold("a", 1000), places.hold("b", 5), pytest.raises(Busy), places.hold("c"):
        pass


def test_places_come_back_from_what_fails() -> None:
    places = Places("1 upload", 1, 1)
    for _ in range(2):
        with pytest.raises(ValueError, match="broken"), places.hold("a"):
            raise ValueError("broken")
