"""A TorchServe handler like TorchServe's own Segment Anything example, for comparison.

The handler treats a request as the example (`examples/large_models/segment_anything_fast` in pytorch/serve) does: it
takes an image as bytes or base64 text without checks, makes stock automatic masks one image at a time, and answers with
a pickle in base64. Model and options are those of our own handler, given by the model config, so that only the serving
differs. It leaves out two things of the example: its GPU-only build of Segment Anything, and its exchange of red and
blue, which would make it segment a different image.

TorchServe wants exactly one class here.
"""

from __future__ import annotations

import base64
import io
import pickle
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from segment_anything import SamAutomaticMaskGenerator
from ts.torch_handler.base_handler import BaseHandler

from grain_handler.sam.models import build_sam_tiny


class ExampleHandler(BaseHandler):  # type: ignore[misc]  # TorchServe is not typed
    """Image in, pickle out."""

    def initialize(self, context: Any) -> None:
        """Loads the checkpoint that the model config names by its path."""
        self.context = context
        settings = context.model_yaml_config["handler"]
        gpu = context.system_properties.get("gpu_id")
        device = torch.device("cuda", int(gpu)) if torch.cuda.is_available() and gpu is not None else "cpu"
        # Load into SAM's own modules, since our handler's changes to them must not affect this one.
        sam = build_sam_tiny()
        sam.load_state_dict(torch.load(settings["checkpoint"], map_location="cpu", weights_only=True))
        self.generator = SamAutomaticMaskGenerator(
            sam.float().to(device).eval(), output_mode="coco_rle", **settings["options"]
        )
        self.initialized = True

    def preprocess(self, rows: list[dict[str, Any]]) -> list[NDArray[np.uint8]]:
        """Base64 text or bytes → pixels."""
        images = []
        for row in rows:
            data = row.get("data") or row.get("body")
            if isinstance(data, str):
                data = base64.b64decode(data)
            images.append(np.array(Image.open(io.BytesIO(data))))  # type: ignore[arg-type]  # unchecked, as there
        return images

    def inference(self, images: list[NDArray[np.uint8]]) -> list[dict[str, Any]]:
        """Makes the masks of the one image."""
        assert len(images) == 1, "one image at a time"
        masks: list[dict[str, Any]] = self.generator.generate(images[0])
        return masks

    def postprocess(self, masks: list[dict[str, Any]]) -> list[str]:
        """Returns the masks as base64 of a pickle."""
        return [base64.b64encode(pickle.dumps(masks)).decode("ascii")]

    def describe_handle(self) -> dict[str, Any]:
        """Answers the benchmark's first question; the example has no such method."""
        return {"threads": torch.get_num_threads()}
