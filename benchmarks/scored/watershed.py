"""Grains without a neural network: a threshold or a gradient, then a watershed.

There are two textbook recipes with parameters; the benchmark tunes both on training images and shows the better one.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.color import rgb2gray
from skimage.feature import peak_local_max
from skimage.filters import gaussian, scharr, threshold_local
from skimage.morphology import remove_small_objects
from skimage.segmentation import relabel_sequential, watershed


@dataclass(frozen=True)
class Recipe:
    """A recipe to find grains.

    Attributes:
        method: `distance`: local threshold, then the watershed of the distance to its edge; `gradient`: watershed of
            the gradient from where it is small, then the threshold to tell grains from ground.
        smoothing: standard deviation of the image's smoothing, px.
        block: neighbourhood of the local threshold, share of the image's longer side.
        spacing: least distance of two grains' centres, px.
        bright: whether grains are brighter than the ground between them; otherwise they are darker.
    """

    method: str
    smoothing: float
    block: float
    spacing: int
    bright: bool

    def find(self, image: NDArray[np.uint8]) -> NDArray[np.int32]:
        """Finds the grains of an image (H × W × 3, uint8); returns a label map, H × W, int32."""
        grey = gaussian(rgb2gray(image), self.smoothing)
        block = round(self.block * max(grey.shape)) // 2 * 2 + 1
        over = grey > threshold_local(grey, block, method="gaussian")
        mask = remove_small_objects(ndimage.binary_fill_holes(over == self.bright), max_size=20)
        if self.method == "distance":
            depth = gaussian(ndimage.distance_transform_edt(mask), 1)
            middles = peak_local_max(depth, min_distance=self.spacing, labels=mask.astype(int), exclude_border=False)
            landscape = -depth
        else:
            landscape = scharr(grey)
            calm = -gaussian(landscape, self.spacing / 3)
            middles = peak_local_max(calm, min_distance=self.spacing, labels=mask.astype(int), exclude_border=False)
        markers = np.zeros(grey.shape, np.int32)
        markers[tuple(middles.T)] = np.arange(1, len(middles) + 1)
        found = watershed(landscape, markers, mask=mask)
        sizes = np.bincount(found.ravel())
        found[sizes[found] < 20] = 0
        return np.asarray(relabel_sequential(found)[0], np.int32)


def recipes() -> Iterator[Recipe]:
    """Yields all combinations to try."""
    for method, smoothing, block, spacing, bright in itertools.product(
        ("distance", "gradient"), (1.0, 2.0, 3.5), (0.06, 0.15, 0.4), (5, 9, 16), (True, False)
    ):
        yield Recipe(method, smoothing, block, spacing, bright)
