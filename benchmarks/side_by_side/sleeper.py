"""A model that sleeps in place of segmenting: an accelerator works, and the machine's own cores do not.

Packed as a package of its own by `benchmarks/scaleout.py`; this file is its TorchServe entry.
"""

from __future__ import annotations

import json
import time
from typing import Any

SECONDS = 1.0
"""What an image takes."""


class Sleeper:
    """TorchServe entry: an answer without grains, later."""

    def initialize(self, context: Any) -> None:
        properties = context.manifest["model"]
        self.version = properties["modelVersion"]
        self.initialized = True

    def handle(self, rows: list[dict[str, Any]], context: Any) -> list[str]:
        answers = []
        for row in rows:
            time.sleep(SECONDS)
            body = row.get("body", {})
            metadata = {"imageId": body.get("imageId"), "model": "sleeper", "version": self.version}
            answers.append(json.dumps({"metadata": metadata, "segmentedObjects": []}))
        return answers
