"""Simulates how many requests keep workers busy if a Service spreads them at random: why deploy/ has three for each."""

from __future__ import annotations

import heapq
import random

QUEUE = 4
"""Requests that wait in a pod beside the one in work, as in deploy/."""
IMAGE_S = 20.0
PODS = 8


def busy(places: int, images: int = 400) -> float:
    """Returns the share of time in which workers are busy, by the number of requests for each worker."""
    chance = random.Random(606)
    inside, free_at, worked, end = [0] * PODS, [0.0] * PODS, 0.0, images * IMAGE_S
    # Time, and the pod that answers a request; None: a request is sent to a random pod.
    events: list[tuple[float, int, int | None, int]] = [(0.0, place, None, 0) for place in range(places * PODS)]
    while events[0][0] < end:
        now, place, pod, refusals = heapq.heappop(events)
        if pod is not None:
            inside[pod] -= 1
            heapq.heappush(events, (now, place, None, 0))
            continue
        pod = chance.randrange(PODS)
        if inside[pod] > QUEUE:  # refused, so the dispatcher backs off
            longest = min(10.0, 0.25 * 2.0 ** (refusals + 1))
            heapq.heappush(events, (now + chance.uniform(0.25, longest), place, None, refusals + 1))
            continue
        inside[pod] += 1
        took = IMAGE_S * chance.uniform(0.7, 1.3)
        free_at[pod] = max(now, free_at[pod]) + took
        worked += took
        heapq.heappush(events, (free_at[pod], place, pod, 0))
    return worked / (PODS * end)


def test_two_requests_for_each_worker_leave_it_idle_and_three_hardly() -> None:
    assert 0.80 < busy(2) < 0.88
    assert 0.92 < busy(3) < 0.98
