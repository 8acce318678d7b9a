"""Routes of prompts: ask about one image, or about several at once, and list the models that answer."""

# Annotations are not postponed here: FastAPI evaluates them and would not find the types defined inside `routes`.

import json
import logging
from collections.abc import Callable
from contextlib import ExitStack, aclosing
from functools import partial
from typing import Annotated, Any, TypeVar

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.requests import ClientDisconnect

from grainserve.admission import MAX_MIB
from grainserve.errors import GrainserveError, ImageRejected, InvalidOption
from grainserve.gateway import bodies, segment_requests
from grainserve.gateway.access import Access
from grainserve.gateway.keys import MIB, Caller
from grainserve.gateway.metrics import Metrics
from grainserve.gateway.openapi import BATCH, SEGMENT, failures
from grainserve.gateway.refusals import FAULT, refusal
from grainserve.gateway.segment_answers import LINES, RESULT, Lines, as_they_end, check, shaped
from grainserve.gateway.segment_requests import MOST_ITEMS, PROMPT_BYTES, Asked, Form
from grainserve.gateway.segmenter import Segmenter
from grainserve.gateway.service import Service
from grainserve.gateway.variants import Variants
from grainserve.jobs import trace

log = logging.getLogger(__name__)

AT_ONCE = 4
"""Most items of a batch at once."""
HELD = 32 * 2**20
"""Bytes of answers that a batch may hold which is answered by one JSON."""
WHOLE = 8
"""Most items of a batch that is answered by one JSON unless lines are asked for."""

T = TypeVar("T")


class Wanted(BaseModel, extra="forbid"):
    """A query for the form of the answer. A misspelt parameter is refused, not ignored."""

    format: Form | None = Field(None, description="masks: PNGs and scores; measured: the result, as of a job")


