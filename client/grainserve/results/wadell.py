"""Roundness and sphericity of a grain by circles: largest inscribed, smallest enclosing, and one in each corner.

Wadell (1932) measured outlines with a template of circles; Zheng & Hryciw (2015) say how a computer may. As they do, an
outline is smoothed by local regression, replaced by key points, and a corner is a convex run of key points that a
circle fits from inside. Which circles are tried, and in which order, is ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from grainserve.results.masks import Window
from grainserve.results.outlines import polygons

# Imported where it is used: only who asks for corners waits for it.
if TYPE_CHECKING:
    from scipy.spatial import KDTree

Floats = NDArray[np.float64]

LEAST_RADIUS = 15.0
"""px; inside a smaller grain even a sharp corner is read as a rounded one."""

SMOOTHED = (8.0, 0.02)
"""Reach of the local regression along the outline, to each side: in px, and as a share of the perimeter at least."""

TOLERANCE = (0.3, 0.006)
"""Limits by which a circle may reach out of an outline: in px, and at least this share of the inscribed radius."""

KEY_TOLERANCE = 2 / 3
"""Limit of the distance of an outline from the chord of two key points, as a share of the circles' tolerance."""

MOST_POINTS = 1000
"""Points of an outline; they lie 1 px apart, or farther on longer ones."""


@dataclass(frozen=True)
class Circles:
    """The circles of one grain, px.

    Attributes:
        inscribed: radius of the largest circle inside.
        enclosing: radius of the smallest circle around.
        corners: radii of the circles in the corners, none larger than the inscribed one.
    """

    inscribed: float
    enclosing: float
    corners: tuple[float, ...]

    @property
    def sphericity(self) -> float:
        """Root of the inscribed over the enclosing diameter (Riley, 1941)."""
        return float(np.sqrt(self.inscribed / self.enclosing))

    @property
    def roundness(self) -> float | None:
        """Mean radius of the corners over the inscribed one (Wadell, 1932); None where there is no corner."""
        return float(np.mean(self.corners)) / self.inscribed if self.corners else None


def circles(window: Window) -> Circles | None:
    """Finds the circles of a mask's largest piece, holes filled; None where it is too small for them."""
    from scipy import ndimage  # noqa: PLC0415
    from scipy.spatial import KDTree  # noqa: PLC0415

    pieces, _ = ndimage.label(ndimage.binary_fill_holes(window.patch))
    areas = np.bincount(pieces.ravel())[1:]
    if not areas.size:
        return None
    piece = pieces == areas.argmax() + 1
    depth = ndimage.distance_transform_edt(np.pad(piece, 1))
    if depth.max() < LEAST_RADIUS - 1:  # quickly; the outline decides
        return None
    y, x = np.unravel_index(depth.argmax(), depth.shape)
    ((ring, *_),) = polygons(Window(0, 0, piece))
    outline = _smoothed(np.array(ring, np.float64))
    tree = KDTree(outline)
    inscribed = _inscribed(tree, np.array([x - 0.5, y - 0.5]))
    if inscribed < LEAST_RADIUS:
        return None
    return Circles(inscribed, _enclosing(outline), tuple(_corners(outline, tree, inscribed)))


def _smoothed(ring: Floats) -> Floats:
    """Smooths a ring of pixel corners; returns n × 2 points at equal distances, which follow in the ring's order.

    Each is the value of a quadratic in the distance along the outline, fitted to its neighbours with tricube weights
    (LOESS; Cleveland, 1979): unlike a mean, it does not shrink what is curved. At equal distances that is one kernel.
    """
    sides = np.roll(ring, -1, axis=0) - ring
    lengths = np.abs(sides).sum(axis=1).astype(int)
    along = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths) + 0.5
    middles = np.repeat(ring, lengths, axis=0) + np.repeat(sides / lengths[:, None], lengths, axis=0) * along[:, None]
    closed = np.concatenate([middles, middles[:1]])
    places = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(closed, axis=0).T))])
    n = min(round(places[-1]), MOST_POINTS)
    step = places[-1] / n
    even = np.stack([np.interp(np.arange(n) * step, places, each) for each in closed.T], axis=1)
    reach = max(SMOOTHED[0], SMOOTHED[1] * places[-1])
    half = int(reach / step)
    away = np.arange(-half, half + 1) * step / reach
    weights = (1 - np.abs(away) ** 3) ** 3
    terms = np.stack([np.ones_like(away), away**2])  # by symmetry the linear term adds nothing
    kernel = np.linalg.solve(weights * terms @ terms.T, weights * terms)[0]
    around = np.concatenate([even[-half:], even, even[:half]])
    return np.stack([np.convolve(each, kernel, "valid") for each in around.T], axis=1)


def _inscribed(tree: KDTree, centre: Floats) -> float:
    """Radius of the largest circle inside the outline, sought from its centre to a pixel: it moves while it grows."""
    ways = np.array([(x, y) for x in (-1, 0, 1) for y in (-1, 0, 1)])
    step, radius = 0.5, 0.0
    while step > 0.01:
        radii = tree.query(centre + step * ways)[0]
        if radii.max() > radius:
            radius, centre = float(radii.max()), centre + step * ways[radii.argmax()]
        else:
            step /= 2
    return radius


