"""Figures drawn by several threads at once, as in a gateway."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl

from grainserve.results.size_curve import size_curve
from grainserve.results.size_figure import save_size_figure, styled


def test_threads_that_draw_at_once_change_no_setting_for_good_and_see_their_own() -> None:
    before = dict(mpl.rcParams)
    together = threading.Barrier(6)
    seen: list[bool] = []

    def draw(size: float) -> None:
        together.wait()
        for _ in range(20):
            with styled({"font.size": size}):
                threading.Event().wait(0.001)
                seen.append(mpl.rcParams["font.size"] == size)

    _at_once([lambda size=size: draw(size) for size in range(5, 11)])  # type: ignore[misc]
    assert len(seen) == 120
    assert all(seen)
    assert dict(mpl.rcParams) == before


def test_a_figure_is_the_same_beside_others(tmp_path: Path) -> None:
    def draw(name: str) -> bytes:
        number, area = (size_curve([3.0, 4.0, 9.0], [1.0, 2.0, 3.0], weighting) for weighting in ("number", "area"))
        save_size_figure(tmp_path / name, number=number, area=area, unit="µm", edge_grains=1)
        return (tmp_path / name).read_bytes()

    alone = draw("alone.png")
    beside: list[bytes] = []
    _at_once([lambda name=name: beside.append(draw(name)) for name in ("a.png", "b.png", "c.png")])  # type: ignore[misc]
    assert beside == [alone] * 3


def _at_once(calls: list[Callable[[], None]]) -> None:
    threads = [threading.Thread(target=call) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
