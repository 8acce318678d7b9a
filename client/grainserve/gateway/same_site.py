"""A gateway without keys, closed to the pages of other sites.

Any page can make its visitor's browser send requests to wherever that browser reaches, loopback included. Browsers send
no key by themselves; where none is needed, two things are refused:

- Writes that come from another origin. Browsers say so in Sec-Fetch-Site, or to plain-HTTP servers in Origin alone.
  Reads are not: a link may lead here, and what is answered the browser keeps from the other page.
- Requests to a name that is not ours, where ours are known: a site may point its own name here (DNS rebinding), and its
  pages are then of our origin.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

READS = {"GET", "HEAD", "OPTIONS"}


def guarded(app: ASGIApp, hosts: Collection[str] | None, origins: Collection[str]) -> ASGIApp:
    """The app, guarded.

    Args:
        app: what is behind.
        hosts: names and addresses that a request's Host may have, in its notation (`[::1]`); None for any.
        origins: web origins that may write; "*" for any.
    """

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        answer = app
        if scope["type"] == "http":
            headers = Headers(scope=scope)
            if hosts is not None and _name(headers) not in hosts:
                ways = f"ask it as {', '.join(sorted(set(hosts)))}, or start it with --keys"
                answer = _refusal("unknown_host", f"without keys this gateway is for its own machine: {ways}")
            elif scope["method"] not in READS and _is_foreign(headers, origins):
                answer = _refusal(
                    "cross_origin", "a page of another origin sent this: --cors-origin names those that may"
                )
        await answer(scope, receive, send)

    return wrapped


def _name(headers: Headers) -> str:
    return re.sub(r":\d*$", "", headers.get("host", "").lower())


def _is_foreign(headers: Headers, origins: Collection[str]) -> bool:
    """Whether a page of another origin sent this; programs other than browsers say neither."""
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if "*" in origins or origin in origins:
        return False
    if site is not None:
        return site not in ("same-origin", "none")
    return origin is not None and origin.partition("://")[2].lower() != headers.get("host", "").lower()


def _refusal(code: str, message: str) -> JSONResponse:
    return JSONResponse({"error": {"code": code, "message": message}}, 403)
