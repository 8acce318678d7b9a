"""Families of synthetic images after what microscopes and cameras show. Each draws a picture with its label map.

gravel          a heap of pebbles or rubble in sun or shade, dry or wet
outcrop         pebbles in a wall or bed of sand
sand            loose sand under a microscope: translucent, glossy, partly out of focus
plane_polars    thin section, one polariser: pale grains, outlines, cleavage, pores or cement
crossed_polars  thin section, crossed polarisers: interference colours, twins, undulose extinction
steel           polished and etched: near-equal greys, thin boundaries with gaps, annealing twins
sem             electron micrograph: bright rims, shot noise
unequal         gravel of very unequal stones: a few large ones, hundreds of small ones in the gaps
epoxy           sandstone in plane light, its pores filled with dyed resin
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy import ndimage

from training.camera import expose
from training.layouts import depth_inside, embedded, from_centre, mosaic, rounded, unequal_mosaic
from training.noise import FloatMap, layered_noise, smooth_noise
from training.paint import MINERALS, ROCKS, any_colours, displaced, each, grit, of_kinds, rock
from training.relief import Drawing, Labels, Relief, Shape, drop, fill_gaps, gritty_ground, illuminate


def gravel(rng: Generator, height: int, width: int, grain_px: float) -> Drawing:
    """Draws a heap of pebbles. Grains deep in it are dark and not labelled."""
    diameters = _diameters(rng, (height, width), grain_px, layers=rng.uniform(1.8, 4.0))
    ground = 0.15 * np.float32(grain_px) * smooth_noise(rng, height, width, 2 * grain_px)
    relief = drop(rng, diameters, Shape.draw(rng), ground, sink=(0.0, 0.25))
    albedo = of_kinds(rng, ROCKS, len(diameters)) if rng.uniform() < 0.85 else any_colours(rng, len(diameters))
    albedo[0] = rng.uniform(0.05, 0.4) * np.array([1.0, 0.9, 0.75])
    image, lit = _outdoors(rng, relief, albedo, grain_px, wet=rng.uniform() < 0.3)
    return expose(rng, image), _countable(rng, relief, lit)


def outcrop(rng: Generator, height: int, width: int, grain_px: float) -> Drawing:
    """Draws pebbles that sit in sand, some of them almost covered."""
    diameters = _diameters(rng, (height, width), grain_px, layers=rng.uniform(0.15, 1.5), spread=(0.3, 1.1))
    ground = gritty_ground(rng, height, width, grain_px, relief=grain_px * rng.uniform(0.05, 0.35))
    shape = Shape.draw(rng)
    relief = drop(rng, diameters, shape, ground, sink=(0.05, 0.75))
    albedo = of_kinds(rng, ROCKS, len(diameters))
    albedo[0] = np.clip(np.array([0.55, 0.48, 0.36]) * np.exp(rng.normal(0, 0.25)) + rng.normal(0, 0.05, 3), 0.1, 0.9)
    dust = rng.uniform(0, 0.7) * rng.uniform(0, 1, (len(albedo) - 1, 1))  # sand sticks to them
    albedo[1:] = (1 - dust) * albedo[1:] + dust * albedo[0]
    image, lit = _outdoors(rng, relief, albedo, grain_px, wet=rng.uniform() < 0.1)
    return expose(rng, image), _countable(rng, relief, lit)


def sand(rng: Generator, height: int, width: int, grain_px: float) -> Drawing:
    """Draws loose sand: translucent, glossy grains, with the lens focused at one height."""
    diameters = _diameters(rng, (height, width), grain_px, layers=rng.uniform(0.5, 2.6), spread=(0.1, 0.4))
    ground = 0.1 * np.float32(grain_px) * smooth_noise(rng, height, width, 2 * grain_px)
    relief = drop(rng, diameters, Shape.draw(rng), ground, sink=(0.0, 0.3))
    count = len(diameters)
    albedo = of_kinds(rng, MINERALS, count)
    albedo[0] = rng.choice([0.04, 0.15, 0.6, 0.9]) * np.exp(rng.normal(0, 0.2, 3))
    light = illuminate(rng, relief, grain_px, elevation=rng.uniform(35, 80), gloss=rng.uniform(20, 90))
    clear = each(np.r_[0, rng.beta(1.5, 1.5, count)], relief.labels)
    inner = (
        0.55 + 0.35 * _field_on(rng, relief.labels, grain_px) + 0.3 * each(rng.normal(0, 0.3, count + 1), relief.labels)
    )
    shade = (1 - clear) * (0.35 + 0.8 * light.sun) + clear * inner
    surface = albedo[relief.labels] * rock(rng, relief.labels, relief.own, grain_px, rng.uniform(0.2, 0.9))
    image = surface * (np.clip(shade, 0.03, 2) * (0.3 + 0.7 * light.sky))[..., None]
    image += rng.uniform(0.1, 1.0) * (light.shine * (relief.labels > 0))[..., None]
    if rng.uniform() < 0.6:
        focus = np.quantile(relief.height, rng.uniform(0.5, 0.95))
        out = np.clip(np.abs(relief.height - focus) / (grain_px * rng.uniform(0.5, 1.5)), 0, 1)[..., None]
        soft = ndimage.gaussian_filter(image, (rng.uniform(1, 3.5), rng.uniform(1, 3.5), 0))
        image = image * (1 - out) + soft * out
    return expose(rng, np.asarray(np.clip(image, 0, None), np.float32)), _countable(rng, relief, light.sky)


def plane_polars(rng: Generator, height: int, width: int, grain_px: float) -> Drawing:
    """Draws pale grains that differ by their outlines, cleavage and inclusions."""
    labels = _section(rng, height, width, grain_px)
    count = int(labels.max())
    pale = np.array([0.93, 0.92, 0.88]) * np.exp(rng.normal(0, 0.04, 3))
    colours = np.clip(pale + rng.normal(0, rng.uniform(0.01, 0.07), (count + 1, 3)), 0, 1)
    stained = rng.uniform(0, 1, count + 1) < rng.uniform(0, 0.5)
    colours[stained] *= np.clip(rng.normal(0.72, 0.15, (int(stained.sum()), 1)) * (1.0, 0.88, 0.68), 0.15, 1)
    opaque = rng.uniform(0, 1, count + 1) < rng.uniform(0, 0.06)
    colours[opaque] = rng.uniform(0.02, 0.15)
    colours[0] = [(0.35, 0.62, 0.85), (0.95, 0.94, 0.92), (0.55, 0.42, 0.28), (0.75, 0.68, 0.55)][int(rng.integers(4))]
    colours[0] = np.clip(colours[0] + rng.normal(0, 0.05, 3), 0, 1)
    image = np.asarray(colours, np.float32)[labels]
    image *= (1 + rng.uniform(0.02, 0.12) * _field_on(rng, labels, grain_px))[..., None]
    image -= _cleavage(rng, labels, grain_px, rng.uniform(0, 0.35))[..., None]
    specks = layered_noise(rng, height, width, (1.5, 3.0), roughness=0.9)
    image *= 1 - rng.uniform(0, 0.6) * np.clip(specks - rng.uniform(1.5, 2.5), 0, 1)[..., None]
    if (labels == 0).any():
        image *= np.where((labels == 0)[..., None], grit(rng, height, width, grain_px), 1)
    return _outlined(rng, image, labels, grain_px, dark=rng.uniform(0.2, 0.95)), labels


def crossed_polars(rng: Generator, height: int, width: int, grain_px: float) -> Drawing:
    """Draws grains between crossed polarisers: retardation sets a grain's colour, its orientation the brightness."""
    labels = _section(rng, height, width, grain_px)
    count = int(labels.max())
    retardation = np.abs(rng.normal(0.22, 0.06, count + 1))  # quartz, feldspar: grey to white of the first order
    vivid = rng.uniform(0, 1, count + 1) < rng.choice([0.0, 0.1, 0.5, 1.0])
    retardation[vivid] = rng.uniform(0.3, 1.7, int(vivid.sum()))
    turn = rng.uniform(0, np.pi / 2, count + 1)
    retard, angle = each(retardation, labels), each(turn, labels)
    away = from_centre(labels)
    slope = rng.normal(0, rng.uniform(0, 0.5), (count + 1, 2)) / grain_px  # undulose extinction
    angle = angle + (np.asarray(slope, np.float32)[labels] * away).sum(-1)
    angle = angle + rng.uniform(0, 0.15) * _field_on(rng, labels, grain_px)
    twinned = rng.uniform(0, 1, count + 1) < rng.uniform(0, 0.5)
    wave, across = _stripes(rng, labels, grain_px)
    tartan = each(np.where(rng.uniform(0, 1, count + 1) < 0.2, 1.0, 0.0), labels)
    lamella = np.where(tartan > 0, np.sign(wave) * np.sign(across), np.sign(wave))
    angle = angle + each(twinned * rng.normal(0, 0.5, count + 1), labels) * lamella
    retard = retard * (1 + each(rng.normal(0, 0.08, count + 1), labels) * _field_on(rng, labels, grain_px))
    waves = np.array([0.65, 0.55, 0.45], np.float32)
    image = np.sin(np.pi * retard[..., None] / waves) ** 2 * (np.sin(2 * angle) ** 2)[..., None]
    image = 0.02 + 0.98 * np.asarray(image, np.float32)
    ground = labels == 0
    if ground.any():
        cement = rng.choice([0.03, 0.08, 0.35]) * grit(rng, height, width, grain_px)
        image = np.where(ground[..., None], cement, image)
    image = np.power(np.clip(image, 0, 1), np.float32(rng.uniform(0.6, 1.1)))
    return _outlined(rng, image, labels, grain_px, dark=rng.uniform(0, 0.5)), labels


