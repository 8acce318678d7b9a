"""One result of the best masks that answer prompts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from grainserve.result import Result
from grainserve.tiles.result import odd_ones


def best_masks(results: Sequence[Result]) -> dict[str, Any]:
    """Puts the best mask of each prompt into one result, which follows the schema.

    Args:
        results: one or more answers to prompts about one image.

    Returns:
        A result with the prompts of all answers in their order, each with one object, or none where nothing was found.
    """
    grains: list[dict[str, Any]] = []
    prompts = []
    for result in results:
        entries = {entry["id"]: entry for entry in result.to_dict()["segmentedObjects"]}
        for answer in result.answers:
            best = [entries[grain.id] for grain in answer[:1]]
            grains += [{**entry, "id": len(grains) + 1} for entry in best]
            prompts.append({"objectIds": [len(grains)] if best else []})
    warnings = list(dict.fromkeys(text for each in results for text in each.metadata["warnings"]))
    odd, what = odd_ones(results)
    if odd:
        warnings.append(
            f"{len(odd)} of {len(results)} objects were segmented with another {what} than the last one: it was "
            "replaced meanwhile"
        )
    metadata = {
        **max((each.metadata for each in results), key=lambda metadata: str(metadata["timestamp"])),
        "processTime": round(sum(float(each.metadata["processTime"]) for each in results), 4),
        "warnings": warnings,
    }
    return {"metadata": metadata, "segmentedObjects": grains, "prompts": prompts}
