"""The TorchServe entry: image bytes in, measured grains out."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor
from ts.torch_handler.base_handler import BaseHandler

from grain_handler import answer, compiled, models, weights
from grain_handler.automask import MaskGenerator
from grain_handler.config import ModelConfig
from grain_handler.errors import InternalError, OutOfMemory, RequestError
from grain_handler.memory import keep_freed_memory
from grain_handler.metrics import Metrics
from grain_handler.options import parse_options
from grain_handler.request import Request, parse, trace_id
from grain_handler.segment import Segmentation, find_masks, measure

logger = logging.getLogger(__name__)
Taken = TypeVar("Taken")
Made = TypeVar("Made")


class GrainHandler(BaseHandler):  # type: ignore[misc]  # TorchServe is not typed
    """One worker's model; every list below has one item a request, errors in the places of values."""

    def initialize(self, context: Any) -> None:
        """Fetches the checkpoint and loads the model; a failure here stops the worker with its reason."""
        keep_freed_memory()
        self.context = context
        self.config = ModelConfig.read(context)
        self.metrics = Metrics(self.config)
        self.timed = self.metrics.timed
        self.defaults = parse_options(self.config.defaults, {}, text=False)
        self.checkpoint = self.timed("download", weights.fetch, self.config.checkpoint, self.config.cache)
        self.metrics.fetched(self.checkpoint)
        sam = models.load(self.config.model, self.checkpoint, self.config.device)
        self.package, encoder = None, None
        if self.config.encoder_package:
            self.package = weights.fetch(self.config.encoder_package, self.config.cache)
            encoder = compiled.load(self.package, sam.image_encoder, self.config.model, self.config.precision)
        self.generator = MaskGenerator(sam, self.config.precision, self.config.memory_mib, encoder)
        self.measuring = ThreadPoolExecutor(max_workers=1, thread_name_prefix="measuring")
        self.initialized = True

    def preprocess(self, rows: list[dict[str, Any]]) -> list[Request | RequestError]:
        """Request rows → images and options."""
        context, defaults = self.context, self.config.defaults
        self.metrics.batch(len(rows))
        return [
            self.timed("decode", parse, row, context.get_all_request_header(i), context.get_request_id(i), defaults)
            for i, row in enumerate(rows)
        ]

    def inference(self, requests: list[Request | RequestError]) -> list[Future[Segmentation] | RequestError]:
        """Images → objects; while one image's are measured, the next one's masks are made."""
        return [
            _each(request, partial(self._start, embedding=embedding)) for request, embedding in self._embed(requests)
        ]

    def _embed(self, requests: list[Request | RequestError]) -> list[tuple[Request | RequestError, Tensor | None]]:
        """Requests with their embeddings, which are made together: what goes wrong there, all have gone wrong."""
        images = [request.image.pixels for request in requests if isinstance(request, Request)]
        embeddings = _each(images, lambda given: self.timed("encode", self.generator.embed, given)) if images else ()
        if isinstance(embeddings, RequestError):
            return [(request if isinstance(request, RequestError) else embeddings, None) for request in requests]
        made = iter(embeddings)
        return [(request, next(made)[None] if isinstance(request, Request) else None) for request in requests]

    def _start(self, request: Request, embedding: Tensor | None) -> Future[Segmentation]:
        found = self.timed("masks", find_masks, self.generator, request, embedding)
        return self.measuring.submit(self.timed, "measure", measure, found)

    def postprocess(self, found: list[Future[Segmentation] | RequestError]) -> list[bytes]:
        """Objects → JSON, with the HTTP status of each."""
        bodies = []
        for i, item in enumerate(found):
            answered = _each(item, self._answer)
            if isinstance(answered, RequestError):
                self.metrics.refused(answered)
                answered = answer.render(answered, self.config, self.checkpoint)
            status, body = answered
            self._log(i, status)
            self.context.set_response_status(code=status, idx=i)
            self.context.set_response_content_type(i, "application/json")
            bodies.append(body)
        self.metrics.memory()
        return bodies

    def _log(self, i: int, status: int) -> None:
        """One line for a request that somebody traces; its sender's log has the image id beside the same trace."""
        if trace := trace_id(self.context.get_all_request_header(i)):
            logger.info("trace %s: request %s answered %d", trace, self.context.get_request_id(i), status)

    def _answer(self, measured: Future[Segmentation]) -> tuple[int, bytes]:
        segmentation = measured.result()
        answered = self.timed("write", answer.render, segmentation, self.config, self.checkpoint)
        self.metrics.answered(len(segmentation.masks))
        return answered

    def explain_handle(self, requests: list[Request | RequestError], _rows: Any) -> list[bytes]:
        """A batch whose first row came to /explanations; each row has its own answer all the same."""
        return self.postprocess(self.inference(requests))

    def describe_handle(self) -> dict[str, Any]:
        """What `GET /models/{model}?customized=true` tells about this worker."""
        return {
            "model": self.config.model,
            "version": self.config.version,
            "checkpoint": _origin(self.checkpoint),
            "encoder": {"compiled": self.package is not None} | (_origin(self.package) if self.package else {}),
            "device": str(self.config.device),
            "precision": self.config.precision,
            "threads": torch.get_num_threads(),
            "defaults": self.defaults.model_dump(),
            "torch": torch.__version__,
            "python": sys.version.split()[0],
        }


def _origin(file: weights.Checkpoint) -> dict[str, str | None]:
    """Which file this is, and which content."""
    return {"uri": file.uri, "generation": file.generation, "crc32c": file.crc32c}


def _each(item: Taken | RequestError, step: Callable[[Taken], Made]) -> Made | RequestError:
    """Runs a step on one item, so that what goes wrong with it does not touch the rest of the batch.

    A broken CUDA context ends the worker: nothing on this process's device will work again, and TorchServe
    starts a new worker only when this one is gone.
    """
    if isinstance(item, RequestError):
        return item
    try:
        return step(item)
    except RequestError as error:
        return error
    except (torch.OutOfMemoryError, MemoryError):
        logger.exception("out of memory")
        return OutOfMemory("the worker ran out of memory: ask for fewer points_per_batch, or try again later")
    except torch.AcceleratorError:
        logger.exception("the device failed; ending this worker")
        raise SystemExit(1) from None
    except Exception:  # the one place where a fault of ours is kept from the other images of its batch
        logger.exception("unexpected fault")
        return InternalError("the image could not be processed because of a fault in the service; its log has details")