def _enclosing(points: Floats) -> float:
    """Radius of the smallest circle around points: that of two or three of them (Elzinga & Hearn, 1972).

    The circle of a few points takes in the point farthest out, until none is out.
    """
    few = [points[0], points[len(points) // 2]]
    while True:
        found = [_through(some) for number in (2, 3) for some in combinations(few, number)]
        around = [each for each in found if max(np.hypot(*(point - each[0])) for point in few) < each[1] + 1e-7]
        centre, radius, few = min(around, key=lambda each: each[1])
        away = np.hypot(*(points - centre).T)
        if away.max() < radius + 1e-6:
            return radius
        few = [*few, points[away.argmax()]]


def _through(points: Sequence[Floats]) -> tuple[Floats, float, list[Floats]]:
    """Centre and radius of the circle through two points, ends of a diameter, or three; three on a line have none."""
    sides = np.array(points[1:]) - points[0]
    middle = np.linalg.lstsq(sides, (sides**2).sum(axis=1) / 2, rcond=None)[0]
    return points[0] + middle, float(np.hypot(*middle)), list(points)


def _corners(outline: Floats, tree: KDTree, inscribed: float) -> list[float]:
    """Radii of the circles in the corners.

    A circle is fitted to the outline between every two key points that have only convex ones between them, and one at
    least. It is a corner's if it is not larger than the inscribed circle and lies inside the outline. Of those that
    share a key point, the one of the longest stretch is taken; what else lies near its circle is the same corner.
    """
    tolerance = max(TOLERANCE[0], TOLERANCE[1] * inscribed)
    keys = _key_points(outline, KEY_TOLERANCE * tolerance)
    n, m = len(outline), len(keys)
    ahead = np.roll(outline[keys], -1, axis=0) - outline[keys]
    behind = np.roll(ahead, 1, axis=0)
    concave = np.flatnonzero(np.tile(behind[:, 0] * ahead[:, 1] - behind[:, 1] * ahead[:, 0] <= 0, 2))
    ends = np.append(concave, 2 * m)[np.searchsorted(concave, np.arange(m))]
    pairs = [(i, j) for i, end in enumerate(ends.tolist()) for j in range(i + 2, min(end, i + m))]
    if not pairs:
        return []
    first, last = np.array(pairs).T
    places = np.concatenate([keys, keys + n])
    start, stop = places[first], places[last] + 1
    centres, radii = _fitted(outline, start, stop)
    fits = radii <= inscribed + tolerance
    fits[fits] = tree.query(centres[fits])[0] >= radii[fits] - tolerance
    taken = np.zeros(m, bool)
    corners = []
    for one in np.flatnonzero(fits)[np.argsort(-(stop - start)[fits], kind="stable")]:
        covered = np.arange(first[one], last[one] + 1) % m
        if not taken[covered].any():
            taken[covered] = True
            taken |= np.abs(np.hypot(*(outline[keys] - centres[one]).T) - radii[one]) < 2 * tolerance
            corners.append(min(float(radii[one]), inscribed))
    return corners


def _key_points(outline: Floats, tolerance: float) -> NDArray[np.intp]:
    """Indices of points whose chords are nowhere farther from the outline than the tolerance (Ramer, 1972)."""
    n = len(outline)
    twice = np.concatenate([outline, outline])
    first = int(np.hypot(*(outline - outline.mean(axis=0)).T).argmax())
    second = int(np.hypot(*(outline - outline[first]).T).argmax())
    low, high = sorted((first, second))
    keys = {low, high}
    chords = [(low, high), (high, low + n)]
    while chords:
        start, end = chords.pop()
        x, y = twice[end] - twice[start]
        between = twice[start + 1 : end] - twice[start]
        off = np.abs(between @ (-y, x)) / np.hypot(x, y)
        if off.size and off.max() > tolerance:
            middle = start + 1 + int(off.argmax())
            keys.add(middle % n)
            chords += [(start, middle), (middle, end)]
    return np.array(sorted(keys))


def _fitted(outline: Floats, start: NDArray[np.intp], stop: NDArray[np.intp]) -> tuple[Floats, Floats]:
    """Centres (k × 2) and radii (k) of the least-squares circles (Kåsa, 1976) of k stretches of an outline."""
    middle = outline.mean(axis=0)
    x, y = np.concatenate([outline, outline]).T - middle[:, None]
    z = x**2 + y**2
    sums = np.cumsum([x, y, z, x * x, y * y, x * y, x * z, y * z], axis=1)
    sums = np.pad(sums, ((0, 0), (1, 0)))
    x_, y_, z_, xx, yy, xy, xz, yz = (sums[:, stop] - sums[:, start]) / (stop - start)
    xx, yy, xy, xz, yz = xx - x_**2, yy - y_**2, xy - x_ * y_, (xz - x_ * z_) / 2, (yz - y_ * z_) / 2
    determinant = xx * yy - xy**2
    centres = np.stack([xz * yy - yz * xy, yz * xx - xz * xy]) / determinant
    radii = np.sqrt(z_ - 2 * (centres[0] * x_ + centres[1] * y_) + (centres**2).sum(axis=0))
    return centres.T + middle, radii
