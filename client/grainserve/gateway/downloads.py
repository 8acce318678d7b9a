"""Downloads: sends images and results to readers of any speed, within a gateway's limits."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from itertools import chain
from types import MappingProxyType
from urllib.parse import quote

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
    """All downloads under way in a gateway.

    Args:
        limits: limits of the gateway.
    """

    def __init__(self, limits: Limits) -> None:
        self._reads = Shares(f"{limits.reads} images and results", limits.reads, limits.share)
        self._bytes = Shares(f"{limits.read_bytes / 2**20:g} MiB of results", limits.read_bytes, limits.share)

    def send_image(self, owner: str, look: Callable[[], Opened]) -> Response:
        """Sends an image while it is read from storage.

        The content type comes from the first bytes, because a job that was submitted past the gateway may hold a file
        that is no image.

        Args:
            owner: holder of the place that the download takes.
            look: opens the image; called once there is a place.

        Raises:
            Busy: there is no place left, or none for this owner.
        """
        with ExitStack() as shares:
            shares.enter_context(self._reads.hold(owner))
            stored = look()
            first = next(stored.parts, b"")
            return Sent(chain([first], stored.parts), stored.size, content_type(first), shares.pop_all())

    def send_result(self, owner: str, make: Callable[[], Response]) -> Response:
        """Sends a result. The whole answer is made at once and stays in memory until it is read.

        Args:
            owner: holder of the place and of the bytes that the download takes.
            make: makes the whole answer; called once there is a place.

        Raises:
            Busy: there is no place, or too few bytes are left.
        """
        with ExitStack() as shares:
            shares.enter_context(self._reads.hold(owner))
            answer = make()
            body = bytes(answer.body)
            shares.enter_context(self._bytes.hold(owner, len(body)))
            parts = (body[start : start + PART] for start in range(0, len(body), PART))
            kept = {name: value for name, value in answer.headers.items() if not name.startswith("content-length")}
            return Sent(parts, len(body), answer.media_type, shares.pop_all(), kept)

    def send_stream(
        self, owner: str, media_type: str, headers: Mapping[str, str], begin: Callable[[ExitStack], Iterator[bytes]]
    ) -> Response:
        """Sends an answer of unknown length while it is made.

        Args:
            owner: holder of the place that the download takes.
            media_type: content type.
            headers: headers of the answer.
            begin: begins the answer and returns its parts; called once there is a place. What it puts on the stack is
                given back when the answer ends.

        Raises:
            Busy: there is no place left, or none for this owner.
        """
        with ExitStack() as shares:
            shares.enter_context(self._reads.hold(owner))
            parts = begin(shares)
            first = next(parts, b"")  # so that an error at the beginning is told as one
            return Sent(chain([first], parts), None, media_type, shares.pop_all(), headers)


def disposition(name: str, *, shown: bool = False) -> str:
    """Returns the header that names a file (RFC 6266), in any script (RFC 5987), whatever the name holds.

    Args:
        name: name of the file.
        shown: whether a browser shows the file; otherwise it stores it.
    """
    safe = re.sub(r'[\x00-\x1f\x7f"/\\]', "_", name)
    plain = safe.encode("ascii", "replace").decode().replace("?", "_")
    return f"{'inline' if shown else 'attachment'}; filename=\"{plain}\"; filename*=UTF-8''{quote(safe, safe='')}"


class Sent(Response):
    """An answer that is sent part by part. It holds its shares until the last part is with the network.

    Args:
        parts: parts of the body, in order. Each is fetched in a thread once the one before is sent.
        size: length of the body, bytes; None where it is not known.
        media_type: content type of the body.
        shares: shares to give back at the end, also when the download fails.
        headers: further headers.
    """

    def __init__(
        self,
        parts: Iterator[bytes],
        size: int | None,
        media_type: str | None,
        shares: ExitStack,
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        super().__init__(media_type=media_type, headers={**headers, "Content-Length": str(size)})
        if size is None:
            del self.headers["Content-Length"]
        self._parts = parts
        self._places = shares

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends the answer; stops when the reader disconnects or storage fails."""
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
                return  # the answer stays unfinished and the server hangs up, so the reader sees that it is cut short
            await send({"type": "http.response.body", "body": b"", "more_body": False})
