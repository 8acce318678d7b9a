"""Routes of pictures: an image's preview and the tiles of its deep zoom."""

# Annotations are not postponed here: FastAPI evaluates them and would not find the types defined inside `routes`.

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Depends, Path, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from grainserve.errors import ImageNotFound
from grainserve.gateway.access import Access
from grainserve.gateway.keys import Caller
from grainserve.gateway.openapi import failures
from grainserve.gateway.service import Service
from grainserve.gateway.shares import Shares
from grainserve.jobs.store import DELETED
from grainserve.pictures.album import Album, File, Form, Original
from grainserve.pictures.pyramid import TILE

AT_ONCE = 2
"""Pictures that are made at once in a gateway; others wait, without a thread."""
WAITING = 64
"""Pictures that may be made or waited for; requests for more are refused."""
MAX_PREVIEW = 2048
"""Longest side of a preview, px."""
FAILURES = failures(401, 404, 413, 415, 422, 429, 503)
CACHING = {"Cache-Control": "private, no-cache", "Vary": "Authorization"}
"""A browser keeps a picture and asks each time whether it may show it: a key may have been withdrawn."""


class Wanted(BaseModel, extra="forbid"):
    """A query for a preview."""

    side: int = Field(1024, ge=16, le=MAX_PREVIEW, description="longest side, px; no image is enlarged")
    format: Form = Field(Form.WEBP, description="webp or png")


@dataclass(frozen=True)
class Asked:
    """A request for a picture.

    Attributes:
        image_id: image id.
        request: the request.
        who: who asks.
        holder: who holds the place that it takes.
    """

    image_id: str
    request: Request
    who: Caller
    holder: str


def routes(service: Service, access: Access, album: Album) -> APIRouter:
    """Makes the routes of pictures.

    Args:
        service: parts of the gateway.
        access: callers and their limits.
        album: pictures of images.
    """
    router, threads = APIRouter(), CapacityLimiter(AT_ONCE)
    places = Shares(f"{WAITING} pictures", WAITING, service.limits.share)

    async def asking(
        image_id: Annotated[str, Path(description="as `/upload` returned it")],
        request: Request,
        who: Annotated[Caller, Depends(access.caller)],
        holder: Annotated[str, Depends(access.owner)],
    ) -> Asked:
        return Asked(image_id, request, who, holder)

    This = Annotated[Asked, Depends(asking)]  # noqa: N806 - a type

    def original(asked: Asked) -> Original:
        job = access.own_job(asked.image_id, asked.who)
        found = service.store.find_image(asked.image_id)
        if job.error == DELETED or found is None:
            raise ImageNotFound(asked.image_id, service.store.bucket.name)
        return Original((asked.image_id, found.generation), lambda: service.store.image(asked.image_id))

    async def answer(asked: Asked, make: Callable[[Original], Response]) -> Response:
        def made() -> Response:
            image = original(asked)
            headers = {"ETag": _tag(image, asked.request), **CACHING}
            if headers["ETag"] in re.findall(r'"[^"]*"', asked.request.headers.get("if-none-match", "")):
                return Response(status_code=304, headers=headers)
            picture = make(image)
            picture.headers.update(headers)
            return access.downloads.send_result(asked.holder, lambda: picture)

        with places.hold(asked.holder):
            return await to_thread.run_sync(made, limiter=threads)

    @router.get(
        "/images/{image_id}/preview",
        response_class=Response,
        response_description="The picture; `X-Image-Size` has the image's own size as WxH, px.",
        responses=FAILURES,
    )
    async def preview(asked: This, wanted: Annotated[Wanted, Query()]) -> Response:
        """The image as a picture that browsers show, as soon as it is uploaded.

        It is upright, and deep levels are stretched as for the measurement. `ETag` and `If-None-Match` hold.
        """
        return await answer(asked, lambda image: _sent(album.preview(image, wanted.side, wanted.format)))

    @router.get(
        "/images/{image_id}/tiles", response_description="width, height, tileSide and levels.", responses=FAILURES
    )
    async def tiles(asked: This) -> Response:
        """The tiles of a deep zoom. Level `levels` - 1 is the image at full size, each one below at half of that."""

        def described(image: Original) -> Response:
            (width, height), levels = album.size(image)
            return JSONResponse({"width": width, "height": height, "tileSide": TILE, "levels": levels})

        return await answer(asked, described)

    @router.get(
        "/images/{image_id}/tiles/{level}/{column}/{row}",
        response_class=Response,
        response_description="The tile, WebP.",
        responses=FAILURES,
    )
    async def tile(asked: This, level: int, column: int, row: int) -> Response:
        """A tile of a level, as WebP; tiles at the right and lower edge are smaller."""
        return await answer(asked, lambda image: _sent(album.tile(image, level, column, row)))

    return router


def _sent(file: File) -> Response:
    width, height = file.size
    return Response(file.data, media_type=f"image/{file.form}", headers={"X-Image-Size": f"{width}x{height}"})


def _tag(image: Original, request: Request) -> str:
    """Returns an ETag of all that a picture is made from."""
    made_from = f"{image.key} {request.url.path}?{request.url.query}"
    return f'"{hashlib.sha256(made_from.encode()).hexdigest()[:32]}"'
