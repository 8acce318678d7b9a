"""What is measured by default: the list of images, grids and models."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from benchmarks.against_stock.pictures import PHOTOGRAPHS, Picture, photograph, synthetic
from benchmarks.against_stock.systems import OURS, RIVALS

FEW, MEDIUM, MANY = 370, 110, 37
"""Grain sizes, px, that give about 10, 100 and 600 grains."""

COARSE = 16
"""Points along a side where something else than points is varied."""

GROUPS = ("headline", "points", "side", "grains", "families", "photographs", "rivals")


@dataclass(frozen=True)
class Scenario:
    """One image asked with one grid, by stock once and by ours in several ways.

    Attributes:
        name: Unique.
        model: Name in the registry.
        picture: Makes the image; None from it: the image is not at hand.
        points_per_side: The grid.
        precisions: Of ours.
        groups: What it is for, of `GROUPS`; tables and pictures are made of these.
        adaptive: Also ours with adaptive points.
        rivals: Others that are run beside.
        memory: Whether peaks are measured.
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
    """The precisions a model has: sam_tiny has nothing to quantise."""
    return OURS[:2] if model == "sam_tiny" else OURS


def all_scenarios(models: Sequence[str], points: Sequence[int], gpu: bool) -> list[Scenario]:
    """The whole run.

    Args:
        models: Names in the registry. Points, side and grains are varied with sam_tiny.
        points: Points along a side that are compared; 32 is the headline's.
        gpu: On a GPU, rivals have the headline's grid; on the CPU a smaller one, to save hours.
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
            # Memory at the finest grid is what the promise of bounded memory is about.
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
    """One scenario of each model, with grids so small that they are over in a minute or two."""
    # The last of a model is on the CPU the one with rivals.
    big = {scenario.model: scenario for scenario in scenarios if scenario.model != "sam_tiny"}
    tiny = [scenario for scenario in scenarios if scenario.model == "sam_tiny"][:1]
    return [
        replace(scenario, name=f"{scenario.name}, quick", points_per_side=4, memory=scenario.model == "sam_tiny")
        for scenario in (*tiny, *big.values())
    ]


def missing(scenario: Scenario) -> str:
    """Why a scenario without an image is left out."""
    return f"{scenario.name}: there is no image of that name in {PHOTOGRAPHS.parent.name}/{PHOTOGRAPHS.name}"
