"""An image about which prompts are asked: sent once, then named by its digest."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from grainserve.deadline import Deadline
from grainserve.errors import EmbeddingMissing, InvalidImage, TorchServeBusy, TorchServeUnreachable
from grainserve.images import MAX_SIDE, ImageFile
from grainserve.prompts.prompt import Prompt
from grainserve.result import Result
from grainserve.torchserve.inference import TorchServe

PATIENCE = 10.0
"""Seconds for which a TorchServe that is busy or away is asked again. Whoever points at a grain waits for the mask."""

SHORTEST_PAUSE, LONGEST_PAUSE = 0.1, 1.0
"""Shortest and longest pause before TorchServe is asked again, s; each is twice as long as the one before."""


class PromptedImage:
    """An image about which prompts are asked. TorchServe is asked directly: nothing is stored.

    The image itself goes with the first prompts, and again if no worker keeps it any more; otherwise its digest goes.

    Args:
        torchserve: TorchServe to ask.
        model: name of the model that answers prompts.
        image: image, up to 1024 px on the longer side.
        options: checked options.
        patience: seconds for which a TorchServe that is busy or away is asked again.

    Raises:
        InvalidImage: the image cannot be read, or is over 1024 px.
    """

    def __init__(
        self,
        torchserve: TorchServe,
        model: str,
        image: ImageFile,
        options: Mapping[str, Any],
        *,
        patience: float = PATIENCE,
    ) -> None:
        width, height = image.size
        if max(width, height) > MAX_SIDE:
            raise InvalidImage(
                f"the image is {width} × {height} px, and prompts are answered up to {MAX_SIDE} px: cut out the part "
                "around the object, or scale the image down"
            )
        self._torchserve = torchserve
        self._model = model
        self._image = image
        self._options = dict(options)
        self._patience = patience
        self._image_id = uuid.uuid4().hex
        self._digest: str | None = None

    def ask(self, prompts: Sequence[Prompt]) -> Result:
        """Returns the objects that answer prompts; `Result.answers` has those of each prompt.

        Raises:
            ImageRejected: the image, an option or a prompt is at fault; `code` and `status` say how.
            TorchServeBusy, TorchServeUnreachable: TorchServe had no time, or was away, for `patience` seconds.
            WorkerDied, HandlerFailed, AnswerLost: the attempt failed; it is safe to ask again.
            ModelNotFound: TorchServe does not have the model.
        """
        deadline, pause = Deadline(self._patience), SHORTEST_PAUSE
        while True:
            try:
                return self.result(self._sent(prompts))
            except (TorchServeBusy, TorchServeUnreachable):  # no work was started
                if deadline.left <= 0:
                    raise
            time.sleep(min(pause, deadline.left))
            pause = min(2 * pause, LONGEST_PAUSE)

    def result(self, data: Mapping[str, Any]) -> Result:
        """Returns a result of this image, whose overlay is drawn on it."""
        return Result(data, fetch_image=lambda: self._image)

    def _sent(self, prompts: Sequence[Prompt]) -> dict[str, Any]:
        if self._digest is not None:
            try:
                return self._answer(self._digest, prompts)
            except EmbeddingMissing:
                self._digest = None
        answer = self._answer(self._image.data, prompts)
        self._digest = answer["metadata"].get("imageDigest")
        return answer

    def _answer(self, image: bytes | str, prompts: Sequence[Prompt]) -> dict[str, Any]:
        return self._torchserve.segment(self._model, None, image, prompts, self._image_id, options=self._options)