def steel(rng: Generator, height: int, width: int, grain_px: float) -> Drawing:
    """Draws etched steel: boundaries etched unevenly, grains of almost the same grey."""
    labels = mosaic(rng, height, width, grain_px, pores=0.0)
    count = int(labels.max())
    grey = rng.uniform(0.5, 0.85) + rng.normal(0, rng.choice([0.015, 0.04, 0.12]), count + 1)
    tone = each(grey, labels)
    wave, _ = _stripes(rng, labels, 1.6 * grain_px)
    twin = each((rng.uniform(0, 1, count + 1) < rng.uniform(0, 0.35)) * rng.normal(0, 0.08, count + 1), labels)
    tone = tone + twin * (np.abs(wave) > 0.6)
    pearlite = rng.uniform(0, 1, count + 1) < rng.choice([0.0, 0.0, 0.3])
    dark = each(pearlite, labels) * (0.25 + 0.1 * _field_on(rng, labels, grain_px))
    tone = tone - dark + rng.uniform(0, 0.03) * layered_noise(rng, height, width, (1.2, 3.0, 0.3 * grain_px), 0.8)
    depth = depth_inside(labels)
    lines = np.clip(rng.uniform(0.5, 1.3) + 0.02 * grain_px * rng.uniform() + 0.5 - depth, 0, 1)
    patchy = np.clip(rng.uniform(0.6, 1.3) + 0.5 * smooth_noise(rng, height, width, 0.4 * grain_px), 0, 1)
    tone = tone * (1 - lines * patchy * rng.uniform(0.35, 0.95))
    dots = layered_noise(rng, height, width, (2.0, 3.5), 0.9)
    tone = tone * (1 - rng.uniform(0, 0.9) * np.clip(3 * (dots - rng.uniform(2.2, 3.2)), 0, 1))
    tint = np.exp(rng.normal(0, 0.05 if rng.uniform() < 0.5 else 0.0, 3)).astype(np.float32)
    return np.asarray(tone[..., None] * tint, np.float32), labels


