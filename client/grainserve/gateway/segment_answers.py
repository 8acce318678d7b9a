"""Answers to prompts: a result as PNG masks, and many answers as lines that are sent as they come."""

from __future__ import annotations

import asyncio
import base64
import io
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import ExitStack, aclosing
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
from PIL import Image
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from grainserve.errors import HandlerFailed, ImageRejected, InvalidResult
from grainserve.gateway.segment_requests import Form, Question
from grainserve.results.masks import decode_mask

RESULT = "application/vnd.grainserve.result+json"
"""Content type of a measured answer to those who ask for it by this name."""
LINES = "application/x-ndjson"
MASK_PROMPTS = 64
"""Most prompts whose masks are sent as pictures of the whole image, of 2 MiB at most."""

T = TypeVar("T")


def check(asked: Question, form: Form) -> Question:
    """Returns the question as TorchServe should get it.

    Raises:
        ImageRejected: there are more prompts than pictures are made for.
    """
    if form is Form.MEASURED:
        return asked
    if len(asked.prompts) > MASK_PROMPTS:
        raise ImageRejected(
            422,
            "too_many_prompts",
            f"prompts: {len(asked.prompts)} were given, format {Form.MASKS} takes {MASK_PROMPTS}: ask for format "
            f"{Form.MEASURED}",
        )
    return replace(asked, options=asked.options | {"mask_format": "rle"})


def shaped(result: dict[str, Any], form: Form) -> dict[str, Any]:
    """Returns a result in the form that was asked for.

    Args:
        result: TorchServe's result of a question that `check` returned.
        form: form of the answer.

    Returns:
        The result itself; or `masks` (PNGs of the whole image, 0 and 255, base64), `scores` (predicted IoUs) and
        `prompts` (index of the prompt that each mask answers), prompt by prompt, the best mask first; `model_used`; and
        `imageDigest`, which stands for the image in the next request.

    Raises:
        HandlerFailed: the result is at odds with itself.
    """
    if form is Form.MEASURED:
        return result
    metadata = result["metadata"]
    height, width = metadata["image"]["height"], metadata["image"]["width"]
    by_id = {each["id"]: each for each in result["segmentedObjects"]}
    try:
        found = [(index, by_id[each]) for index, prompt in enumerate(result["prompts"]) for each in prompt["objectIds"]]
        return {
            "masks": [_png(each["mask"], height, width) for _, each in found],
            "scores": [each["predictedIou"] for _, each in found],
            "prompts": [index for index, _ in found],
            "model_used": metadata["model"],
            "imageDigest": metadata["imageDigest"],
        }
    except (KeyError, InvalidResult) as error:
        raise HandlerFailed(
            200, "invalid_answer", f"the answer's objects are not those of its prompts: {error}"
        ) from None


async def as_they_end(work: Iterable[Callable[[], Awaitable[T]]], at_once: int) -> AsyncGenerator[T, None]:
    """Runs pieces of work and yields what each returns, in the order in which they end.

    New work begins only when the caller asks for more, so a slow reader, or one who has left, holds it back. When the
    caller stops, the work under way is waited for: threads cannot be stopped.

    Args:
        work: makers of what to await.
        at_once: most pieces of work at once.
    """
    left, running = iter(work), set[asyncio.Task[T]]()
    try:
        while True:
            while len(running) < at_once and (begin := next(left, None)) is not None:
                running.add(asyncio.ensure_future(begin()))
            if not running:
                return
            ended, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for each in ended:
                yield each.result()
    finally:
        if running:
            await asyncio.wait(running)


class Lines(Response):
    """An answer of lines that are sent as they come. It holds its places until the last one is with the network.

    Args:
        lines: lines, each with its line feed.
        places: places to give back at the end, also when the reader leaves.
    """

    def __init__(self, lines: AsyncGenerator[bytes, None], places: ExitStack) -> None:
        super().__init__(media_type=LINES)
        del self.headers["content-length"]
        self._lines = lines
        self._places = places

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends the lines; stops when the reader disconnects."""
        request = Request(scope, receive)
        with self._places:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            async with aclosing(self._lines) as lines:
                async for line in lines:
                    await send({"type": "http.response.body", "body": line, "more_body": True})
                    if await request.is_disconnected():
                        return
            await send({"type": "http.response.body", "body": b"", "more_body": False})


def _png(mask: Any, height: int, width: int) -> str:
    file = io.BytesIO()
    Image.fromarray(decode_mask(mask, height, width).astype(np.uint8) * 255).save(file, "PNG", compress_level=1)
    return base64.b64encode(file.getvalue()).decode("ascii")
