"""A guard that closes a gateway without keys to the pages of other sites.

Any web page can make its visitor's browser send requests to any address that the browser reaches, also to loopback. A
key would stop them, because browsers send none by themselves. A gateway without keys refuses two things instead:

- Writes from another origin. Browsers name the origin in Sec-Fetch-Site, or to plain-HTTP servers in Origin alone.
  Reads from another origin are allowed: a link may lead here, and the browser hides the answer from the other page.
- Requests to a host name that is not the gateway's, where its names are known. A site may point its own name at the
  gateway (DNS rebinding); the browser then takes the site's pages for the gateway's.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

READS = {"GET", "HEAD", "OPTIONS"}


def guarded(app: ASGIApp, hosts: Collection[str] | None, origins: Collection[str]) -> ASGIApp:
    """Wraps an app so that it answers only requests that the guard lets through.

    Args:
        app: application behind the guard.
        hosts: names and addresses that the header Host may hold, in its notation (`[::1]`); None: any.
        origins: web origins that may write; "*": any.
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
    """Tells whether a page of another origin sent the request. Programs other than browsers send neither header."""
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if "*" in origins or origin in origins:
        return False
    if site is not None:
        return site not in ("same-origin", "none")
    return origin is not None and origin.partition("://")[2].lower() != headers.get("host", "").lower()


def _refusal(code: str, message: str) -> JSONResponse:
    return JSONResponse({"error": {"code": code, "message": message}}, 403)
