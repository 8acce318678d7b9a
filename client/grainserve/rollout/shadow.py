"""Draws real images with their earlier results, for a new version to measure again before it is switched to."""

from __future__ import annotations

import random
from dataclasses import dataclass

from grainserve.errors import ImageNotFound, InvalidJob, InvalidResult, ResultNotFound
from grainserve.jobs.store import JobStore
from grainserve.result import Result

LATELY = 1000
"""Largest number of results that a sample is drawn from."""


@dataclass(frozen=True)
class Answered:
    """An image with the options and the result of its job.

    Attributes:
        image_id: id of the image.
        image: bytes of the image.
        options: options of the job.
        result: result of the job, with masks.
    """

    image_id: str
    image: bytes
    options: dict[str, object]
    result: Result


def sample(store: JobStore, model: str, share: float, chance: random.Random | None = None) -> list[Answered]:
    """Draws images with a result of a model from the bucket.

    Image ids are random, so the ids that follow a random one are a fair sample.

    Args:
        store: store of images, jobs and results.
        model: name of the model that gave the results.
        share: share of up to `LATELY` results to draw, 0 to 1; at least one result is drawn where there is any.
        chance: source of the random starting id; None takes a new one.

    Returns:
        Images whose result has masks; others cannot be compared.
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
            job, result = store.job(image_id), Result(store.stored_result(image_id))
            if job.model == model and result.has_masks:
                found.append(Answered(image_id, store.image(image_id), job.options, result))
        except (ImageNotFound, ResultNotFound, InvalidJob, InvalidResult):
            continue  # deleted meanwhile or damaged
    return found
