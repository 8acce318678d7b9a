"""A sample: the grains of one or many images, pooled."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from grainserve.errors import MixedScales, NoResults
from grainserve.results import edge_correction as correction
from grainserve.results.data import ResultData
from grainserve.results.size_curve import Weighting

Floats = NDArray[np.float64]

Size = Literal["diameter", "b-axis"]
"""What a grain's size is: the equivalent diameter, or the minor axis of the ellipse with its second moments."""

_KEYS: dict[Size, str] = {"diameter": "equivalentDiameter", "b-axis": "minorAxisLength"}


@dataclass(frozen=True)
class Sample:
    """The n grains of the m images of one sample.

    Images may differ in size and scale, but either all have a scale or none has. Every figure of a sample is computed
    from its pooled grains, never as a mean over images.

    Attributes:
        name: name of the sample.
        unit: unit of lengths: `µm` where every image has a scale, `px` where none has.
        images: m names of images, by default their ids.
        frames: m × 2, width and height of each image's measured frame, in `unit`.
        image: n, index into `images`.
        diameter: n, size in `unit`: what `size` says; NaN where a grain has none.
        area: n, in `unit`².
        inclusion: n, probability that a frame placed at random over the grain holds it whole; 0 for a grain as long as
            its frame.
        touches_edge: n, whether the frame cuts the grain.
        below_detection: n, whether the grain is under 10 px across, where diameters have low precision.
        orientation: n, degrees counter-clockwise from +x in [0, 180); NaN where a grain has no clear major axis.
        aspect_ratio: n, major over minor axis; NaN where a grain has none.
        um_per_px: m, side of each image's pixels in `unit`; 1 without a scale.
        results: m results that the grains come from.
        size: what a grain's size is.
        grid: whether only the grains under a grid's nodes are in the sample.
    """

    name: str
    unit: str
    images: tuple[str, ...]
    frames: Floats
    image: NDArray[np.int64]
    diameter: Floats
    area: Floats
    inclusion: Floats
    touches_edge: NDArray[np.bool_]
    below_detection: NDArray[np.bool_]
    orientation: Floats
    aspect_ratio: Floats
    um_per_px: tuple[float, ...]
    results: tuple[ResultData, ...] = ()
    size: Size = "diameter"
    grid: bool = False

    @classmethod
    def of(
        cls,
        results: Iterable[ResultData],
        name: str | None = None,
        images: Sequence[str] | None = None,
        size: Size = "diameter",
    ) -> Sample:
        """Pools the grains of images.

        Args:
            results: one or more results of the same sample.
            name: name of the sample; None takes the first image's name.
            images: names of the images; None takes their ids.
            size: what a grain's size is. A grain without a minor axis over 0 has no b-axis.

        Raises:
            MixedScales: some results have a scale and some have none.
            NoResults: no result is given.
        """
        pooled = tuple(results)
        if not pooled:
            raise NoResults()
        names = tuple(images or (result.image_id for result in pooled))
        scales = [result.um_per_px for result in pooled]
        scaled = [scale for scale in scales if scale is not None]
        if scaled and len(scaled) < len(pooled):
            raise MixedScales([result.image_id for result in pooled if result.um_per_px is None])
        per_px = np.array([1.0 if scale is None else scale for scale in scales])
        frames = np.array([(result.frame.width, result.frame.height) for result in pooled], dtype=np.float64)
        image = np.repeat(np.arange(len(pooled)), [len(result.grains) for result in pooled])
        grains = [grain.properties for result in pooled for grain in result.grains]
        boxes = np.array(
            [(each["boundingBox"]["width"], each["boundingBox"]["height"]) for each in grains], dtype=np.float64
        ).reshape(-1, 2)

        def column(key: str) -> Floats:
            return np.array([each[key] for each in grains], dtype=np.float64)

        sizes = column(_KEYS[size]) * per_px[image]
        return cls(
            name=names[0] if name is None else name,
            unit="µm" if scaled else "px",
            images=names,
            frames=frames * per_px[:, None],
            image=image,
            diameter=np.where(sizes > 0, sizes, np.nan),
            area=column("area") * per_px[image] ** 2,
            inclusion=correction.inclusion(boxes, frames[image]),
            touches_edge=np.array([each["touchesEdge"] for each in grains], dtype=bool),
            below_detection=np.array([each["lowPrecision"] for each in grains], dtype=bool),
            orientation=column("orientationFromX"),
            aspect_ratio=column("aspectRatio"),
            um_per_px=tuple(float(each) for each in per_px),
            results=pooled,
            size=size,
        )

    def moved(self, scale: float = 1.0, outline: float = 0.0) -> Sample:
        """Returns the sample as it were with another scale, or other outlines.

        Args:
            scale: what every length is multiplied by.
            outline: px that outlines lie further out; no grain gets smaller than a pixel by it, unless it is.
        """
        px = np.array(self.um_per_px)[self.image]
        across = np.sqrt(4 * self.area / np.pi)

        def grown(sizes: Floats) -> Floats:
            return np.asarray(np.maximum(sizes + 2 * outline * px, np.minimum(sizes, px)) * scale)

        return replace(
            self,
            frames=self.frames * scale,
            diameter=grown(self.diameter),
            area=np.pi / 4 * grown(across) ** 2,
            um_per_px=tuple(each * scale for each in self.um_per_px),
        )

    def __len__(self) -> int:
        return self.diameter.size

    @property
    def coverage(self) -> float:
        """Share of the frames that grains cover."""
        return float(self.area.sum() / self.frames.prod(axis=1).sum())

    def stands_for(self, *, edge_correction: bool) -> Floats:
        """Returns how many grains of the population each of the n grains stands for; 0 leaves a grain out.

        Args:
            edge_correction: whether to correct for the frame; see `results.edge_correction.stands_for`.
        """
        return correction.stands_for(self.diameter, self.touches_edge, self.inclusion, edge_correction=edge_correction)

    def weights(self, weighting: Weighting, *, edge_correction: bool) -> Floats:
        """Returns what each of the n grains counts: how many it stands for, multiplied by its area for `area`.

        Args:
            weighting: `number` or `area`.
            edge_correction: whether to correct for the frame, as in `stands_for`.
        """
        counts = self.stands_for(edge_correction=edge_correction)
        return counts if weighting == "number" else counts * self.area
