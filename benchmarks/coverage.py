"""Coverage of the intervals of a sample's sizes: how often they hold a known truth.

    python -m benchmarks.coverage            half an hour on two processors
    python -m benchmarks.coverage --quick    a minute: a few samples of each kind, for a look

Grains: samples of log-normal grains of two widths, drawn one by one. Images: log-normal grains in images of 60 that
differ as much as their grains do.

Of each kind and statistic: truth, bias of the estimate, the share of samples without an interval, how many of the
intervals given hold the truth, and the share of all samples whose interval misses it.

Writes benchmarks/results/coverage.json and the tables of docs/statistics.md.
"""

from __future__ import annotations

import argparse
import json
import math
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal
from unittest import mock

import numpy as np
from rich.console import Console
from rich.progress import track
from scipy.special import ndtri

from benchmarks.page import put
from grainserve.results.size_curve import Weighting
from grainserve.stats import Interval, Sample
from grainserve.stats.bootstrap import Resampling
from grainserve.stats.population import Population, population
from tests.unit.client.stats.samples import make_sample
from tools.mar import ROOT
from tools.problem import main_exit

TRIALS, RESAMPLES = 300, 500
WIDTHS = (0.3, 0.6)
NUMBERS = (50, 200, 1000, 2000)
GRAINS_OF_AN_IMAGE = 60
PERCENTS = (10, 50, 84, 90, 95)
WEIGHTINGS: tuple[Weighting, ...] = ("number", "area")
NAMES = (*(f"D{percent}" for percent in PERCENTS), "mean", "sorting", "geometric SD")
FEW = 0.05
"""Share of samples with an interval under which their coverage is not shown: too few of them to say."""

console = Console()


@dataclass(frozen=True)
class Kind:
    """A kind of samples: what they are made of.

    Attributes:
        by: what is drawn, and what `n` counts.
        n: number of grains or images.
        width: standard deviation of ln d.
        weighting: `number` or `area`.
    """

    by: Literal["grain", "image"]
    n: int
    width: float
    weighting: Weighting

    def truth(self) -> dict[str, float]:
        """Returns the true figures of log-normal grains; by area, the median is 2σ² higher (Hatch & Choate 1929)."""
        middle = 3.0 + (2 * self.width**2 if self.weighting == "area" else 0.0)
        sizes = {p: math.exp(middle + self.width * float(ndtri(p / 100))) for p in (5, 16, *PERCENTS)}
        phi = {p: -math.log2(size / 1000) for p, size in sizes.items()}
        return {
            **{f"D{percent}": sizes[percent] for percent in PERCENTS},
            "mean": math.exp(middle + self.width**2 / 2),
            "sorting": (phi[16] - phi[84]) / 4 + (phi[5] - phi[95]) / 6.6,
            "geometric SD": math.exp(self.width),
        }

    def sample(self, random: np.random.Generator) -> Sample:
        """Draws a sample."""
        if self.by == "grain":
            return make_sample(random.lognormal(3.0, self.width, self.n))
        image = np.repeat(np.arange(self.n), GRAINS_OF_AN_IMAGE)
        half = self.width / math.sqrt(2)
        logs = 3.0 + random.normal(0, half, self.n)[image] + random.normal(0, half, image.size)
        return make_sample(np.exp(logs), image=image)


def figures(found: Population) -> dict[str, Interval]:
    """The statistics that are told, by name."""
    assert found.folk_ward is not None
    return {
        **{f"D{percent}": found.percentiles[percent] for percent in PERCENTS},
        "mean": found.mean,
        "sorting": found.folk_ward.sorting,
        "geometric SD": found.log_normal.geometric_sd,
    }


def measured(kind: Kind, trials: int, resamples: int) -> list[dict[str, Any]]:
    """Draws samples of a kind and counts the intervals that hold the truth."""
    random = np.random.default_rng([kind.n, WEIGHTINGS.index(kind.weighting), round(kind.width * 100)])
    with mock.patch("grainserve.stats.population.gradistat", return_value=None):  # half of the time, and not told
        found = [
            figures(
                population(
                    kind.sample(random), kind.weighting, Resampling(kind.by, resamples, seed=seed),
                    edge_correction=True, percents=PERCENTS,
                )
            )
            for seed in range(trials)
        ]  # fmt: skip
    said = {"weighting": kind.weighting, "by": kind.by, "n": kind.n, "width": kind.width}
    return [{"statistic": name, **said, **counted(found, name, kind.truth()[name])} for name in NAMES]