def sem(rng: Generator, height: int, width: int, grain_px: float) -> Drawing:
    """Draws an electron micrograph: more electrons leave where the surface is steep, so rims are bright."""
    diameters = _diameters(rng, (height, width), grain_px, layers=rng.uniform(0.3, 2.2))
    ground = rng.uniform(0, 0.1) * np.float32(grain_px) * smooth_noise(rng, height, width, grain_px)
    relief = drop(rng, diameters, Shape.draw(rng), ground, sink=(0.0, 0.4))
    light = illuminate(rng, relief, grain_px, elevation=rng.uniform(30, 80))
    slope = np.hypot(*np.gradient(ndimage.gaussian_filter(relief.height, 0.8)))
    tone = each(np.exp(rng.normal(0, rng.uniform(0, 0.3), len(diameters) + 1)), relief.labels)
    tone = tone * (0.35 + rng.uniform(0.1, 0.5) * np.tanh(0.7 * slope) + rng.uniform(0, 0.5) * light.sun)
    tone = tone * (0.25 + 0.75 * light.sky) * np.where(relief.labels == 0, rng.uniform(0.2, 0.9), 1)
    tone = tone * rock(rng, relief.labels, relief.own, grain_px, rng.uniform(0.2, 0.9)).mean(-1)
    tone = tone + rng.uniform(0.01, 0.08) * rng.standard_normal((height, width))
    tone = np.clip(tone / np.quantile(tone, 0.99) * rng.uniform(0.5, 1.0), 0, 1)
    image = np.repeat(tone[..., None], 3, axis=-1)
    return np.asarray(image, np.float32), _countable(rng, relief, light.sky)


