"""The number of requests that a dispatcher keeps at TorchServe."""

from __future__ import annotations

import pytest

from grainserve.dispatch.capacity import Capacity
from grainserve.errors import TorchServeUnreachable
from grainserve.torchserve.inference import TorchServe
from tests.unit.client.fake_torchserve import FakeTorchServe


class Clock:
    time = 0.0

    def __call__(self) -> float:
        self.time += 10.0  # every look is due
        return self.time


def capacity(torchserve: FakeTorchServe, most: int) -> Capacity:
    return Capacity(TorchServe(torchserve.url, torchserve.url), most, clock=Clock())


def taken(places: Capacity) -> int:
    """Takes all places, gives them back, and returns their number."""
    count = 0
    while places.take():
        count += 1
    for _ in range(count):
        places.give_back()
    return count


def test_two_for_each_ready_worker_and_no_more_than_wanted(torchserve: FakeTorchServe) -> None:
    torchserve.workers(ready=3)
    assert taken(capacity(torchserve, 100)) == 6
    assert taken(capacity(torchserve, 4)) == 4
    torchserve.workers(ready=0)
    assert taken(capacity(torchserve, 4)) == 0


def test_others_who_fill_the_queue_are_given_way(torchserve: FakeTorchServe) -> None:
    places = capacity(torchserve, 100)
    torchserve.workers(ready=8)
    assert taken(places) == 16
    torchserve.workers(ready=8, waiting=9)
    seen = []
    for _ in range(6):
        if places.take():
            places.give_back()
        seen.append(places.places)
    assert seen == [8, 4, 2, 1, 1, 1]
    torchserve.workers(ready=8, waiting=0)
    assert taken(places) == 16


def test_without_management_there_are_as_many_as_wanted(torchserve: FakeTorchServe) -> None:
    assert taken(Capacity(TorchServe(torchserve.url, None), 3)) == 3


def test_a_torchserve_that_is_gone_has_no_places_and_is_told(torchserve: FakeTorchServe) -> None:
    places = Capacity(TorchServe(torchserve.url, "http://127.0.0.1:9"), 3)
    with pytest.raises(TorchServeUnreachable):
        places.take()
    assert places.places == 0
