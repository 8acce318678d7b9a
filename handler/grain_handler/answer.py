"""A segmentation → the JSON of the wire contract."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from typing import Any

from grain_handler.errors import AnswerTooLarge, RequestError
from grain_handler.grains.classify import Classifier
from grain_handler.segment import Segmentation
from grain_handler.storage.weights import Checkpoint
from grain_handler.wire.frame import said_of
from grain_handler.wire.mask_formats import write_cropped, write_mask
from grain_handler.wire.prompts import write_mask_token
from grain_handler.worker.model_config import ModelConfig


@dataclass(frozen=True)
class Sources:
    """Files that the answers of a worker come from.

    Attributes:
        checkpoint: checkpoint of the model.
        classifier: classifier that names the classes; None if the request's label does.
        seed_head: file of the seed head; None if the model has none.
        prompt_decoder: file of the prompt decoder; None if the checkpoint's own decoder answers prompts.
    """

    checkpoint: Checkpoint
    classifier: Classifier | None = None
    seed_head: Checkpoint | None = None
    prompt_decoder: Checkpoint | None = None

    def named(self) -> dict[str, Any]:
        """Returns them as the answer's metadata have them."""
        return {
            "checkpoint": origin(self.checkpoint),
            **({"classifier": about(self.classifier)} if self.classifier else {}),
            **({"seedHead": origin(self.seed_head)} if self.seed_head else {}),
            **({"promptDecoder": origin(self.prompt_decoder)} if self.prompt_decoder else {}),
        }


def render(found: Segmentation, config: ModelConfig, sources: Sources) -> tuple[int, bytes]:
    """Writes the answer to one request.

    Args:
        found: objects found for the request.
        config: model config of the worker.
        sources: what the answer comes from.

    Returns:
        HTTP status and JSON (UTF-8).

    Raises:
        AnswerTooLarge: the answer is longer than the model config allows.
        ValueError: a number is not finite; JSON has no NaN.
    """
    body = _dump(_result(found, config, sources))
    if len(body) > config.max_answer_bytes:
        raise AnswerTooLarge(
            f"the answer has {len(body)} bytes, the limit is {config.max_answer_bytes}: "
            'ask for mask_format "rle" or "none", or for a larger min_area; of prompts send fewer at once'
        )
    return 200, body


def error(found: RequestError) -> tuple[int, bytes]:
    """Writes the answer to a request that failed: HTTP status and JSON (UTF-8)."""
    return found.status, _dump({"error": {"code": found.code, "message": found.message}})


def origin(file: Checkpoint) -> dict[str, str | None]:
    """Returns a file's URI, generation and CRC32C, as the answer has them."""
    return {"uri": file.uri, "generation": file.generation, "crc32c": file.crc32c}


def about(classifier: Classifier) -> dict[str, Any]:
    """Returns a classifier's file, its classes, and its threshold, as the answer has them."""
    return origin(classifier.file) | {"classes": classifier.classes, "threshold": classifier.threshold}


def _dump(value: Any) -> bytes:
    return json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode()


def _result(found: Segmentation, config: ModelConfig, sources: Sources) -> dict[str, Any]:
    request = found.request
    options, image = request.options, request.image
    height, width = image.pixels.shape[:2]
    write = write_cropped if request.prompts else write_mask
    return {
        "metadata": {
            "imageId": request.image_id,
            "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "processTime": round(found.seconds, 4),
            "model": config.name,
            "version": config.version,
            **sources.named(),
            "precision": config.precision,
            "image": {
                "width": width,
                "height": height,
                "format": image.format,
                "mode": image.mode,
                "bytes": image.bytes,
            },
            "units": {
                "length": "px",
                "area": "px²",
                "angle": "degree",
                "umPerPx": options.um_per_px,
                "scaleSource": options.um_per_px and (options.scale_source or "given"),
            },
            "options": options.model_dump(),
            "warnings": [*image.warnings, *said_of(request.frame, options, width, height)],
            # Only for requests that name a frame: clients from before 2026-12-01 do not know it.
            **({"frame": vars(request.frame)} if options.crop or options.ignore_bottom or options.crop_source else {}),
            # Only for requests with prompts, which may send it in the image's place.
            **({"imageDigest": request.image_digest} if request.prompts else {}),
            # Only for requests with a trace: clients from before 2026-11-22 do not know it.
            **({"traceId": request.trace_id} if request.trace_id else {}),
        },
        "segmentedObjects": [
            {
                "id": number,
                "class": named.name,
                "classConfidence": named.confidence,
                "classSource": named.source,
                "score": mask.score,
                "mask": write(mask, height, width, options.mask_format),
                "properties": properties,
                **asked,
            }
            for number, (mask, properties, named, asked) in enumerate(
                zip(found.masks, found.properties, found.classes, _asked(found, sources), strict=True), start=1
            )
        ],
        **_prompts(found),
    }


def _asked(found: Segmentation, sources: Sources) -> list[dict[str, Any]]:
    """Lists the additional keys of prompted masks: SAM's own scores, and a token to refine each."""
    request, decoder = found.request, sources.prompt_decoder or sources.checkpoint
    if not request.prompts:
        return [{}] * len(found.masks)
    return [
        {
            "predictedIou": each.mask.predicted_iou,
            "stabilityScore": each.mask.stability_score,
            "maskToken": write_mask_token(prompt, each.number, request.digest, decoder.crc32c),
        }
        for prompt, answer in zip(request.prompts, found.answers, strict=True)
        for each in answer
    ]


def _prompts(found: Segmentation) -> dict[str, Any]:
    """Lists the ids of each prompt's masks, the best first; empty without prompts."""
    if not found.request.prompts:
        return {}
    numbers = count(1)
    return {"prompts": [{"objectIds": [next(numbers) for _ in answer]} for answer in found.answers]}
