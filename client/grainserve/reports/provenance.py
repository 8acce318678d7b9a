"""Lists what measuring a sample again needs: options, model, checkpoint, images, and the commands."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from grainserve.reports.document import Block, Code, Table, Text
from grainserve.reports.sources import Measured
from grainserve.results.rounding import ABSENT

SCALE = frozenset({"um_per_px", "scale_source"})
"""Options that belong to an image, not to the way it was measured."""


def provenance(images: Sequence[Measured]) -> tuple[Block, ...]:
    """Returns tables of model, options and image ids, and the commands that measure the images again."""
    return (
        parameters(images),
        image_ids({"": images}),
        Text("To measure again, where the same checkpoint is served (images go by the names of their results):"),
        *(Code(line) for line in commands(images)),
    )


def parameters(images: Sequence[Measured]) -> Table:
    """Returns the table of model, checkpoint and options, with a column for each combination that was used."""
    ways = _alike(images, _facts)
    facts = [_facts(same[0].result.metadata) for same in ways]
    names = list(dict.fromkeys(name for each in facts for name in each))
    heads = ("value",) if len(ways) == 1 else tuple(", ".join(image.name for image in same) for same in ways)
    rows = tuple((name, *(each.get(name, ABSENT) for each in facts)) for name in names)
    return Table("Model, checkpoint and options.", ("parameter", *heads), rows, numbers=False)


def image_ids(samples: Mapping[str, Sequence[Measured]]) -> Table:
    """Returns the table of image ids and times; several samples add a column with their names.

    Args:
        samples: name of each sample → its images.
    """
    several = len(samples) > 1
    rows = tuple(
        (*((name,) if several else ()), image.name, image.result.image_id, str(image.result.metadata["timestamp"]))
        for name, images in samples.items()
        for image in images
    )
    head = (*(("sample",) if several else ()), "image", "image id", "measured")
    return Table("Image ids and times of measurement.", head, rows, numbers=False)


def commands(images: Sequence[Measured]) -> list[str]:
    """Returns the command lines that measure images again, one for each set of options."""
    return [_command(same) for same in _alike(images, lambda each: [_facts(each), each["options"]["um_per_px"]])]


def _command(images: Sequence[Measured]) -> str:
    metadata = images[0].result.metadata
    words = ["grainserve", "analyze", *(image.name for image in images)]
    words += ["--model", metadata["model"], "--version", metadata["version"]]
    for name, value in metadata["options"].items():
        if value is not None and name != "scale_source":
            words += [f"--{name.replace('_', '-')}", str(value)]
    if tiles := metadata.get("tiles"):
        words += ["--largest-grain", str(tiles["overlap"] // 2)]
    return shlex.join(words)


def _alike(images: Sequence[Measured], way: Callable[[Mapping[str, Any]], Any]) -> list[list[Measured]]:
    groups: dict[str, list[Measured]] = {}
    for image in images:
        groups.setdefault(json.dumps(way(image.result.metadata), sort_keys=True), []).append(image)
    return list(groups.values())


def _facts(metadata: Mapping[str, Any]) -> dict[str, str]:
    """Returns how an image was measured, without its scale."""
    checkpoint = metadata["checkpoint"]
    facts = {
        "model": metadata["model"],
        "version": metadata["version"],
        "checkpoint": checkpoint["uri"],
        "checkpoint generation": checkpoint["generation"],
        "checkpoint CRC32C": checkpoint["crc32c"],
        "precision": metadata.get("precision"),
    }
    facts |= {f"classifier {name}": value for name, value in metadata.get("classifier", {}).items()}
    if tiles := metadata.get("tiles"):
        facts["overlap of tiles, px"] = tiles["overlap"]
    facts |= {name: value for name, value in metadata["options"].items() if name not in SCALE}
    return {name: _text(value) for name, value in facts.items()}


def _text(value: Any) -> str:
    if value is None:
        return ABSENT
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
