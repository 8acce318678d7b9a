"""Tests of a new version before a swap: canary images, and a share of the images measured earlier."""

from __future__ import annotations

from pathlib import Path

from grainserve.jobs.store import JobStore
from grainserve.result import Result
from grainserve.rollout.canary import CanaryFailed, Comparison, Limits, ask, compare, read_images
from grainserve.rollout.shadow import Answered, sample
from grainserve.rollout.versions import Say
from grainserve.torchserve.inference import TorchServe


class Canaries:
    """The test with image files: the new version's answers must be valid and close to the old version's.

    Args:
        torchserve: TorchServe with both versions.
        files: files of the images.
        limits: how far the answers may differ.
        say: called with each finding.

    Raises:
        InvalidImage: a file is missing or empty.
    """

    def __init__(self, torchserve: TorchServe, files: list[Path], limits: Limits, say: Say) -> None:
        self._torchserve = torchserve
        self._images = read_images(files)
        self._limits = limits
        self._say = say
        self._before: dict[str, Result] = {}

    def prepare(self, model: str, old: str | None) -> None:
        """Asks the old version about the images.

        Raises:
            CanaryFailed: the old version cannot measure an image, so the image is no canary.
        """
        if old:
            self._before = {name: ask(self._torchserve, model, old, image, name=name) for name, image in self._images}

    def attempt(self, model: str, version: str) -> None:
        """Asks the new version about the images.

        Raises:
            CanaryFailed: an answer is not valid, or differs too much from the old version's.
        """
        found = []
        for name, image in self._images:
            answer = ask(self._torchserve, model, version, image, name=name)
            if name in self._before:
                found.append(compare(name, self._before[name], answer))
            else:
                self._say(f"canary {name}: {len(answer.grains)} grains")
        _judge("canary", found, self._limits, self._say)


class Shadow:
    """The test with a share of the images whose results are in the bucket.

    Args:
        torchserve: TorchServe with the new version.
        store: store of images and results.
        share: share of the results to draw, 0 to 1, as in `sample`.
        limits: how far the answers may differ.
        say: called with each finding.
    """

    def __init__(self, torchserve: TorchServe, store: JobStore, share: float, limits: Limits, say: Say) -> None:
        self._torchserve = torchserve
        self._store = store
        self._share = share
        self._limits = limits
        self._say = say
        self._answered: list[Answered] = []

    def prepare(self, model: str, old: str | None) -> None:
        """Draws the images.

        Raises:
            CanaryFailed: the bucket has no result of the model with masks.
        """
        self._answered = sample(self._store, model, self._share)
        if not self._answered:
            name = self._store.bucket.name
            raise CanaryFailed(f"no result of {model} with masks is in bucket {name!r}: nothing to shadow")

    def attempt(self, model: str, version: str) -> None:
        """Asks the new version about the images.

        Raises:
            CanaryFailed: an answer is not valid, or differs too much from the earlier result.
        """
        found = []
        for each in self._answered:
            answer = ask(self._torchserve, model, version, each.image, name=each.image_id, options=dict(each.options))
            found.append(compare(each.image_id, each.result, answer))
        _judge("shadow", found, self._limits, self._say)


def _judge(what: str, found: list[Comparison], limits: Limits, say: Say) -> None:
    for each in found:
        old, new = each.counts
        say(
            f"{what} {each.name}: {old} grains, now {new}; uncorrected D50 {each.d50[0]:.4g}, now {each.d50[1]:.4g}; "
            f"label maps agree to {each.agreement:.3f}"
        )
    broken = [words for each in found for words in each.breaks(limits)]
    if broken:
        raise CanaryFailed("; ".join(broken))
