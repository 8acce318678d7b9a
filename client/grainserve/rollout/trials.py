"""What a new version has to pass before a swap: canary images, and a share of the images answered before."""

from __future__ import annotations

from pathlib import Path

from grainserve.protocol import JobStore
from grainserve.rollout.canary import CanaryFailed, Comparison, Limits, ask, compare, read_images
from grainserve.rollout.shadow import sample
from grainserve.rollout.swap import Trial
from grainserve.rollout.versions import Say
from grainserve.torchserve import TorchServe


def canaries(torchserve: TorchServe, files: list[Path], limits: Limits, say: Say) -> Trial:
    """A trial on image files: the new version's answers are valid and near enough to the old version's.

    Raises:
        InvalidImage: no such file, or an empty one.
    """
    images = read_images(files)

    def attempt(model: str, version: str, old: str | None) -> None:
        found = []
        for name, image in images:
            answer = ask(torchserve, model, version, image, name=name)
            if old is None:
                say(f"canary {name}: {len(answer.grains)} grains")
            else:
                found.append(compare(name, ask(torchserve, model, old, image, name=name), answer))
        _judge("canary", found, limits, say)

    return attempt


def shadow(torchserve: TorchServe, store: JobStore, share: float, limits: Limits, say: Say) -> Trial:
    """A trial on a share of the images whose results are in the bucket."""

    def attempt(model: str, version: str, _: str | None) -> None:
        answered = sample(store, model, share)
        if not answered:
            raise CanaryFailed(f"no result of {model} with masks is in bucket {store.bucket.name!r}: nothing to shadow")
        found = []
        for each in answered:
            answer = ask(torchserve, model, version, each.image, name=each.image_id, options=dict(each.options))
            found.append(compare(each.image_id, each.result, answer))
        _judge("shadow", found, limits, say)

    return attempt


def _judge(what: str, found: list[Comparison], limits: Limits, say: Say) -> None:
    for each in found:
        old, new = each.counts
        say(
            f"{what} {each.name}: {old} grains, now {new}; D50 {each.d50[0]:.4g}, now {each.d50[1]:.4g}; "
            f"label maps agree to {each.agreement:.3f}"
        )
    broken = [words for each in found for words in each.breaks(limits)]
    if broken:
        raise CanaryFailed("; ".join(broken))
