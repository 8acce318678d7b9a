"""Reads a server's HTTP answers within bounds: whoever answers in its place may send any amount.

No request asks for compression. An answer that is compressed all the same is never unpacked, so that a few bytes stay
few.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import requests
from urllib3.exceptions import HTTPError

from grainserve.bounded_json import parse

LARGEST = 64 * 2**20
"""Largest answer that is read, bytes. TorchServe sends no more (config.properties, `max_response_size`), and our
handler 48 MiB."""


@dataclass(frozen=True)
class Answer:
    """An answer over HTTP.

    Attributes:
        status: HTTP status.
        reason: words after the status.
        url: URL that was asked.
        body: bytes of the answer; None where there were more than LARGEST.
    """

    status: int
    reason: str
    url: str
    body: bytes | None

    def json(self) -> Any:
        """Parses the body as JSON; see `bounded_json.parse`.

        Raises:
            ValueError: the body is no JSON, or there is too much of it.
        """
        if self.body is None:
            raise ValueError(f"it has more than {LARGEST} bytes")
        return parse(self.body)


def ask(method: str, url: str, timeout: tuple[float, float], **extra: Any) -> Answer:
    """Sends one request, over a connection of its own, and follows no redirect.

    Args:
        method: HTTP method.
        url: URL to ask.
        timeout: seconds to connect, and seconds to wait for the next bytes of the answer.
        extra: further arguments of `requests.request`.

    Raises:
        requests.RequestException: no whole answer came.
    """
    headers = {"Accept-Encoding": "identity"} | extra.pop("headers", {})
    # No redirects: whoever answers in a server's place could have the image sent anywhere.
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