def unequal(rng: Generator, height: int, width: int, grain_px: float) -> Drawing:
    """Draws a few large stones, half buried, among hundreds of small ones of the same rock."""
    side = min(height, width)
    small = float(np.clip(grain_px * rng.uniform(0.35, 0.7), max(6.0, side / 130), max(6.0, side / 25)))
    large = float(np.clip(small * np.exp(rng.uniform(np.log(6), np.log(25))), 4 * small, max(4.1 * small, 0.45 * side)))
    stones = _graded(rng, height * width * rng.uniform(0.25, 0.9), 3 * small, large)
    gravel = _graded(rng, height * width * rng.uniform(0.9, 3.0), small, 3 * small)
    ground = gritty_ground(rng, height, width, small, relief=small * rng.uniform(0.1, 0.8))
    ground += np.float32(rng.uniform(0, 0.8) * small) * smooth_noise(rng, height, width, 0.3 * min(height, width))
    shape = Shape.draw(rng)
    relief = drop(rng, -np.sort(-stones), shape, ground, sink=(0.0, rng.uniform(0.1, 0.6)))
    relief = fill_gaps(rng, relief, gravel, shape, ground=ground, pile=rng.uniform(0.1, 0.9))
    albedo = of_kinds(rng, ROCKS, len(stones) + len(gravel))
    albedo[0] = albedo[1:].mean(0) * rng.uniform(0.25, 0.9)
    if rng.uniform() < 0.5:  # crushed rock, covered by its own dust
        dust = rng.uniform(0.2, 0.9) * rng.uniform(0.4, 1, (len(albedo) - 1, 1))
        albedo[1:] = (1 - dust) * albedo[1:] + dust * albedo[1:].mean(0) * rng.uniform(0.8, 1.2)
    image, lit = _outdoors(rng, relief, albedo, min(2 * small, 40), rng.uniform() < 0.2)
    if rng.uniform() < 0.25:  # lamps over a conveyor belt
        image = image * np.array([1.0, rng.uniform(0.7, 0.9), rng.uniform(0.3, 0.7)], np.float32)
    return expose(rng, image), _countable(rng, relief, lit)


