"""Merges the results of tiles into one result of the image."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grainserve.errors import TilesDisagree
from grainserve.results.data import ResultData
from grainserve.results.frame import Box
from grainserve.results.masks import Window, encode_rle
from grainserve.tiles.layout import Layout
from grainserve.tiles.merge import Merged, Sighting, merge

TILES_ONLY = "tiles-"
"""Beginning of the image id of a result whose image is in the bucket only as tiles."""
MAKERS = ("model", "version", "checkpoint", "precision", "classifier", "promptDecoder")
"""Metadata fields that say who measured; the tiles of one image have them in common."""


def odd_ones(results: Sequence[ResultData]) -> tuple[list[int], str]:
    """Finds the tiles whose makers (`MAKERS`) differ from the latest tile's.

    A version is asked for by name, but the checkpoint behind it may be replaced while the tiles are measured.

    Returns:
        The indices of these tiles, and the name of the field that differs; empty where all tiles agree.
    """
    latest = max(results, key=lambda result: str(result.metadata["timestamp"])).metadata
    for what in MAKERS:
        odd = [index for index, each in enumerate(results) if each.metadata.get(what) != latest.get(what)]
        if odd:
            return odd, what
    return [], ""


def merged_result(
    layout: Layout,
    results: Sequence[ResultData],
    image: Mapping[str, Any],
    warnings: Sequence[str] = (),
    *,
    frame: Box,
    framing: Mapping[str, Any],
    image_id: str | None = None,
) -> dict[str, Any]:
    """Merges the tiles' results into one that follows the schema.

    Args:
        layout: layout of the tiles in the frame.
        results: results of the tiles, in the layout's order, with masks.
        image: `metadata.image` of the whole image.
        warnings: warnings about the whole image.
        frame: part of the image that was cut into tiles.
        framing: options that asked for the frame, if any.
        image_id: image id of the whole image; None if only its tiles are in the bucket.

    Raises:
        TilesDisagree: not all tiles were measured by the same model, version and checkpoint.
    """
    odd, what = odd_ones(results)
    if odd:
        raise TilesDisagree(len(odd), len(results), what)
    first = results[0].metadata
    merged = merge(layout, _sightings(layout, results), overlapping=first["options"]["mode"] == "masks")
    every = [*warnings, *(text for each in results for text in each.metadata["warnings"]), *_doubts(layout, merged)]
    ids = [each.image_id for each in results]
    metadata = {
        "imageId": image_id or TILES_ONLY + hashlib.sha256("/".join(ids).encode()).hexdigest()[:32],
        "timestamp": max(str(each.metadata["timestamp"]) for each in results),
        "processTime": round(sum(float(each.metadata["processTime"]) for each in results), 4),
        **{what: first[what] for what in MAKERS if what in first},
        "image": dict(image),
        "units": first["units"],
        "options": {**first["options"], **framing},
        "warnings": list(dict.fromkeys(every)),
        **({"frame": vars(frame)} if framing else {}),
        "tiles": {
            "count": len(results),
            "overlap": layout.overlap,
            "imageIds": ids,
            "boxes": [vars(_moved(tile, frame)) for tile in layout.tiles],
            "agreement": merged.agreement,
            "sharedPixels": merged.shared,
        },
    }
    scale = first["units"]["umPerPx"]
    size = image["height"], image["width"]
    objects = [
        _grain(layout, each, number, scale, frame=frame, size=size)
        for number, each in enumerate(merged.grains, start=1)
    ]
    return {"metadata": metadata, "segmentedObjects": objects}


def assembled(
    tiles: Mapping[str, Any], pixels: Iterable[NDArray[np.uint8]], size: tuple[int, int]
) -> NDArray[np.uint8]:
    """Puts an image together from the pixels of its tiles; black where nothing was measured.

    Args:
        tiles: `metadata.tiles` of the image's result.
        pixels: pixels of each tile, h × w × 3, uint8, in the order of `tiles`.
        size: height and width of the image, px.

    Returns:
        H × W × 3, uint8.
    """
    image = np.zeros((*size, 3), np.uint8)
    for box, part in zip(tiles["boxes"], pixels, strict=True):
        image[box["y"] : box["y"] + box["height"], box["x"] : box["x"] + box["width"]] = part
    return image


def _sightings(layout: Layout, results: Sequence[ResultData]) -> list[Sighting]:
    found = []
    for index, (tile, result) in enumerate(zip(layout.tiles, results, strict=True)):
        for window, grain in zip(result.windows, result.to_dict()["segmentedObjects"], strict=True):
            found.append(Sighting(index, Window(window.x + tile.x, window.y + tile.y, window.patch), grain))
    return found


def _moved(box: Box, frame: Box) -> Box:
    """Returns a box of the frame, placed in the image."""
    return Box(box.x + frame.x, box.y + frame.y, box.width, box.height)


def _grain(
    layout: Layout, sighting: Sighting, number: int, um_per_px: float | None, *, frame: Box, size: tuple[int, int]
) -> dict[str, Any]:
    """Returns a grain's entry in the image's result: its places are those in the image, its measurements the tile's."""
    tile, properties = _moved(layout.tiles[sighting.tile], frame), sighting.grain["properties"]
    x, y = properties["centroid"]["x"] + tile.x, properties["centroid"]["y"] + tile.y
    window = Window(sighting.window.x + frame.x, sighting.window.y + frame.y, sighting.window.patch)
    places: dict[str, Any] = {
        "boundingBox": vars(_moved(sighting.box, frame)),
        "centroid": {"x": x, "y": y},
        "touchesEdge": layout.on_frame(sighting.box),
    }
    if um_per_px is not None:
        # From the image's corner; a centroid in px is from the centre of its first pixel.
        places["centroid_um"] = {"x": (x + 0.5) * um_per_px, "y": (y + 0.5) * um_per_px}
    mask = encode_rle(window, *size)
    return {**sighting.grain, "id": number, "mask": mask, "properties": {**properties, **places}}


def _doubts(layout: Layout, merged: Merged) -> list[str]:
    expected = layout.overlap // 2
    extents = [max(each.box.width, each.box.height) for each in merged.grains]
    large = [extent for extent in extents if extent > expected]
    doubts = []
    if merged.too_large:
        doubts.append(
            f"{len(merged.too_large)} pieces of grains larger than the tiles' overlap of {layout.overlap} px were left "
            f"out, the largest {max(merged.too_large)} px: set largest_grain to more than that, or scale the image down"
        )
    if large:
        doubts.append(
            f"{len(large)} grains are larger than the largest expected, {expected} px, the largest {max(large)} px: "
            "only one tile may have seen them whole; set largest_grain to that"
        )
    return doubts
