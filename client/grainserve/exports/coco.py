"""Writes COCO's JSON of instances, with run-length masks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grainserve.results.masks import encode_rle

if TYPE_CHECKING:
    from grainserve.results.data import ResultData


def write_coco(results: Sequence[ResultData], names: Sequence[str], path: Path) -> None:
    """Writes an annotation for each grain, an image for each result and a category for each class.

    `iscrowd` is 0 although masks are run lengths: 1 would mark a region of uncounted objects, which training and
    scoring leave out. pycocotools reads run lengths with 0 as with 1. `area` and `bbox` are the mask's, in px.

    Args:
        results: n results with masks.
        names: n file names of their images.
        path: file to write.

    Raises:
        MasksMissing: a result was asked for with mask_format `none`.
    """
    classes = sorted({grain.label for result in results for grain in result.grains})
    categories = {name: number for number, name in enumerate(classes, start=1)}
    annotations: list[dict[str, Any]] = []
    for image, result in enumerate(results, start=1):
        for grain, window in zip(result.grains, result.windows, strict=True):
            height, width = window.patch.shape
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image,
                    "category_id": categories[grain.label],
                    "segmentation": encode_rle(window, result.height, result.width),
                    "bbox": [window.x, window.y, width, height],
                    "area": window.area,
                    "iscrowd": 0,
                    "score": grain.score,
                    "attributes": {"grain": grain.id},  # its id in the result and the table
                }
            )
    data = {
        "info": {"description": "grains measured by grainserve"},
        "licenses": [],
        "images": [
            {"id": number, "file_name": name, "width": result.width, "height": result.height}
            for number, (result, name) in enumerate(zip(results, names, strict=True), start=1)
        ],
        "categories": [{"id": number, "name": name, "supercategory": "grain"} for name, number in categories.items()],
        "annotations": annotations,
    }
    path.write_text(json.dumps(data, allow_nan=False, ensure_ascii=False), encoding="utf-8")
