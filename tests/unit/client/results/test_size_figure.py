"""What the size figure says; and figures drawn by several threads at once, as in a gateway."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure

from grainserve import Result
from grainserve.results.size_curve import size_curve
from grainserve.results.size_figure import size_figure, styled
from tests.unit.client.made import make_result


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
        figure = size_figure(number=number, area=area, unit="µm", edge_grains=1, edge_correction=True)
        (tmp_path / name).write_bytes(figure.png(dpi=300))
        return (tmp_path / name).read_bytes()

    alone = draw("alone.png")
    beside: list[bytes] = []
    _at_once([lambda name=name: beside.append(draw(name)) for name in ("a.png", "b.png", "c.png")])  # type: ignore[misc]
    assert beside == [alone] * 3


@pytest.mark.parametrize(
    ("edge_correction", "said"),
    [
        (True, "n = 3 grains, corrected for the frame\n1 cut by it left out, the others weighted by 1/P"),
        (False, "n = 4 grains, not corrected for the frame\n1 cut by it counted at the visible size"),
    ],
)
def test_a_figure_has_the_statistics_of_the_image_and_says_whether_they_are_corrected(
    tmp_path: Path, drawn: list[Figure], edge_correction: bool, said: str
) -> None:
    result = Result(make_result(um_per_px=2.0))
    result.histogram(tmp_path / "sizes.png", edge_correction=edge_correction)
    left, right = drawn[0].axes
    assert left.get_title(loc="left") == said
    assert sum(bar.get_height() for bar in left.patches) == pytest.approx(100)  # type: ignore[attr-defined]
    summary = result.statistics(edge_correction=edge_correction)
    labels = [text.get_text() for text in right.get_legend().get_texts()]  # type: ignore[union-attr]
    for each, label in zip((summary.number, summary.area), labels, strict=True):
        values = " / ".join(f"{each.percentiles[percent].value:.3g}" for percent in (10, 50, 90))
        assert f"= {values} µm" in label


def test_a_figure_without_a_whole_grain_says_why_it_is_empty(tmp_path: Path, drawn: list[Figure]) -> None:
    cut = np.zeros((60, 80), bool)
    cut[:10, :10] = True
    Result(make_result(masks=[cut, cut])).histogram(tmp_path / "sizes.png")
    assert drawn[0].axes[0].get_title(loc="left") == "no correction for the frame: it cuts all 2 grains"


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Figures that were saved."""
    seen: list[Figure] = []
    save = Figure.savefig

    def saved(figure: Figure, *arguments: object, **options: object) -> None:
        seen.append(figure)
        save(figure, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Figure, "savefig", saved)
    return seen


def _at_once(calls: list[Callable[[], None]]) -> None:
    threads = [threading.Thread(target=call) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
