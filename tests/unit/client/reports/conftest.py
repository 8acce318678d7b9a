from __future__ import annotations

from collections.abc import Callable

import pytest
from matplotlib.figure import Figure

from grainserve.reports import figures
from grainserve.reports.document import Picture

BLANK = b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 10 10"/>'


@pytest.fixture
def blank_charts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replaces charts by blanks, since drawing takes most of a report's time."""

    def blank(_draw: Callable[[Figure], None], words: str, width: float, height: float) -> Picture:
        return Picture(BLANK, "svg+xml", height / width, words)

    monkeypatch.setattr(figures, "_picture", blank)
