"""Results by the wire contract, made from discs with known measurements."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco

HEIGHT, WIDTH = 60, 80
# x, y, radius of each disc; the frame cuts the last one.
DISCS = ((20, 15, 8.0), (50, 30, 12.0), (15, 45, 10.0), (79, 55, 9.0))


def disc_masks() -> list[NDArray[np.bool_]]:
    """Makes n masks, H × W, bool."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    return [(columns - x) ** 2 + (rows - y) ** 2 <= radius**2 for x, y, radius in DISCS]


def make_image() -> Image.Image:
    pixels = np.full((HEIGHT, WIDTH, 3), 60, np.uint8)
    for index, mask in enumerate(disc_masks()):
        pixels[mask] = (120 + 20 * index, 140, 90)
    return Image.fromarray(pixels)


def encode(mask: NDArray[np.bool_], mask_format: str) -> Any:
    if mask_format == "rle":
        rle = coco.encode(np.asfortranarray(mask, dtype=np.uint8))
        return {"size": list(mask.shape), "counts": rle["counts"].decode()}
    if mask_format == "png":
        buffer = io.BytesIO()
        Image.fromarray(mask).save(buffer, "PNG")
        return base64.b64encode(buffer.getvalue()).decode()
    if mask_format == "polygon":  # a ring around each run of each row: clumsy, but exact and simple
        rings = []
        for row in np.flatnonzero(mask.any(axis=1)).tolist():
            edges = np.flatnonzero(np.diff(np.pad(mask[row], 1).astype(np.int8))).tolist()
            rings += [
                [float(v) for v in (start, row, end, row, end, row + 1, start, row + 1)]
                for start, end in zip(edges[::2], edges[1::2], strict=True)
            ]
        return rings
    return None


def make_properties(mask: NDArray[np.bool_], um_per_px: float | None = None) -> dict[str, Any]:
    rows, columns = np.nonzero(mask)
    area = int(mask.sum())
    diameter = 2 * math.sqrt(area / math.pi)
    lengths = ("perimeter", "equivalentDiameter", "majorAxisLength", "minorAxisLength", "feretMax", "feretMin")
    properties: dict[str, Any] = {
        "boundingBox": {
            "x": int(columns.min()),
            "y": int(rows.min()),
            "width": int(np.ptp(columns)) + 1,
            "height": int(np.ptp(rows)) + 1,
        },
        "area": area,
        "holeArea": 0,
        "perimeter": math.pi * diameter,
        "equivalentDiameter": diameter,
        "majorAxisLength": diameter * 1.1,
        "minorAxisLength": diameter * 0.9,
        "orientation": 30.0,
        "orientationFromX": 120.0,
        "centroid": {"x": float(columns.mean()), "y": float(rows.mean())},
        "feretMax": diameter * 1.1,
        "feretMin": diameter * 0.9,
        "feretAngle": 120.0,
        "circularity": 0.98,
        "aspectRatio": 1.2,
        "roundness": 0.8,
        "solidity": 0.97,
        "eccentricity": 0.5,
        "touchesEdge": bool(mask[[0, -1]].any() or mask[:, [0, -1]].any()),
        "lowPrecision": diameter < 10,
        "meanIntensity": [120.5, 140.0, 90.0],
        "intensityStd": [8.5, 7.25, 0.0],
        "texture": {"entropy": 1.5, "gradientMean": 4.0, "gradientStd": 3.0, "coherence": 0.2},
    }
    if um_per_px is not None:
        properties |= {f"{name}_um": properties[name] * um_per_px for name in lengths}
        properties["centroid_um"] = {axis: (at + 0.5) * um_per_px for axis, at in properties["centroid"].items()}
        properties |= {f"{name}_um2": properties[name] * um_per_px**2 for name in ("area", "holeArea")}
    return properties


def make_result(
    image_id: str = "a" * 32,
    *,
    um_per_px: float | None = None,
    scale_source: str | None = None,
    mask_format: str = "rle",
    masks: list[NDArray[np.bool_]] | None = None,
) -> dict[str, Any]:
    masks = disc_masks() if masks is None else masks
    height, width = masks[0].shape if masks else (HEIGHT, WIDTH)
    return {
        "metadata": {
            "imageId": image_id,
            "timestamp": "2026-11-21T04:05:06.123Z",
            "processTime": 1.5,
            "model": "sam_tiny",
            "version": "1.0",
            "checkpoint": {"uri": "gs://weights/sam_tiny.pth", "generation": "17", "crc32c": "AAAAAA=="},
            "precision": "fp32",
            "image": {"width": width, "height": height, "format": "PNG", "mode": "RGB", "bytes": 1234},
            "units": {
                "length": "px",
                "area": "px²",
                "angle": "degree",
                "umPerPx": um_per_px,
                "scaleSource": um_per_px and (scale_source or "given"),
            },
            "options": {
                "points": "grid",
                "points_per_side": 32,
                "points_per_batch": 64,
                "pred_iou_thresh": 0.25,
                "stability_score_thresh": 0.6,
                "box_nms_thresh": 0.7,
                "crop_n_layers": 0,
                "min_mask_region_area": 0,
                "min_area": 20,
                "max_area_fraction": 0.5,
                "mode": "grains",
                "mask_format": mask_format,
                "um_per_px": um_per_px,
                "scale_source": scale_source,
                "label": "grain",
            },
            "warnings": [],
        },
        "segmentedObjects": [
            {
                "id": number,
                "class": "grain",
                "classConfidence": None,
                "classSource": "given",
                "score": 0.9,
                "mask": encode(mask, mask_format),
                "properties": make_properties(mask, um_per_px),
            }
            for number, mask in enumerate(masks, start=1)
        ],
    }


def make_prompted_result(
    image_id: str = "a" * 32, *, answers: Sequence[Sequence[NDArray[np.bool_]]], **options: Any
) -> dict[str, Any]:
    """Makes a result with prompts as a worker does: masks, H × W, are cropped; none of them is empty.

    Args:
        image_id: image id.
        answers: masks of each prompt, the best first.
        **options: `um_per_px`, `scale_source` and `mask_format`, as `make_result` takes them.
    """
    mask_format = options.pop("mask_format", "rle")
    masks = [mask for answer in answers for mask in answer]
    result = make_result(image_id, masks=masks or disc_masks(), mask_format="none", **options)
    if not masks:
        result["segmentedObjects"] = []
    result["metadata"]["options"]["mask_format"] = mask_format
    result["metadata"]["imageDigest"] = "d" * 64
    ids = iter(range(1, len(masks) + 1))
    result["prompts"] = [{"objectIds": [next(ids) for _ in answer]} for answer in answers]
    for number, (each, mask) in enumerate(zip(result["segmentedObjects"], masks, strict=True), start=1):
        box = each["properties"]["boundingBox"]
        patch = mask[box["y"] : box["y"] + box["height"], box["x"] : box["x"] + box["width"]]
        each["mask"] = encode(mask if mask_format == "polygon" else patch, mask_format)
        if mask_format == "rle":
            each["mask"] |= {"x": box["x"], "y": box["y"]}
        each |= {"predictedIou": 0.9, "stabilityScore": 0.8, "maskToken": f"token-{number}"}
    return result
