"""Answers of a server over HTTP, read within bounds: whoever answers in its place chooses how much there is.

An answer is taken as it comes: none is asked to be compressed, and one that is compressed all the same is never
unpacked, so that a few bytes stay few.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import requests
from urllib3.exceptions import HTTPError

from grainserve.bounded_json import parse

LARGEST = 64 * 2**20
"""Bytes of an answer. TorchServe sends no more (config.properties, `max_response_size`), and our handler 48 MiB."""


@dataclass(frozen=True)
class Answer:
    """An answer over HTTP.

    Attributes:
        status: HTTP's.
        reason: the words after it.
        url: what was asked.
        body: its bytes; None where there were more than LARGEST.
    """

    status: int
    reason: str
    url: str
    body: bytes | None

    def json(self) -> Any:
        """The body's JSON, as `parse` reads it.

        Raises:
            ValueError: it is none, or there is too much of it.
        """
        if self.body is None:
            raise ValueError(f"it has more than {LARGEST} bytes")
        return parse(self.body)


def ask(method: str, url: str, timeout: tuple[float, float], **extra: Any) -> Answer:
    """Asks once, over a connection of its own, and follows no redirect.

    Args:
        method: HTTP's.
        url: whom.
        timeout: seconds to connect, and to wait for the next bytes of the answer.
        extra: of the request, as `requests.request` takes it.

    Raises:
        requests.RequestException: there was no whole answer.
    """
    headers = {"Accept-Encoding": "identity"} | extra.pop("headers", {})
    # Nor elsewhere: whoever answers in a server's place could have the image sent to wherever he likes.
    asked = requests.request(method, url, timeout=timeout, headers=headers, allow_redirects=False, stream=True, **extra)
    with asked as response:
        body = bytearray()
        try:
            for part in response.raw.stream(2**16, decode_content=False):
                body += part
                if len(body) > LARGEST:
                    break
        except HTTPError as error:
            raise requests.ConnectionError(error) from error
    return Answer(response.status_code, response.reason, response.url, bytes(body) if len(body) <= LARGEST else None)