def epoxy(rng: Generator, height: int, width: int, grain_px: float) -> Drawing:
    """Draws light grains that touch here and there, with dyed resin in the pores."""
    cells, gap = unequal_mosaic(rng, height, width, grain_px, spread=rng.uniform(0.3, 1.0))
    count = int(cells.max())
    slack = smooth_noise(rng, height, width, 0.6 * grain_px) + 0.3 * smooth_noise(rng, height, width, 0.25 * grain_px)
    wide = grain_px * np.clip(rng.uniform(0.0, 0.11) + rng.uniform(0.02, 0.07) * slack, 0.0, 0.3)
    absent = rng.uniform(0, 1, count + 1) < rng.uniform(0, 0.2)
    labels = rounded(np.where((gap > wide) & ~absent[cells], cells, 0), grain_px * rng.uniform(0.02, 0.14))

    pale = np.array([0.93, 0.92, 0.90]) * np.exp(rng.normal(0, 0.04, 3))
    colours = pale + rng.normal(0, rng.uniform(0.005, 0.04), (count + 1, 1)) + rng.normal(0, 0.01, (count + 1, 3))
    kind = rng.choice(4, count + 1, p=[0.82, 0.1, 0.05, 0.03])  # quartz, stained or lithic, tinted, opaque
    for number, (red, green, blue) in ((1, (0.80, 0.62, 0.38)), (2, (0.88, 0.72, 0.76)), (3, (0.14, 0.10, 0.08))):
        of_kind = kind == number
        shade = np.exp(rng.normal(0, 0.25, (int(of_kind.sum()), 1)))
        colours[of_kind] = np.clip((red, green, blue) * shade, 0.03, 1)
    dye = DYES[rng.choice(len(DYES), p=DYE_SHARES)] * np.exp(rng.normal(0, 0.12, 3))
    colours[0] = dye + rng.uniform(0, 0.5) * (dye.mean() - dye)
    image = np.clip(colours, 0, 1).astype(np.float32)[labels]
    texture = _field_on(rng, labels, grain_px)
    rough = each(np.array([0.015, 0.13, 0.05, 0.25])[kind] * np.exp(rng.normal(0, 0.5, count + 1)), labels)
    pore = labels == 0
    image *= (1 + np.where(pore, 0, rough) * texture)[..., None]

    dyed = layered_noise(rng, height, width, (2 * grain_px, 0.5 * grain_px, 3.0), 0.5)
    milky = rng.uniform(0.05, 0.3) * dyed  # the resin varies in depth, and clay and cement cloud it
    cement = np.clip(2 * (smooth_noise(rng, height, width, 1.5 * grain_px) - rng.uniform(0.6, 2.5)), 0, 1)
    stuff = np.array([0.62, 0.52, 0.38], np.float32) * np.exp(rng.normal(0, 0.2, 3)).astype(np.float32)
    in_pores = image * (1 + milky)[..., None] * (1 - cement)[..., None] + cement[..., None] * stuff * grit(
        rng, height, width, grain_px
    )
    image = np.where(pore[..., None], in_pores, image)

    cracks = _cracks(rng, labels, grain_px, share=rng.uniform(0.05, 0.4)) * ~pore
    image *= 1 - rng.uniform(0.1, 0.45) * cracks[..., None]
    specks = layered_noise(rng, height, width, (1.5, 3.0), roughness=0.9)
    dusty = each(rng.beta(0.6, 2.5, count + 1), labels)
    image *= 1 - (rng.uniform(0.1, 0.6) * dusty * np.clip(specks - rng.uniform(1.0, 2.0), 0, 1))[..., None]
    return _outlined(rng, image, labels, grain_px, dark=rng.uniform(0.08, 0.55)), labels


FAMILIES: Mapping[str, Callable[[Generator, int, int, float], Drawing]] = {
    function.__name__: function for function in (gravel, outcrop, sand, plane_polars, crossed_polars, steel, sem)
}
"""Drawing functions by family. Arguments: source of all randomness, height and width of the image (px), typical grain
diameter (px)."""
LATER: Mapping[str, Callable[[Generator, int, int, float], Drawing]] = {
    function.__name__: function for function in (unequal, epoxy)
}
"""Drawing functions of the families that were added later, with the same arguments."""

