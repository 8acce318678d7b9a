"""Statistics of populations: the grains of one or many images of a sample."""

from __future__ import annotations

from grainserve.stats.interval import Interval
from grainserve.stats.sample import Sample
from grainserve.stats.summary import Summary, summarise

__all__ = ["Interval", "Sample", "Summary", "summarise"]
