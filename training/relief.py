"""Grains in three dimensions, dropped one upon the other, then lit by sun and sky.

A photograph of gravel or sand shows a heap: grains hide parts of others, lie in their shadows, and get darker towards
the gaps. Flat shapes cannot show this, but solid ones can. Each grain is a dome (a superellipsoid with a wobbling
outline) that comes to rest on the surface under its footprint, and the image shows the highest surface.

Heights are in px, like lengths in the image.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy import ndimage

from training.noise import FloatMap, layered_noise

Labels = NDArray[np.int32]
Drawing = tuple[FloatMap, Labels]
"""Display values (H × W × 3, or H × W × 1 without colour; about 0…1) and labels (H × W, 0 is ground)."""


@dataclass(frozen=True)
class Relief:
    """A surface of grains on a ground.

    Attributes:
        labels: H × W, int32; 0 is ground, 1…n are grains, also those that are hardly visible.
        height: H × W, float32, height of the surface, px.
        own: H × W × 2, float32, place on the grain along its two axes, −1…1; 0 on the ground.
        areas: n + 1, pixels of each grain's footprint in the frame, hidden ones included; 0 for the ground.
    """

    labels: Labels
    height: FloatMap
    own: NDArray[np.float32]
    areas: NDArray[np.int64]

    def seen(self) -> NDArray[np.float64]:
        """Returns the visible share of each grain's footprint; n + 1."""
        visible = np.bincount(self.labels.ravel(), minlength=len(self.areas))
        return visible / np.maximum(self.areas, 1)


@dataclass(frozen=True)
class Shape:
    """The shape of the grains in an image. Each grain draws its own shape around it.

    Attributes:
        aspect: typical ratio of longest to middle axis, less 1.
        flatness: ratio of a dome's height to its shorter half axis.
        exponent: exponent of the outline's superellipse; 2 is round, more is squarer.
        roughness: amplitude of the outline's wobble, share of the radius.
        facets: mean number of flat faces that cut a grain; none for a pebble, many for rubble.
        dome: exponent of the profile; 2 is a ball, more is a table with steep sides.
    """

    aspect: float
    flatness: float
    exponent: float
    roughness: float
    facets: float
    dome: float

    @classmethod
    def draw(cls, rng: Generator) -> Shape:
        """Draws a shape, from pebbles to rubble."""
        return cls(
            aspect=rng.uniform(0.15, 0.6),
            flatness=rng.uniform(0.35, 0.95),
            exponent=rng.uniform(2.0, 2.8),
            roughness=rng.uniform(0, 0.06),
            facets=rng.choice([0.0, 1.0, 3.0, 6.0]) * rng.uniform(0.5, 1.5),
            dome=rng.uniform(1.9, 3.5),
        )