def routes(service: Service, access: Access, variants: Variants, metrics: Metrics) -> APIRouter:
    """Makes the routes of prompts.

    Args:
        service: parts of the gateway.
        access: callers and their limits.
        variants: the models.
        metrics: counts what is sent to TorchServe.
    """
    router, segmenter = APIRouter(), Segmenter(service, access, variants, metrics)
    # Threads of their own: those that wait for TorchServe would keep uploads and polls from theirs.
    threads = CapacityLimiter(service.segments)

    Known = Annotated[Caller, Depends(access.caller)]  # noqa: N806 - a type
    Owner = Annotated[str, Depends(access.owner)]  # noqa: N806
    Said = Annotated[Wanted, Query()]  # noqa: N806

    async def in_thread(work: Callable[[], T]) -> T:
        return await to_thread.run_sync(work, limiter=threads)

    async def read(request: Request, reader: Callable[[bodies.Body], Asked], most_bytes: int, files: int) -> Asked:
        bounds = bodies.Bounds(most_bytes, PROMPT_BYTES, files, service.limits.slowest)
        return await in_thread(partial(reader, await bodies.read(request, bounds)))

    def answer(item: Any, form: Form, who: Caller, traceparent: str) -> dict[str, Any]:
        asked = check(segment_requests.question(item, who.max_bytes), form)
        return shaped(segmenter.result(asked, who, traceparent), form)

    @router.post(
        "/segment",
        response_description="The masks of what the prompts point at, or with `format=measured` the result.",
        openapi_extra=SEGMENT,
        responses=failures(400, 401, 403, 404, 408, 413, 415, 422, 429, 501, 502, 503),
    )
    async def segment(request: Request, who: Known, holder: Owner, wanted: Said) -> Response:
        """The masks of what prompts point at in an image, at once. Nothing is stored.

        Send a form: `file` with the image, `point_coords` and `point_labels` or `box` as JSON text, and `model_type`
        for one of `/variants`. It answers with `masks` (PNGs of the whole image in base64, 0 and 255, the best first),
        `scores`, `model_used` and `imageDigest`. Or send JSON with an `image` in base64 and `prompts`, which answers
        with the result, measured. `format`, or the header `Accept`, chooses the other answer.

        In the image's place, `imageId` names an uploaded one, and `imageDigest` one that was sent just before.
        """
        parent = trace.traceparent(request.headers.get(trace.HEADER))
        with access.segments.hold(holder):
            asked = await read(request, segment_requests.one, who.max_bytes, 1)
            form = _form(request, wanted, asked)
            made = await in_thread(partial(answer, asked.items[0], form, who, parent))
            kind = RESULT if form is Form.MEASURED and RESULT in request.headers.get("accept", "") else bodies.JSON
            send = access.downloads.send_result
            return await in_thread(lambda: send(holder, lambda: JSONResponse(made, media_type=kind)))

    @router.post(
        "/segment_batch",
        response_description="What each item has come to. With `Accept: application/x-ndjson`, and for more than 8 "
        "items, a line for each as it ends.",
        openapi_extra=BATCH,
        responses=failures(400, 401, 403, 408, 413, 415, 422, 429, 503),
    )
    async def segment_batch(request: Request, who: Known, holder: Owner, wanted: Said) -> Response:
        """Several requests to `/segment` in one, up to 64: an item that fails has its own error.

        Send JSON with `items`, each like the JSON of `/segment`; or a form with several files and as `prompts` a list
        of prompts for each. Each item of the answer has its `index`, a `status`, and a `result` or an `error`.
        """
        parent = trace.traceparent(request.headers.get(trace.HEADER))
        with ExitStack() as places:
            at_once = places.enter_context(access.segments.hold(holder, AT_ONCE))
            asked = await read(request, segment_requests.several, MAX_MIB * MIB, MOST_ITEMS)
            form = _form(request, wanted, asked)

            def outcome(index: int) -> tuple[int, bytes]:
                item, asked.items[index] = asked.items[index], None  # an image is freed when its item has ended
                if index:  # the request itself has been counted
                    access.rates.take(who)
                return index, _written({"index": index, "status": 200, "result": answer(item, form, who, parent)})

            def told(index: int) -> tuple[int, bytes]:
                try:
                    return outcome(index)
                except GrainserveError as error:
                    refused = refusal(error)
                except Exception:  # a fault of ours: the other items go on, and the log has the cause
                    log.exception("item %d of a batch failed", index)
                    refused = FAULT
                return index, _written({"index": index, "status": refused.status, **refused.body})

            work = (partial(in_thread, partial(told, index)) for index in range(len(asked.items)))
            outcomes = as_they_end(work, at_once)
            if LINES in request.headers.get("accept", "") or len(asked.items) > WHOLE:
                return Lines((line + b"\n" async for _, line in outcomes), places.pop_all())
            ended: dict[int, bytes] = {}
            async with aclosing(outcomes) as each:
                async for index, line in each:
                    _hold(ended, index, line)
                    if await request.is_disconnected():
                        raise ClientDisconnect
            whole = b'{"items":[' + b",".join(ended[index] for index in sorted(ended)) + b"]}"
            return access.downloads.send_result(holder, lambda: Response(whole, media_type=bodies.JSON))

    @router.get("/variants", response_description="The variants, the default one first.", responses=failures(401, 429))
    async def listed(_: Known) -> dict[str, list[dict[str, str | bool | None]]]:
        """The values that `model_type` may have: each with its model, and whether TorchServe has that model.

        `available` is null where that is not known.
        """
        return {"variants": await variants.listed()}

    return router


def _form(request: Request, wanted: Wanted, asked: Asked) -> Form:
    """Returns the form of the answer: the one that the request names, else the usual one."""
    if wanted.format and asked.form:
        raise InvalidOption("format: in the query and in the body; give it once")
    accepted = Form.MEASURED if RESULT in request.headers.get("accept", "") else None
    return wanted.format or asked.form or accepted or asked.usual


def _hold(ended: dict[int, bytes], index: int, line: bytes) -> None:
    """Keeps an item's answer for the whole, as far as memory allows."""
    ended[index] = line
    if sum(map(len, ended.values())) > HELD:
        message = f"the answers are over {HELD // 2**20} MiB: ask for lines (Accept: {LINES}), or for less"
        raise ImageRejected(422, "answer_too_large", message)


def _written(outcome: dict[str, Any]) -> bytes:
    return json.dumps(outcome, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
