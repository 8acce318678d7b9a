"""Images and results on their way to readers, however slowly they are read."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import chain

from starlette.concurrency import iterate_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from grainserve.errors import StorageError
from grainserve.gateway.service import Limits
from grainserve.gateway.shares import Shares
from grainserve.gateway.uploads import content_type
from grainserve.storage.bucket import PART, Opened

log = logging.getLogger(__name__)


class Downloads:
    """All answers under way, within a gateway's limits."""

    def __init__(self, limits: Limits) -> None:
        self._reads = Shares(f"{limits.reads} images and results", limits.reads, limits.share)
        self._bytes = Shares(f"{limits.read_bytes / 2**20:g} MiB of results", limits.read_bytes, limits.share)

    def send_image(self, owner: str, look: Callable[[], Opened]) -> Response:
        """Sends an image from storage as it is read; submitted past the gateway it may be none, and is not called one.

        Args:
            owner: of the shares that it takes.
            look: opens it.

        Raises:
            Busy: there is no place.
        """
        with ExitStack() as shares:
            shares.enter_context(self._reads.hold(owner))
            stored = look()
            first = next(stored.parts, b"")
            return Sent(chain([first], stored.parts), stored.size, content_type(first), shares.pop_all())

    def send_result(self, owner: str, make: Callable[[], Response]) -> Response:
        """Sends a result, which is made at once and held until it is read.

        Args:
            owner: of the shares that it takes.
            make: the whole answer.

        Raises:
            Busy: there is no place, or not so many bytes.
        """
        with ExitStack() as shares:
            shares.enter_context(self._reads.hold(owner))
            answer = make()
            body = bytes(answer.body)
            shares.enter_context(self._bytes.hold(owner, len(body)))
            parts = (body[start : start + PART] for start in range(0, len(body), PART))
            return Sent(parts, len(body), answer.media_type, shares.pop_all())


class Sent(Response):
    """An answer of which a part at a time is in memory; it holds its shares until the last one is with the network.

    Args:
        parts: of the body, in order; each is asked for in a thread, when the one before is out.
        size: of the body, bytes.
        media_type: of the body.
        shares: given back at the end, whatever it is.
    """

    def __init__(self, parts: Iterator[bytes], size: int, media_type: str | None, shares: ExitStack) -> None:
        super().__init__(media_type=media_type, headers={"Content-Length": str(size)})
        self._parts = parts
        self._places = shares

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends it."""
        request = Request(scope, receive)
        with self._places:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            try:
                async for part in iterate_in_threadpool(self._parts):
                    await send({"type": "http.response.body", "body": part, "more_body": True})
                    if await request.is_disconnected():
                        return
            except StorageError as error:
                log.error("an answer breaks off: %s", error)
                return  # unfinished, so that its reader knows: the server hangs up
            await send({"type": "http.response.body", "body": b"", "more_body": False})