DYES = np.array(
    [
        (0.25, 0.45, 0.72),
        (0.10, 0.35, 0.80),
        (0.33, 0.52, 0.66),
        (0.20, 0.62, 0.85),
        (0.15, 0.55, 0.40),
        (0.75, 0.30, 0.40),
    ]
)
"""Colours (RGB) of dyed resin in images: blues, a green, a red."""
DYE_SHARES = (0.25, 0.15, 0.3, 0.2, 0.05, 0.05)


def _graded(rng: Generator, area: float, small: float, large: float) -> NDArray[np.float64]:
    """Draws diameters, px, by a power law, as crushing and rivers leave them.

    Args:
        rng: source of all randomness.
        area: area that the grains cover in all, px².
        small: smallest diameter, px.
        large: largest diameter, px.
    """
    power = 1 - rng.uniform(2.2, 3.2)
    share = rng.uniform(0, 1, 20_000)
    found = (small**power + share * (large**power - small**power)) ** (1 / power)
    found[: int(rng.integers(1, 3))] = large
    enough = int(np.searchsorted(np.cumsum(0.785 * found**2), area)) + 1
    return np.asarray(found[:enough])


def _diameters(
    rng: Generator, size: tuple[int, int], grain_px: float, layers: float, spread: tuple[float, float] = (0.15, 0.75)
) -> NDArray[np.float64]:
    """Draws log-normal diameters, px, in the order in which the grains fall.

    Args:
        rng: source of all randomness.
        size: height and width of the frame, px.
        grain_px: typical diameter, px.
        layers: area that the grains cover in all, in units of the frame's area.
        spread: range of the standard deviation of the diameters' logarithm.
    """
    height, width = size
    sigma = rng.uniform(*spread)
    largest = 0.5 * min(height, width)
    found: list[float] = []
    covered = 0.0
    while covered < layers * height * width and len(found) < 5000:
        found.append(float(np.clip(grain_px * np.exp(rng.normal(0, sigma)), 6, largest)))
        covered += 0.785 * found[-1] ** 2
    sizes = np.array(found)
    # Either small grains fall into the gaps of large ones, or all fall in any order.
    order = np.argsort(-sizes * np.exp(rng.normal(0, rng.choice([0.3, 1.0, 3.0]), len(sizes))))
    return sizes[order]


def _outdoors(
    rng: Generator, relief: Relief, albedo: FloatMap, grain_px: float, wet: bool
) -> tuple[FloatMap, FloatMap]:
    """Returns the linear light from a lit surface (H × W × 3), and how much light reaches each pixel (H × W)."""
    height, width = relief.labels.shape
    light = illuminate(rng, relief, grain_px, elevation=rng.uniform(20, 75), gloss=rng.uniform(15, 60))
    surface = albedo[relief.labels] * rock(rng, relief.labels, relief.own, grain_px, rng.uniform(0.3, 1.2))
    ground = relief.labels == 0
    surface = np.where(ground[..., None], albedo[0] * grit(rng, height, width, grain_px), surface)
    if wet:
        surface = np.clip(surface, 0, 1) ** np.float32(rng.uniform(1.2, 1.8))
    sunny = rng.uniform(0, 1) if rng.uniform() < 0.75 else 0.0
    warm = np.array([1.0, 0.95, 0.85]) ** rng.uniform(0, 1.5)
    cool = np.array([0.85, 0.93, 1.0]) ** rng.uniform(0, 1.5)
    around = light.sky ** rng.uniform(0.7, 1.6)
    image = surface * (1.6 * sunny * light.sun[..., None] * warm + (1 - 0.75 * sunny) * around[..., None] * cool)
    if wet or rng.uniform() < 0.2:
        image = image + rng.uniform(0.1, 0.7) * (light.shine * ~ground)[..., None]
    return np.asarray(np.clip(image, 0, None), np.float32), around


