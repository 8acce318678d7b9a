"""What a worker logs about one image: a line of JSON that starts with `{"event":`.

TorchServe takes a worker's output line by line and gives it a head of its own; config/log4j2.xml puts these lines into
its JSON as they are. As they hold what users sent, nothing but JSON of ours may write them.
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
    """One line for each image that has got its answer, with the trace that its sender follows it by."""
    if isinstance(found, RequestError):
        outcome: dict[str, Any] = {"code": found.code}
    else:
        outcome = {"objects": len(found.masks), "seconds": round(found.seconds, 4)}
    logger.info(_line("answered", image_id, {"status": status, **outcome, **({"traceId": trace} if trace else {})}))


def fault(image_id: str, message: str) -> None:
    """A fault of ours, with the traceback of the exception that is being handled."""
    logger.error(_line("fault", image_id, {"message": message, "traceback": traceback.format_exc()}))


def _line(event: str, image_id: str, fields: dict[str, Any]) -> str:
    # ASCII: Java reads the line in whatever encoding its machine has.
    return json.dumps({"event": event, "imageId": image_id, **fields})
