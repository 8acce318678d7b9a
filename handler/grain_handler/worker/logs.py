"""A worker's log lines about one image: JSON that starts with `{"event":`.

TorchServe reads a worker's output line by line and puts a prefix before each line; config/log4j2.xml copies these lines
into its own JSON as they are. They hold what users sent, so they are written by a JSON writer only.
"""

from __future__ import annotations

import json
import logging
import traceback
from typing import TYPE_CHECKING, Any

from grain_handler.errors import RequestError

if TYPE_CHECKING:
    from grain_handler.segment import Segmentation

logger = logging.getLogger(__name__)


def answered(image_id: str, status: int, found: Segmentation | RequestError, trace: str | None = None) -> None:
    """Logs one line for an image that has its answer.

    Args:
        image_id: image id.
        status: HTTP status of the answer.
        found: result or error that the answer was made from.
        trace: trace id that the sender gave.
    """
    if isinstance(found, RequestError):
        outcome: dict[str, Any] = {"code": found.code}
    else:
        outcome = {"objects": len(found.masks), "seconds": round(found.seconds, 4)}
    logger.info(_line("answered", image_id, {"status": status, **outcome, **({"traceId": trace} if trace else {})}))


def fault(image_id: str, message: str) -> None:
    """Logs a fault of ours, with the traceback of the exception that is being handled."""
    logger.error(_line("fault", image_id, {"message": message, "traceback": traceback.format_exc()}))


def _line(event: str, image_id: str, fields: dict[str, Any]) -> str:
    # ASCII: Java reads the line in whatever encoding its machine has.
    return json.dumps({"event": event, "imageId": image_id, **fields})