def _countable(rng: Generator, relief: Relief, light: FloatMap) -> Labels:
    """Returns the labels of the grains that a person would outline: enough of them is visible and bright enough."""
    count = len(relief.areas)
    visible = np.maximum(np.bincount(relief.labels.ravel(), minlength=count), 1)
    brightness = np.bincount(relief.labels.ravel(), light.ravel(), minlength=count) / visible
    keep = (relief.seen() > 0.3) & (brightness > 0.3)
    keep[0] = False
    return np.where(keep[relief.labels], relief.labels, 0).astype(np.int32)


def _section(rng: Generator, height: int, width: int, grain_px: float) -> Labels:
    """Draws the label map of a thin section: a mosaic, or grains in cement."""
    if rng.uniform() < 0.55:
        return mosaic(rng, height, width, grain_px, pores=rng.uniform(0, 0.15) * (rng.uniform() < 0.4))
    return embedded(rng, height, width, grain_px)


def _field_on(rng: Generator, labels: Labels, grain_px: float) -> FloatMap:
    """Draws noise at several scales that jumps from grain to grain; H × W."""
    scales = (0.5 * grain_px, 0.2 * grain_px, 4.0, 1.5)
    height, width = labels.shape
    return displaced(rng, layered_noise(rng, height + 96, width + 96, scales, rng.uniform(0.3, 0.8)), labels)


def _stripes(rng: Generator, labels: Labels, grain_px: float) -> tuple[FloatMap, FloatMap]:
    """Draws two waves at right angles, with another direction and period in every grain; H × W each, −1…1."""
    height, width = labels.shape
    count = int(labels.max())
    angle = each(rng.uniform(0, np.pi, count + 1), labels)
    period = each(np.maximum(3, grain_px * rng.uniform(0.06, 0.5, count + 1)), labels)
    phase = each(rng.uniform(0, 6.28, count + 1), labels)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    along, across = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
    turns = np.float32(2 * np.pi) / period
    # Two periods are mixed, because lamellae have many widths.
    wave = np.sin(turns * along + phase) + 0.6 * np.sin(0.37 * turns * along + 2 * phase)
    return np.asarray(wave / 1.6, np.float32), np.asarray(np.sin(turns * across), np.float32)


def _cleavage(rng: Generator, labels: Labels, grain_px: float, share: float) -> FloatMap:
    """Draws thin dark parallel lines in a share of the grains; H × W."""
    count = int(labels.max())
    wave, _ = _stripes(rng, labels, 0.6 * grain_px)
    amount = (rng.uniform(0, 1, count + 1) < share) * rng.uniform(0.05, 0.35, count + 1)
    amount[0] = 0
    return np.asarray(each(amount, labels) * np.clip(8 * (wave - 0.75), 0, 1), np.float32)


def _cracks(rng: Generator, labels: Labels, grain_px: float, share: float) -> FloatMap:
    """Draws a thin bent crack through each of a share of the grains; H × W, 0…1."""
    count = int(labels.max())
    away = from_centre(labels) / np.float32(0.5 * grain_px)
    turn = rng.uniform(0, 2 * np.pi, count + 1)
    across = each(np.cos(turn), labels) * away[..., 0] + each(np.sin(turn), labels) * away[..., 1]
    bent = across + 0.2 * _field_on(rng, labels, grain_px) - each(rng.uniform(-0.5, 0.5, count + 1), labels)
    line = np.clip(1.3 - np.abs(bent) * 0.5 * grain_px, 0, 1)
    cracked = rng.uniform(0, 1, count + 1) < share
    return np.asarray(line * cracked[labels], np.float32)


def _outlined(rng: Generator, image: FloatMap, labels: Labels, grain_px: float, dark: float) -> FloatMap:
    """Draws boundaries as thin sections show them: dark, with varying strength."""
    height, width = labels.shape
    lines = np.clip(rng.uniform(0.2, 1.4) + 0.5 - depth_inside(labels), 0, 1)
    patchy = np.clip(0.75 + 0.5 * smooth_noise(rng, height, width, 0.5 * grain_px), 0, 1)
    return np.asarray(np.clip(image, 0, 1.1) * (1 - dark * lines * patchy)[..., None], np.float32)
