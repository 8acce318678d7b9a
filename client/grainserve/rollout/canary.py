"""Asks a version about images, and compares the answers of a new version with those of the old one."""

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
"""Seconds to wait for a place in the queue under load, and between two attempts."""


class CanaryFailed(GrainserveError):
    """A version gave no valid answer, or one too different from the old version's."""

    code = "canary_failed"


@dataclass(frozen=True)
class Limits:
    """How far the answers of two versions may differ.

    Attributes:
        count: largest change of the number of grains, as a share of the old number.
        d50: largest change of D50 by area, not corrected for the frame, as a share of the old D50.
        agreement: least agreement of the label maps, 0 to 1; see `agreement`.
    """

    count: float = 0.2
    d50: float = 0.1
    agreement: float = 0.8


@dataclass(frozen=True)
class Comparison:
    """The differences between two answers about one image.

    Attributes:
        name: name of the image.
        counts: numbers of grains, of the old version and of the new one.
        d50: D50 by area, not corrected for the frame, in the result's unit, of the old version and of the new one; NaN
            without grains. Two answers are compared by all that they saw: one whole grain among cut ones would decide
            alone over a corrected D50.
        agreement: agreement of the label maps, 0 to 1; see `agreement`.
    """

    name: str
    counts: tuple[int, int]
    d50: tuple[float, float]
    agreement: float

    def breaks(self, limits: Limits) -> list[str]:
        """Describes in words each limit that is exceeded."""
        count = abs(self.counts[1] - self.counts[0]) / max(1, self.counts[0])
        said = []
        if count > limits.count:
            said.append(f"{self.counts[0]} grains became {self.counts[1]} (limit {limits.count:.0%})")
        if any(map(math.isfinite, self.d50)):
            d50 = abs(self.d50[1] - self.d50[0]) / self.d50[0] if all(map(math.isfinite, self.d50)) else math.inf
            if d50 > limits.d50:
                said.append(f"uncorrected D50 {self.d50[0]:.3g} became {self.d50[1]:.3g} (limit {limits.d50:.0%})")
        if self.agreement < limits.agreement:
            said.append(f"label maps agree to {self.agreement:.2f} (limit {limits.agreement:.2f})")
        return [f"{self.name}: {each}" for each in said]


def ask(
    torchserve: TorchServe, model: str, version: str, image: bytes, *, name: str, options: dict[str, Any] | None = None
) -> Result:
    """Asks one version about an image, with masks, and checks the answer against the wire contract.

    Waits up to `PATIENCE` while the queue is full.

    Args:
        torchserve: TorchServe to ask.
        model: name of the model.
        version: version to ask.
        image: bytes of the image.
        name: name of the image, for errors.
        options: options of the request; None takes the defaults.

    Raises:
        CanaryFailed: no answer came, it breaks the contract, or another version gave it.
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
    """Compares two answers about the same image.

    Args:
        name: name of the image.
        old: answer of the old version.
        new: answer of the new version.
    """
    old = Result(old) if isinstance(old, dict) else old
    return Comparison(
        name=name,
        counts=(len(old.grains), len(new.grains)),
        d50=(old.percentile(50, "area", edge_correction=False), new.percentile(50, "area", edge_correction=False)),
        agreement=agreement(old.label_map, new.label_map),
    )


def agreement(a: NDArray[np.int32], b: NDArray[np.int32]) -> float:
    """Measures how well two label maps of one image agree.

    Each grain gets the IoU with the grain of the other map that fits it best. The mean over a map is weighted by area,
    and the lower mean of the two maps counts.

    Args:
        a: H × W, int32; 0 is background.
        b: H × W, int32; 0 is background.

    Returns:
        1 for the same grains, whatever their numbers; 0 for no overlap, grains in one map only, or different shapes.
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
    """Reads canary images; returns their names and bytes.

    Raises:
        InvalidImage: a file is missing or empty.
    """
    return [(file.name, image_bytes(file)[0]) for file in files]
