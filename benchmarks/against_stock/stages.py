"""Time by stage: a clock that records when stages begin and end.

Our code marks its stages itself (`torch.profiler.record_function("grainserve::<stage>")`); for stock, this module wraps
the functions and modules that stock calls. Stages of the same name do the same work:

* `encoder`: image → embedding, including resizing and normalisation;
* `decoder`: prompts, two-way transformer, IoU head;
* `upscaling`: low-resolution logits;
* `upsampling`: to the image's size, filters, stability, boxes;
* `nms`;
* `render`: kept masks → returned masks (stock: run lengths of all masks, before NMS);
* `other`: the rest of the call.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import torch
from segment_anything import SamAutomaticMaskGenerator, automatic_mask_generator
from torch.profiler import record_function

STAGES = ("encoder", "decoder", "upscaling", "upsampling", "nms", "render", "other")
PREFIX = "grainserve::"


class StageClock:
    """Adds up seconds by stage; a stage inside another stops the outer stage's time.

    Args:
        device: on a GPU every change of stage waits until the stage's work is done.
        now: returns the time, s.
    """

    def __init__(self, device: torch.device, now: Callable[[], float] = time.perf_counter) -> None:
        self.seconds: dict[str, float] = {}
        self._device, self._now = device, now
        self._stack: list[str] = []
        self._since = 0.0
        self._owner = threading.get_ident()

    @contextmanager
    def run(self) -> Iterator[None]:
        """Times the whole call; time outside all stages is `other`."""
        self.begin("other")
        try:
            yield
        finally:
            self.end()

    def begin(self, stage: str) -> None:
        """Enters a stage."""
        if threading.get_ident() == self._owner:  # stages of helper threads run beside those of the caller
            self._settle()
            self._stack.append(stage)

    def end(self) -> None:
        """Leaves the stage entered last."""
        if threading.get_ident() == self._owner:
            self._settle()
            self._stack.pop()

    def switch(self, stage: str) -> None:
        """Ends the present stage and enters the next."""
        self.end()
        self.begin(stage)

    def inside(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Wraps a function as a stage."""

        def timed(*positional: Any, **named: Any) -> Any:
            self.begin(stage)
            try:
                return function(*positional, **named)
            finally:
                self.end()

        return timed

    def _settle(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        now = self._now()
        if self._stack:
            self.seconds[self._stack[-1]] = self.seconds.get(self._stack[-1], 0.0) + now - self._since
        self._since = now


@contextmanager
def watch_marks(clock: StageClock) -> Iterator[None]:
    """Listens to the profiler marks of our code."""
    enter: Any = record_function.__enter__
    leave: Any = record_function.__exit__

    def begin(self: record_function) -> Any:
        if not self.name.startswith(PREFIX):
            return enter(self)
        clock.begin(self.name.removeprefix(PREFIX))
        return self

    def end(self: record_function, *error: Any) -> None:
        if self.name.startswith(PREFIX):
            clock.end()
        else:
            leave(self, *error)

    with mock.patch.object(record_function, "__enter__", begin), mock.patch.object(record_function, "__exit__", end):
        yield


@contextmanager
def watch_stock(clock: StageClock, generator: SamAutomaticMaskGenerator) -> Iterator[None]:
    """Wraps the functions that stock's generator calls, while the context lasts."""
    predictor, decoder = generator.predictor, generator.predictor.model.mask_decoder
    with ExitStack() as stack:

        def wrap(owner: Any, name: str, stage: str) -> None:
            stack.enter_context(mock.patch.object(owner, name, clock.inside(stage, getattr(owner, name))))

        wrap(predictor, "set_image", "encoder")
        wrap(generator, "_process_batch", "upsampling")
        wrap(predictor.model.prompt_encoder, "forward", "decoder")
        wrap(decoder, "predict_masks", "decoder")
        wrap(automatic_mask_generator, "batched_nms", "nms")
        for name in ("uncrop_masks", "mask_to_rle_pytorch", "area_from_rle"):
            wrap(automatic_mask_generator, name, "render")
        # `predict_masks` upscales between the calls of two modules; the second is the IoU head.
        for module, stage in ((decoder.output_upscaling, "upscaling"), (decoder.iou_prediction_head, "decoder")):
            hook = module.register_forward_pre_hook(lambda module, inputs, stage=stage: clock.switch(stage))
            stack.callback(hook.remove)
        yield
