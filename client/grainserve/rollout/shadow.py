"""Real images, measured again by a new version before anybody depends on it, beside what was answered before."""

from __future__ import annotations

import random
from dataclasses import dataclass

from grainserve.errors import ImageNotFound, InvalidJob, InvalidResult, ResultNotFound
from grainserve.jobs.store import JobStore
from grainserve.result import Result

LATELY = 1000
"""Results that a shadow is a share of, at most."""


@dataclass(frozen=True)
class Answered:
    """An image, as it was asked about and answered.

    Attributes:
        image_id: its id.
        image: its bytes.
        options: of its job.
        result: what was answered, with masks.
    """

    image_id: str
    image: bytes
    options: dict[str, object]
    result: Result


def sample(store: JobStore, model: str, share: float, chance: random.Random | None = None) -> list[Answered]:
    """Draws answered images of a model from the bucket.

    Ids are random, so those from a random place on are a fair sample.

    Args:
        store: images, jobs and results.
        model: whose answers.
        share: how many of up to `LATELY` results, 0 to 1; one at least where there is one.
        chance: draws the place.

    Returns:
        Those whose result has masks; others cannot be compared.
    """
    start = f"results/{(chance or random.Random()).randrange(16**4):04x}"
    names = list(store.bucket.names("results/", start=start, limit=LATELY))
    if len(names) < LATELY:
        names += [name for name in store.bucket.names("results/", limit=LATELY) if name < start][: LATELY - len(names)]
    found: list[Answered] = []
    for name in names:
        if len(found) >= max(1, round(share * len(names))):
            break
        image_id = name.removeprefix("results/").removesuffix(".json")
        try:
            job, result = store.job(image_id), Result(store.result(image_id))
            if job.model == model and result.has_masks:
                found.append(Answered(image_id, store.image(image_id), job.options, result))
        except (ImageNotFound, ResultNotFound, InvalidJob, InvalidResult):
            continue  # deleted meanwhile, or damaged
    return found