def counted(found: Iterable[dict[str, Interval]], name: str, truth: float) -> dict[str, Any]:
    """Counts the intervals of one statistic."""
    every = [each[name] for each in found]
    given = [(each.low, each.high) for each in every if each.low is not None and each.high is not None]
    held = sum(low <= truth <= high for low, high in given)
    return {
        "truth": round(truth, 4),
        "bias": round(float(np.mean([each.value for each in every])) / truth - 1, 4),
        "without": round(1 - len(given) / len(every), 4),
        "coverage": round(held / len(given), 4) if given else None,
        "missed": round((len(given) - held) / len(every), 4),
    }


def grain_table(cases: list[dict[str, Any]], by: str) -> str:
    """Writes a table with a row for each kind of samples and a column for each statistic."""
    kinds = list(dict.fromkeys((each["weighting"], each["width"], each["n"]) for each in cases if each["by"] == by))
    rows = [f"| weighting | width | {by}s | {' | '.join(NAMES)} |", "|---|---|---" + "|---" * len(NAMES) + "|"]
    for weighting, width, n in kinds:
        own = {
            each["statistic"]: each
            for each in cases
            if (each["by"], each["weighting"], each["width"], each["n"]) == (by, weighting, width, n)
        }
        rows.append(f"| {weighting} | {width} | {n} | {' | '.join(cell(own[name]) for name in NAMES)} |")
    return "\n".join(rows)


def cell(case: dict[str, Any]) -> str:
    """Writes the coverage, and of how many samples where not of all."""
    given = 1 - case["without"]
    if given < FEW:
        return "–"
    held = f"{100 * case['coverage']:.0f}"
    return held if given > 0.995 else f"{held} of {100 * given:.0f}"


def report(cases: list[dict[str, Any]]) -> str:
    """Writes what docs/statistics.md shows."""
    missed = max(each["missed"] for each in cases if each["by"] == "grain")
    return (
        "Coverage of nominal 95 % intervals, %, of independent log-normal grains; width is the standard deviation of "
        f"ln d. `92 of 30`: 30 % of the samples have an interval, and 92 % of these hold the truth; –: under "
        f"{FEW:.0%} have one.\n\n".replace("5%", "5 %")
        + grain_table(cases, "grain")
        + f"\n\nOf no kind of these samples do more than {100 * missed:.0f} % have an interval that misses the truth. "
        "Where few samples have one, these are the ones that lack their largest grains, and theirs hold less often.\n\n"
        f"The same of images of {GRAINS_OF_AN_IMAGE} grains that differ as much as the grains of one do:\n\n"
        + grain_table(cases, "image")
    )


def measure_all(kinds: list[Kind], trials: int, resamples: int, workers: int) -> list[dict[str, Any]]:
    """Measures kinds of samples, several at once."""
    one: Callable[[Kind], list[dict[str, Any]]] = partial(measured, trials=trials, resamples=resamples)
    with ProcessPoolExecutor(workers) as pool:
        found = list(track(pool.map(one, kinds), "kinds of samples", len(kinds), console=console))
    return [case for cases in found for case in cases]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few small samples; the page stays as it is")
    parser.add_argument("--trials", type=int, default=TRIALS, help="samples of each kind")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "coverage.json")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "statistics.md")
    arguments = parser.parse_args()
    trials, resamples, numbers = (10, 100, NUMBERS[:2]) if arguments.quick else (arguments.trials, RESAMPLES, NUMBERS)
    kinds = [Kind("grain", n, width, each) for each in WEIGHTINGS for width in WIDTHS for n in numbers]
    kinds += [Kind("image", n, WIDTHS[0], each) for each in WEIGHTINGS for n in (5, 10, 20)]
    cases = measure_all(kinds, trials, resamples, arguments.workers)
    said = {
        "command": "python -m benchmarks.coverage",
        "date": datetime.now(UTC).date().isoformat(),
        "trials": trials,
        "resamples": resamples,
    }
    lines = ",\n".join(f"  {json.dumps(case)}" for case in cases)
    head = json.dumps(said, indent=1)[:-2]
    arguments.out.write_text(f'{head},\n "cases": [\n{lines}\n ]\n}}\n', encoding="utf-8")
    text = report(cases)
    console.print(text, markup=False)
    if not arguments.quick:
        put(arguments.page, "coverage", text)
    return 0


if __name__ == "__main__":
    main_exit(main)