def drop(
    rng: Generator, diameters: NDArray[np.float64], shape: Shape, ground: FloatMap, sink: tuple[float, float]
) -> Relief:
    """Drops grains on a ground, one after the other.

    Args:
        rng: source of all randomness.
        diameters: diameters of the grains in the order of their fall, px.
        shape: shape of the grains.
        ground: H × W, heights, px.
        sink: range of the share of its height by which a grain sinks into the surface under it.

    Returns:
        The surface.
    """
    height, width = ground.shape
    surface, labels = ground.copy(), np.zeros((height, width), np.int32)
    own = np.zeros((height, width, 2), np.float32)
    areas = np.zeros(len(diameters) + 1, np.int64)
    for label, diameter in enumerate(diameters, start=1):
        aspect = 1 + abs(rng.normal(0, shape.aspect))
        a, b = 0.5 * diameter * np.sqrt(aspect), 0.5 * diameter / np.sqrt(aspect)
        cy, cx = rng.uniform(-0.05, 1.05) * height, rng.uniform(-0.05, 1.05) * width
        reach = int(np.ceil(1.35 * a)) + 1
        y0, y1 = max(0, int(cy) - reach), min(height, int(cy) + reach + 1)
        x0, x1 = max(0, int(cx) - reach), min(width, int(cx) + reach + 1)
        if y1 - y0 < 2 or x1 - x0 < 2:
            continue
        y, x = np.arange(y0, y1, dtype=np.float32)[:, None] - cy, np.arange(x0, x1, dtype=np.float32)[None] - cx
        angle = rng.uniform(0, np.pi)
        u = (np.cos(angle) * x + np.sin(angle) * y) / a
        v = (-np.sin(angle) * x + np.cos(angle) * y) / b
        theta = np.arctan2(v, u)
        wobble = np.ones_like(theta)
        for k in (2, 3, 5, 9):
            amount = np.float32(2 * shape.roughness * rng.normal() / k)
            wobble += amount * np.cos(k * theta + np.float32(rng.uniform(0, 6.28)))
        exponent = max(1.8, shape.exponent + rng.normal(0, 0.25))
        radius = (np.abs(u) ** exponent + np.abs(v) ** exponent) ** (1 / exponent) / np.maximum(wobble, 0.3)
        for _ in range(rng.poisson(shape.facets)):  # a plane, upright or leaning, cuts off a piece
            face = rng.uniform(0, 2 * np.pi)
            away = (np.float32(np.cos(face)) * u + np.float32(np.sin(face)) * v) / np.float32(rng.uniform(0.6, 1.0))
            radius = np.maximum(radius, away)
        inside = radius < 1
        count = int(np.count_nonzero(inside))
        if count < 4:
            continue
        dome = max(1.7, shape.dome + rng.normal(0, 0.4))
        thick = b * shape.flatness * np.exp(rng.normal(0, 0.15))
        cap = thick * np.clip(1 - radius**dome, 0, 1) ** (1 / dome)
        # Pebbles lie askew, so the top is not level.
        cap = cap + inside * thick * (rng.normal(0, 0.18) * u + rng.normal(0, 0.18) * v)
        window = surface[y0:y1, x0:x1]
        rests = np.quantile(window[inside][:: max(1, count // 200)], rng.uniform(0.4, 0.8))
        top = rests - rng.uniform(*sink) * thick + cap
        higher = inside & (top > window)
        window[higher] = top[higher]
        labels[y0:y1, x0:x1][higher] = label
        own[y0:y1, x0:x1][higher] = np.stack([u, v], axis=-1)[higher]
        areas[label] = count
    return Relief(labels, surface, own, areas)


def fill_gaps(
    rng: Generator, relief: Relief, diameters: NDArray[np.float64], shape: Shape, *, ground: FloatMap, pile: float
) -> Relief:
    """Strews small stones over the ground, hundreds at a time. Larger stones stay visible where they are higher.

    Unlike in `drop`, a stone does not rest on the stones under it: it lies on the ground, or up to `pile` of its
    diameter above. That looks like gravel between boulders, and takes milliseconds.

    Args:
        rng: source of all randomness.
        relief: surface of the larger stones; changed in place.
        diameters: diameters of the small stones, px.
        shape: shape of the small stones.
        ground: H × W, heights of the ground, px.
        pile: greatest height of a stone above the ground, in diameters.

    Returns:
        The surface with the small stones, whose labels follow those of the larger ones.
    """
    height, width = ground.shape
    surface, labels = relief.height.ravel(), relief.labels.ravel()
    own = relief.own.reshape(-1, 2)
    first = len(relief.areas)
    areas = np.concatenate([relief.areas, np.zeros(len(diameters), np.int64)])
    order = np.argsort(diameters)
    windows = np.cumsum((2.5 * diameters[order]) ** 2)  # stones are done in groups whose arrays fit into the cache
    for some in np.split(order, np.nonzero(np.diff(windows // 200_000))[0] + 1):
        n = len(some)
        aspect = 1 + np.minimum(np.abs(rng.normal(0, shape.aspect, (n, 1, 1))), 1.5)
        size = diameters[some][:, None, None]
        a, b = 0.5 * size * np.sqrt(aspect), 0.5 * size / np.sqrt(aspect)
        centre = rng.uniform(-0.02, 1.02, (n, 2, 1, 1)) * np.array([height, width])[:, None, None]
        reach = np.arange(-int(np.ceil(a.max())) - 1, int(np.ceil(a.max())) + 2)
        rows, columns = centre[:, 0].astype(int) + reach[None, :, None], centre[:, 1].astype(int) + reach[None, None]
        y, x = (rows - centre[:, 0]).astype(np.float32), (columns - centre[:, 1]).astype(np.float32)
        angle = rng.uniform(0, np.pi, (n, 1, 1))
        c, s = np.cos(angle), np.sin(angle)
        u = (c / a).astype(np.float32) * x + (s / a).astype(np.float32) * y
        v = (c / b).astype(np.float32) * y - (s / b).astype(np.float32) * x
        exponent = np.float32(max(1.8, shape.exponent + rng.normal(0, 0.25)))
        radius = (np.abs(u) ** exponent + np.abs(v) ** exponent) ** (1 / exponent)
        for _ in range(min(6, rng.poisson(shape.facets + 1))):
            face, off = rng.uniform(0, 2 * np.pi, (n, 1, 1)), rng.uniform(0.65, 1.1, (n, 1, 1))
            over, along = (np.cos(face) / off).astype(np.float32), (np.sin(face) / off).astype(np.float32)
            radius = np.maximum(radius, over * u + along * v)
        inside = (radius < 1) & (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
        which = np.nonzero(inside)
        stone, radius, u, v = which[0], radius[which], u[which], v[which]
        pixel = (np.broadcast_to(rows, inside.shape)[which] * width) + np.broadcast_to(columns, inside.shape)[which]
        areas[first + some] = np.bincount(stone, minlength=n)
        thick = (b * shape.flatness * np.exp(rng.normal(0, 0.15, (n, 1, 1)))).ravel()[stone]
        askew = rng.normal(0, 0.2, (2, n))[:, stone]
        cap = np.sqrt(np.clip(1 - radius**2, 0, 1)) + askew[0] * u + askew[1] * v
        middle = np.clip(centre[:, :, 0, 0], 0, [height - 1, width - 1]).astype(int)
        lies = ground[middle[:, 0], middle[:, 1]] + rng.uniform(-0.15, pile, n) * diameters[some]
        top = (lies[stone] + thick * cap).astype(np.float32)
        higher = np.nonzero(top > surface[pixel])[0]
        higher = higher[np.argsort(top[higher])]  # the highest is written last
        pixel = pixel[higher]
        surface[pixel] = top[higher]
        labels[pixel] = first + some[stone[higher]]
        own[pixel] = np.stack([u, v], axis=-1)[higher]
    return Relief(labels.reshape(height, width), surface.reshape(height, width), own.reshape(height, width, 2), areas)


@dataclass(frozen=True)
class Light:
    """The light on each pixel of a surface.

    Attributes:
        sun: H × W, float32, 0…1, direct light, with shadows.
        sky: H × W, float32, 0…1, light from all sides, less where neighbours hide the sky.
        shine: H × W, float32, 0…1, mirror-like reflection of the sun.
    """

    sun: FloatMap
    sky: FloatMap
    shine: FloatMap


def illuminate(rng: Generator, relief: Relief, grain_px: float, elevation: float, gloss: float = 30.0) -> Light:
    """Lights a surface.

    Args:
        rng: source of the sun's azimuth.
        relief: surface to light.
        grain_px: typical grain diameter, px; shadows and hidden sky scale with it.
        elevation: elevation of the sun, degrees.
        gloss: exponent of the reflection; the larger, the smaller and sharper are the highlights.

    Returns:
        The light.
    """
    azimuth, tilt = rng.uniform(0, 2 * np.pi), np.deg2rad(elevation)
    east, south = np.cos(azimuth), np.sin(azimuth)
    height = ndimage.gaussian_filter(relief.height, 0.6)
    slope_y, slope_x = np.gradient(height)
    slope_y, slope_x = np.clip(slope_y, -3, 3), np.clip(slope_x, -3, 3)
    length = np.sqrt(1 + slope_x**2 + slope_y**2)
    facing = (-slope_x * east * np.cos(tilt) - slope_y * south * np.cos(tilt) + np.sin(tilt)) / length
    lit = np.ones_like(height)
    reach = min(2.5 * grain_px, 120.0)
    steps = np.unique(np.geomspace(1.5, reach, 14).round().astype(int))
    for step in steps:
        dy, dx = round(step * south), round(step * east)
        blocker = shifted(height, dy, dx) - np.float32(np.hypot(dy, dx) * np.tan(tilt))
        lit = np.minimum(lit, np.clip(1 - (blocker - height) / (0.04 * grain_px + 1), 0, 1))
    lit = ndimage.gaussian_filter(lit, 0.5)
    sky = np.ones_like(height)
    for share, weight in ((0.12, 0.5), (0.35, 0.6), (0.9, 0.4)):
        scale = max(1.0, share * grain_px)
        hidden = np.clip((ndimage.gaussian_filter(height, scale) - height) / (1.2 * scale), 0, 1)
        sky *= 1 - weight * hidden
    halfway = np.array([east * np.cos(tilt), south * np.cos(tilt), 1 + np.sin(tilt)])
    halfway /= np.linalg.norm(halfway)
    mirror = (-slope_x * halfway[0] - slope_y * halfway[1] + halfway[2]) / length
    shine = np.clip(mirror, 0, 1) ** gloss * lit
    return Light(*(np.asarray(part, np.float32) for part in (np.clip(facing, 0, 1) * lit, sky, shine)))


def shifted(field: FloatMap, dy: int, dx: int) -> FloatMap:
    """Returns a field in which each pixel has the value dy rows and dx columns further on, or that of the edge."""
    height, width = field.shape
    rows = np.clip(np.arange(height) + dy, 0, height - 1)
    columns = np.clip(np.arange(width) + dx, 0, width - 1)
    return field[rows[:, None], columns[None]]


def gritty_ground(rng: Generator, height: int, width: int, grain_px: float, relief: float) -> FloatMap:
    """Draws the heights of sand or dirt, px, with grit much finer than the grains; H × W.

    Args:
        rng: source of all randomness.
        height: height of the image, px.
        width: width of the image, px.
        grain_px: typical grain diameter, px.
        relief: difference between high and low places, px.
    """
    coarse = layered_noise(rng, height, width, (2.5 * grain_px, grain_px, 0.4 * grain_px))
    fine = layered_noise(rng, height, width, (1.2, 2.5, 5.0), roughness=0.8)
    return np.asarray(0.35 * relief * coarse + rng.uniform(0.3, 1.0) * fine, np.float32)
