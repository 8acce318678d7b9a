"""One request → its objects: masks are found, pixels are settled, grains are measured."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from grain_handler.grains.classify import Classifier, Named, given
from grain_handler.grains.gaps import fill_gaps
from grain_handler.grains.label_map import LabelMap, label_map
from grain_handler.grains.measure import Properties, measure_labels, measure_masks, moved
from grain_handler.masks import Mask
from grain_handler.sam.automask import Embedding, MaskGenerator
from grain_handler.sam.grid_points import adaptive_points_per_side
from grain_handler.sam.mask_settings import MaskSettings
from grain_handler.sam.prompted import Answered, Asked, MaskPredictor
from grain_handler.wire.options import Options
from grain_handler.wire.request import Request


@dataclass(frozen=True)
class Found:
    """SAM's masks of one image.

    Attributes:
        request: request that the masks answer.
        masks: masks placed in the request's frame; they may overlap.
        seconds: time taken so far, s.
    """

    request: Request
    masks: Sequence[Mask]
    seconds: float


@dataclass(frozen=True)
class FoundByPrompts(Found):
    """SAM's masks of the prompts on one image.

    Attributes:
        answers: masks of each prompt, which are all in `masks`, too, the best first and without empty ones.
    """

    answers: Sequence[Sequence[Answered]] = field(kw_only=True)


@dataclass(frozen=True)
class Segmentation:
    """The objects found in one image.

    Attributes:
        request: request that the objects answer.
        masks: masks of the objects, placed in the whole image; in mode `grains` they do not overlap, unless prompts
            asked for them.
        properties: measurements of the objects, in the same order, placed in the whole image.
        classes: classes of the objects, in the same order.
        seconds: time taken, s.
        answers: answered masks of each prompt, all together in the order of `masks`; empty without prompts.
    """

    request: Request
    masks: Sequence[Mask]
    properties: Sequence[Properties]
    classes: Sequence[Named]
    seconds: float
    answers: Sequence[Sequence[Answered]] = ()


def find_masks(generator: MaskGenerator, request: Request, embedding: Embedding | None = None) -> Found:
    """Makes the automatic masks of one image.

    Args:
        generator: mask generator of the model.
        request: image and options.
        embedding: embedding of the request's frame, if it has been made already.

    Returns:
        The masks; none is a valid answer.
    """
    began = time.perf_counter()
    pixels = request.pixels
    masks = generator.generate(pixels, mask_settings(request.options, *pixels.shape[:2]), embedding)
    return Found(request, masks, time.perf_counter() - began)


def find_prompted(
    predictor: MaskPredictor, requests: Sequence[Request], embeddings: Sequence[Embedding]
) -> list[FoundByPrompts]:
    """Makes the masks of all prompts on some images together.

    Args:
        predictor: predictor of the model.
        requests: requests with images and prompts.
        embeddings: embeddings of the images.
    """
    began = time.perf_counter()
    asked = [
        Asked(embedding.tokens, request.pixels.shape[:2], request.prompts)
        for request, embedding in zip(requests, embeddings, strict=True)
    ]
    answers = [
        [[each for each in answer if each.mask.patch.size] for answer in of_image]
        for of_image in predictor.predict(asked)
    ]
    seconds = time.perf_counter() - began
    return [
        FoundByPrompts(request, [each.mask for answer in given for each in answer], seconds, answers=given)
        for request, given in zip(requests, answers, strict=True)
    ]


def measure(found: Found, classifier: Classifier | None = None) -> Segmentation:
    """Settles which pixels belong to which object, measures the objects and names their classes.

    Args:
        found: masks of the image.
        classifier: classifier that names the classes; None gives every object the request's label.
    """
    began = time.perf_counter()
    options, image, frame = found.request.options, found.request.pixels, found.request.frame
    height, width = image.shape[:2]
    answers = found.answers if isinstance(found, FoundByPrompts) else ()
    if answers:  # every prompted mask is answered, whatever its size and whatever overlaps it
        masks = found.masks
        properties = measure_masks(masks, image, options.um_per_px)
    elif options.mode == "grains":
        grains = settle(found.masks, options, height, width)
        masks = grains.grains
        holes = [mask.hole_area for mask in masks]
        properties = measure_labels(grains.labels, image, holes, options.um_per_px)
    else:
        largest = options.max_area_fraction * height * width
        masks = [mask for mask in found.masks if max(1, options.min_area) <= mask.area <= largest]
        properties = measure_masks(masks, image, options.um_per_px)
    masks = [replace(mask, x=mask.x + frame.x, y=mask.y + frame.y) for mask in masks]
    properties = [moved(each, frame.x, frame.y, options.um_per_px) for each in properties]
    classes = classifier.name(properties) if classifier else given(options.label, len(masks))
    seconds = found.seconds + time.perf_counter() - began
    return Segmentation(found.request, masks, properties, classes, seconds, answers)


def settle(masks: Sequence[Mask], options: Options, height: int, width: int) -> LabelMap:
    """Makes the label map that a request's options ask for.

    Args:
        masks: SAM's masks, which may overlap.
        options: options of the request.
        height: height of the frame, px.
        width: width of the frame, px.
    """
    painted = label_map(masks, height, width, options.min_area, options.max_area_fraction)
    return fill_gaps(painted) if options.fill else painted


def mask_settings(options: Options, height: int, width: int) -> MaskSettings:
    """Returns the mask settings that a request's options ask for, for a frame of height × width px."""
    adaptive = options.points == "adaptive"
    side = options.points_per_side
    return MaskSettings(
        points_per_side=adaptive_points_per_side(side, height, width, options.min_area) if adaptive else side,
        points_per_batch=options.points_per_batch,
        pred_iou_thresh=options.pred_iou_thresh,
        stability_score_thresh=options.stability_score_thresh,
        box_nms_thresh=options.box_nms_thresh,
        crop_n_layers=options.crop_n_layers,
        min_mask_region_area=options.min_mask_region_area,
        points=options.points,
    )
