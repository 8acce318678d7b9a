"""One request → its objects: masks chosen, pixels settled, grains measured."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from segment_anything.modeling import Sam

from grain_handler.automask import automatic_masks
from grain_handler.labels import label_map
from grain_handler.masks import Mask
from grain_handler.measure import Properties, measure_labels, measure_mask
from grain_handler.request import Request


@dataclass(frozen=True)
class Segmentation:
    """What was found in one image.

    Attributes:
        request: The request answered.
        masks: The objects' masks; in mode `grains` they do not overlap.
        properties: Their measurements, in the same order.
        seconds: Time taken, s.
    """

    request: Request
    masks: Sequence[Mask]
    properties: Sequence[Properties]
    seconds: float


def segment(sam: Sam, request: Request) -> Segmentation:
    """Finds and measures the objects of one image.

    Args:
        sam: The model, in evaluation mode.
        request: Image and options.

    Returns:
        The objects found; none is a valid answer.
    """
    began = time.perf_counter()
    options, image = request.options, request.image.pixels
    height, width = image.shape[:2]
    masks = automatic_masks(sam, image, options)
    if options.mode == "grains":
        grains = label_map(masks, height, width, options.min_area, options.max_area_fraction)
        masks = grains.grains
        holes = [mask.hole_area for mask in masks]
        properties = measure_labels(grains.labels, image, holes, options.um_per_px)
    else:
        largest = options.max_area_fraction * height * width
        masks = [mask for mask in masks if max(1, options.min_area) <= mask.area <= largest]
        properties = [measure_mask(mask, image, options.um_per_px) for mask in masks]
    return Segmentation(request, masks, properties, time.perf_counter() - began)
