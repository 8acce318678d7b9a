"""A result with another scale: what the handler would have answered, had it been asked with that scale."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from grainserve.library.scales import Revision

AREAS = ("area", "holeArea")
LENGTHS = ("perimeter", "equivalentDiameter", "majorAxisLength", "minorAxisLength", "centroid", "feretMax", "feretMin")
"""Keys with a twin in µm² (areas) or in µm (lengths), in the handler's order."""
FIRST_CENTRE = 0.5
"""Centre of the first pixel, px from the image's corner, from where places in µm count."""
CLASSES = "the scale was set after a classifier had named the classes: where it knows sizes in µm, it might name others"


def rescaled(result: dict[str, Any], revisions: Sequence[Revision]) -> dict[str, Any]:
    """Returns a result with the last of the revisions of its scale; the result itself where there is none.

    Every value in µm is computed from its twin in px as the handler computes it, so that the numbers are the same to
    the last digit. `metadata.scale` says who set the scale, and when. Classes stay; a warning says so where a
    classifier named them.

    Args:
        result: result as stored; it is not changed.
        revisions: revisions of its scale, in order.
    """
    if not revisions:
        return result
    now, metadata = revisions[-1], result["metadata"]
    scale = now.um_per_px
    told = {name: value for name, value in now.to_dict().items() if name in ("umPerPx", "source", "by", "at")}
    return result | {
        "metadata": metadata
        | {
            "units": metadata["units"] | {"umPerPx": scale, "scaleSource": now.scale_source},
            "options": metadata["options"] | {"um_per_px": scale, "scale_source": now.scale_source},
            "warnings": [*metadata["warnings"], *([CLASSES] if "classifier" in metadata else [])],
            "scale": told | {"revision": len(revisions)},
        },
        "segmentedObjects": [
            grain | {"properties": _measured(grain["properties"], scale)} for grain in result["segmentedObjects"]
        ],
    }


def _measured(properties: dict[str, Any], scale: float | None) -> dict[str, Any]:
    """Returns a grain's measurements with this scale."""
    plain = {name: value for name, value in properties.items() if not name.endswith(("_um", "_um2"))}
    if scale is None:
        return plain
    texture = {"texture": plain.pop("texture")} if "texture" in plain else {}  # comes last
    areas = {f"{name}_um2": _times(plain[name], scale**2) for name in AREAS if name in plain}
    lengths = {f"{name}_um": _times(plain[name], scale) for name in LENGTHS if name in plain}
    return plain | areas | lengths | texture


def _times(value: Any, factor: float) -> Any:
    """Returns a size times a factor, or the place of a centroid, whose pixels count from their centres."""
    if isinstance(value, dict):
        return {axis: None if at is None else (at + FIRST_CENTRE) * factor for axis, at in value.items()}
    return None if value is None else value * factor
