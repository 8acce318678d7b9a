"""Default scenarios: the images, grids and models to measure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from benchmarks.against_stock.pictures import PHOTOGRAPHS, Picture, photograph, synthetic
from benchmarks.against_stock.systems import OURS, RIVALS

FEW, MEDIUM, MANY = 370, 110, 37
"""Grain sizes, px, that give about 10, 100 and 600 grains."""

COARSE = 16
"""Points along a side while something other than points is varied."""

GROUPS = ("headline", "points", "side", "grains", "families", "photographs", "rivals")


@dataclass(frozen=True)
class Scenario:
    """One image and one grid, run by stock once and by ours in several ways.

    Attributes:
        name: unique name.
        model: name in the registry.
        picture: makes the image; returns None if the image is not available.
        points_per_side: points along each side of the grid.
        precisions: precisions of ours.
        groups: members of `GROUPS`, the tables and pictures that show this scenario.
        adaptive: whether ours also runs with adaptive points.
        rivals: further systems to run.
        memory: whether peaks are measured.
    """

    name: str
    model: str
    picture: Callable[[], Picture | None]
    points_per_side: int
    precisions: Sequence[str]
    groups: Sequence[str]
    adaptive: bool = False
    rivals: Sequence[str] = ()
    memory: bool = False


def precisions_of(model: str) -> Sequence[str]:
    """Returns the precisions of a model: sam_tiny has nothing to quantise."""
    return OURS[:2] if model == "sam_tiny" else OURS


def all_scenarios(models: Sequence[str], points: Sequence[int], gpu: bool) -> list[Scenario]:
    """Returns the scenarios of the whole run.

    Args:
        models: names in the registry. Points, side and grains are varied with sam_tiny.
        points: points along a side to compare; 32 is the headline's.
        gpu: on a GPU, rivals have the headline's grid; on the CPU a smaller one, to save hours.
    """
    found = []
    for model in models:
        base = Scenario(
            name=f"{model} 1024 px, 32 × 32 points",
            model=model,
            picture=partial(synthetic, MEDIUM),
            points_per_side=32,
            precisions=precisions_of(model),
            groups=("headline",),
            memory=True,
        )
        if model != "sam_tiny":
            rivals = tuple(RIVALS)
            if gpu:
                found.append(replace(base, groups=("headline", "rivals"), rivals=rivals))
            else:
                few = replace(base, name=f"{model} 1024 px, 16 × 16 points", points_per_side=16)
                found += [base, replace(few, precisions=("fp32",), groups=("rivals",), rivals=rivals)]
            continue
        found.append(replace(base, groups=("headline", "points"), adaptive=True))
        found += [
            # The promise of bounded memory must hold at the finest grid.
            replace(
                base,
                name=f"{model} {n} × {n} points",
                points_per_side=n,
                groups=("points", "side", "grains") if n == COARSE else ("points",),
                memory=n == max(points),
            )
            for n in points
            if n != base.points_per_side
        ]
        quick_base = replace(base, points_per_side=COARSE, memory=False)
        found += [
            replace(quick_base, name=f"{model} {side} px", picture=partial(synthetic, MEDIUM, side), groups=("side",))
            for side in (256, 512)
        ]
        found += [
            replace(quick_base, name=f"{model} {words}", picture=partial(synthetic, px), groups=("grains",))
            for words, px in (("few grains", FEW), ("many grains", MANY))
        ]
        found += [
            replace(
                quick_base,
                name=f"{model} {family}",
                picture=partial(synthetic, MEDIUM // 2, 512, family),
                groups=("families",),
            )
            for family in ("polycrystal", "loose", "matrix")
        ]
        found += [
            replace(
                quick_base,
                name=f"{model} photograph {name}",
                picture=partial(photograph, name),
                groups=("photographs",),
            )
            for name in ("ig_1_P1060330_1", "torrey_pines_beach", "IMG_5208")
        ]
    return found


def quick(scenarios: Sequence[Scenario]) -> list[Scenario]:
    """Returns one scenario of each model, with grids so small that all take a minute or two."""
    # On the CPU, the last scenario of a model has rivals.
    big = {scenario.model: scenario for scenario in scenarios if scenario.model != "sam_tiny"}
    tiny = [scenario for scenario in scenarios if scenario.model == "sam_tiny"][:1]
    return [
        replace(scenario, name=f"{scenario.name}, quick", points_per_side=4, memory=scenario.model == "sam_tiny")
        for scenario in (*tiny, *big.values())
    ]


def missing(scenario: Scenario) -> str:
    """Says why a scenario without an image is left out."""
    return f"{scenario.name}: there is no image of that name in {PHOTOGRAPHS.parent.name}/{PHOTOGRAPHS.name}"
