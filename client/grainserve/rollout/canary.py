"""Images tried on a new version before anything depends on it, and its answers held against the old version's."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grainserve.contract import validate_result
from grainserve.errors import GrainserveError, TorchServeBusy
from grainserve.images import image_bytes
from grainserve.result import Result
from grainserve.torchserve.inference import TorchServe

PATIENCE, PAUSE = 300.0, 0.5
"""Seconds for a queue to take a canary, under whatever load there is, and between two attempts."""


class CanaryFailed(GrainserveError):
    """A new version did not answer as it should."""

    code = "canary_failed"


@dataclass(frozen=True)
class Limits:
    """How far the answers of two versions may differ.

    Attributes:
        count: change of the number of grains, as a fraction of the old one.
        d50: change of D50 by area, as a fraction of the old one.
        agreement: least agreement of the label maps, 0 to 1; see `agreement`.
    """

    count: float = 0.2
    d50: float = 0.1
    agreement: float = 0.8


@dataclass(frozen=True)
class Comparison:
    """Two answers about one image.

    Attributes:
        name: which image.
        counts: grains found by the old version and by the new one.
        d50: in the result's unit, of both; NaN without grains.
        agreement: of the label maps.
    """

    name: str
    counts: tuple[int, int]
    d50: tuple[float, float]
    agreement: float

    def breaks(self, limits: Limits) -> list[str]:
        """In words, which limits are passed."""
        count = abs(self.counts[1] - self.counts[0]) / max(1, self.counts[0])
        said = []
        if count > limits.count:
            said.append(f"{self.counts[0]} grains became {self.counts[1]} (limit {limits.count:.0%})")
        if any(map(math.isfinite, self.d50)):
            d50 = abs(self.d50[1] - self.d50[0]) / self.d50[0] if all(map(math.isfinite, self.d50)) else math.inf
            if d50 > limits.d50:
                said.append(f"D50 {self.d50[0]:.3g} became {self.d50[1]:.3g} (limit {limits.d50:.0%})")
        if self.agreement < limits.agreement:
            said.append(f"label maps agree to {self.agreement:.2f} (limit {limits.agreement:.2f})")
        return [f"{self.name}: {each}" for each in said]


def ask(
    torchserve: TorchServe, model: str, version: str, image: bytes, *, name: str, options: dict[str, Any] | None = None
) -> Result:
    """One answer of one version, with masks, checked against the wire contract. A full queue is waited for.

    Raises:
        CanaryFailed: there is none, or it breaks the contract, or another version gave it.
    """
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            answer = torchserve.predict(model, version, image, {**(options or {}), "mask_format": "rle"}, "canary")
            validate_result(answer)
        except TorchServeBusy as error:
            if time.monotonic() > deadline:
                raise CanaryFailed(
                    f"{model} {version} had no place for {name} for {PATIENCE:.0f} s: {error}"
                ) from error
            time.sleep(PAUSE)
        except GrainserveError as error:
            raise CanaryFailed(f"{model} {version} on {name}: {error}") from error
        else:
            break
    said = answer["metadata"].get("version")
    if said != version:
        raise CanaryFailed(f"{model} {version} on {name}: its answer is signed by version {said}")
    return Result(answer)


def compare(name: str, old: Result | dict[str, Any], new: Result) -> Comparison:
    """Holds two answers about the same image against each other."""
    old = Result(old) if isinstance(old, dict) else old
    return Comparison(
        name=name,
        counts=(len(old.grains), len(new.grains)),
        d50=(old.percentile(50, "area"), new.percentile(50, "area")),
        agreement=agreement(old.label_map, new.label_map),
    )


def agreement(a: NDArray[np.int32], b: NDArray[np.int32]) -> float:
    """How far two label maps of one image show the same grains.

    Each grain has the IoU of the grain that fits it best in the other map; their mean weighted by area, of the map
    that comes off worse. 1: the same grains under whatever numbers; 0: none in common, or grains in one map only.

    Args:
        a: H × W, integers, 0 is background.
        b: the same shape.
    """
    if a.shape != b.shape:
        return 0.0
    if not a.any() and not b.any():
        return 1.0
    pairs, overlap = np.unique(np.stack([a.ravel(), b.ravel()]), axis=1, return_counts=True)
    area_a, area_b = np.bincount(a.ravel()), np.bincount(b.ravel())
    both = (pairs[0] > 0) & (pairs[1] > 0)
    first, second, overlap = pairs[0][both], pairs[1][both], overlap[both]
    iou = overlap / (area_a[first] + area_b[second] - overlap)

    def mean(labels: NDArray[np.int32], area: NDArray[np.intp]) -> float:
        best = np.zeros(len(area))
        np.maximum.at(best, labels, iou)
        total = area[1:].sum()
        return float((best[1:] * area[1:]).sum() / total) if total else 0.0

    return min(mean(first, area_a), mean(second, area_b))


def read_images(files: list[Path]) -> list[tuple[str, bytes]]:
    """Canary images with their names.

    Raises:
        InvalidImage: no such file, or an empty one.
    """
    return [(file.name, image_bytes(file)[0]) for file in files]
