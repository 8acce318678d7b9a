"""Images with known grains, and segmenters with known faults that see one tile at a time."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy import ndimage

from grainserve.results.frame import Box
from grainserve.results.masks import Window, encode_rle
from grainserve.tiles.layout import Layout
from grainserve.tiles.merge import Sighting
from tests.unit.client.made import make_properties, make_result

Segmenter = Callable[[Box], list[tuple[Window, float]]]
"""A function from a tile to masks in the image and their scores."""


@cache
def packing(side: int, seed: int = 0, median: float = 34.0, spread: float = 0.4, largest: float = 110.0) -> Truth:
    """Draws ellipses of log-normal sizes at free random positions; side × side px."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((side, side), np.int32)
    label = 0
    count = int(0.45 * side**2 / (median**2 * math.exp(2 * spread**2) * math.pi / 4))
    sizes = np.clip(median * np.exp(spread * rng.standard_normal(count)), 8, largest / 1.3)
    for diameter in np.sort(sizes)[::-1].tolist():
        aspect, angle = rng.uniform(1, 1.6), rng.uniform(0, math.pi)
        patch = _ellipse(diameter * math.sqrt(aspect) / 2, diameter / math.sqrt(aspect) / 2, angle)
        reach = patch.shape[0] // 2
        for _ in range(12):
            x, y = rng.integers(-reach // 2, side + reach // 2, 2).tolist()
            box = slice(max(0, y - reach), y + reach + 1), slice(max(0, x - reach), x + reach + 1)
            cut = patch[max(0, reach - y) :, max(0, reach - x) :][: side - box[0].start, : side - box[1].start]
            if cut.any() and not (labels[box][: cut.shape[0], : cut.shape[1]][cut] > 0).any():
                label += 1
                labels[box][cut] = label
                break
    return Truth(labels)


def _ellipse(major: float, minor: float, angle: float) -> NDArray[np.bool_]:
    reach = math.ceil(major)
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    u, v = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
    return np.asarray((u / major) ** 2 + (v / minor) ** 2 <= 1)


@dataclass(frozen=True, eq=False)
class Truth:
    """A label map with labels 1…n, in which each grain is one piece."""

    labels: NDArray[np.int32]

    @property
    def windows(self) -> list[Window]:
        """Masks of all grains."""
        return self.within(Box(0, 0, self.labels.shape[1], self.labels.shape[0]))

    @cache  # noqa: B019 - as many as there are tiles, and no longer than the tests
    def within(self, tile: Box) -> list[Window]:
        """Returns the pieces of grains in a tile, as a segmenter without faults sees them."""
        found = []
        labels = self.labels[tile.slices]
        for label, box in enumerate(ndimage.find_objects(labels), start=1):
            if box is not None:
                pieces, _ = ndimage.label(labels[box] == label)
                for piece, part in enumerate(ndimage.find_objects(pieces), start=1):
                    x, y = (tile.x + box[1].start + part[1].start, tile.y + box[0].start + part[0].start)
                    found.append(Window(x, y, pieces[part] == piece))
        return found

    def oracle(self, tile: Box) -> list[tuple[Window, float]]:
        """Finds every grain exactly."""
        return [(window, 0.9) for window in self.within(tile)]

    def faulty(self, seed: int, *, missed: float = 0.12, halved: float = 0.06, invented: float = 0.05) -> Segmenter:
        """Makes a segmenter that errs in each tile: outlines a pixel off, grains missed, cut in two, or invented."""

        def segment(tile: Box) -> list[tuple[Window, float]]:
            rng = np.random.default_rng([seed, tile.x, tile.y])
            found = []
            for window in self.within(tile):
                if rng.random() >= missed:
                    parts = _halves(window) if rng.random() < halved else [window]
                    found += [_moved(rng, each, tile) for each in parts]
            for _ in range(rng.poisson(invented * len(found))):
                reach = int(rng.integers(4, 20))
                x, y = (int(rng.integers(0, length - 2 * reach - 1)) for length in (tile.width, tile.height))
                found.append(Window(tile.x + x, tile.y + y, _ellipse(reach, reach * 0.8, 0.0)))
            return [(_cropped(window), float(rng.uniform(0.5, 1))) for window in found if window.patch.any()]

        return segment


def sightings(layout: Layout, segment: Segmenter) -> list[Sighting]:
    """Returns a segmenter's sightings in each tile."""
    return [
        Sighting(index, window, {"score": score})
        for index, tile in enumerate(layout.tiles)
        for window, score in segment(tile)
    ]


def diameters(windows: list[Window]) -> NDArray[np.float64]:
    """Returns equivalent diameters, px."""
    return np.sqrt([4 * window.area / math.pi for window in windows])


def _halves(window: Window) -> list[Window]:
    middle = window.patch.shape[1] // 2
    if not middle:
        return [window]
    right = Window(window.x + middle, window.y, window.patch[:, middle:])
    return [Window(window.x, window.y, window.patch[:, :middle]), right]


def _moved(rng: Generator, window: Window, tile: Box) -> Window:
    """Returns the mask a pixel larger or smaller and shifted by a pixel, within its tile."""
    padded = np.pad(window.patch, 2)
    change = int(rng.integers(-1, 2))
    if change:
        padded = (ndimage.binary_dilation if change > 0 else ndimage.binary_erosion)(padded)
    x, y = window.x - 2 + int(rng.integers(-1, 2)), window.y - 2 + int(rng.integers(-1, 2))
    left, top = max(0, tile.x - x), max(0, tile.y - y)
    cut = padded[top : tile.y + tile.height - y, left : tile.x + tile.width - x]
    return Window(x + left, y + top, cut)


def _cropped(window: Window) -> Window:
    rows, columns = np.flatnonzero(window.patch.any(axis=1)), np.flatnonzero(window.patch.any(axis=0))
    patch = window.patch[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return Window(window.x + int(columns[0]), window.y + int(rows[0]), patch)


def tile_result(bright: NDArray[np.bool_], image_id: str, um_per_px: float | None) -> dict[str, Any]:
    """Returns the answer of a TorchServe whose model finds each bright piece of a tile."""
    height, width = bright.shape
    result = make_result(image_id, um_per_px=um_per_px, masks=[])
    result["metadata"]["image"] |= {"width": width, "height": height}
    for number, window in enumerate(Truth(ndimage.label(bright)[0]).within(Box(0, 0, width, height)), start=1):
        properties = make_properties(window.patch, um_per_px)
        for name in ("boundingBox", "centroid"):
            properties[name] |= {"x": properties[name]["x"] + window.x, "y": properties[name]["y"] + window.y}
        # Relative to the tile's own frame, so wrong for the image.
        properties["touchesEdge"] = window.x == 0 or window.y == 0
        mask = encode_rle(window, height, width)
        grain = {"id": number, "class": "grain", "score": 0.9, "mask": mask, "properties": properties}
        result["segmentedObjects"].append(grain)
    return result
