"""Routes of a caller's images: list them, name and tag them, delete them, set their scale."""

# Annotations are not postponed here: FastAPI evaluates them and would not find the types defined inside `routes`.

import re
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, Field, StrictStr

from grainserve.errors import InvalidOption
from grainserve.gateway import uploads
from grainserve.gateway.access import Access
from grainserve.gateway.bodies import read_model
from grainserve.gateway.history import History, Wanted
from grainserve.gateway.keys import Caller
from grainserve.gateway.openapi import failures
from grainserve.gateway.service import Service
from grainserve.images import MAX_SIDE
from grainserve.jobs.job import Job, State
from grainserve.jobs.store import entry_of
from grainserve.library.samples import Samples
from grainserve.library.scales import Asked, Line, current_scale, revision

PLACE = re.compile(r"\d{13}-[A-Za-z0-9_-]{1,128}")
MOST_COPIES = 1000
"""Most images that a scale is copied to at once."""
AT_ONCE = 8
"""Scales that a request writes at the same time."""


class Page(BaseModel, extra="forbid"):
    """A query for a page of images."""

    limit: int = Field(50, ge=1, le=200, description="most images on the page")
    after: str = Field("", max_length=200, description="`next` of the page before")
    search: str = Field("", max_length=200, description="text in the name or in a tag, in any case")
    tag: str | None = Field(None, max_length=50, description="a tag, in any case")
    state: State | None = Field(None, description="state of the job")
    sample: str | None = Field(None, description="a sample that the images belong to")


class Changes(BaseModel, extra="forbid"):
    """A new name, new tags, or both; what is left out stays."""

    name: StrictStr | None = Field(None, description="up to 200 characters")
    tags: list[StrictStr] | None = Field(None, description="up to 20 tags of up to 50 characters")


class LineGiven(BaseModel, extra="forbid"):
    """A line on the picture, px from its top left corner."""

    x1: float = Field(strict=True)
    y1: float = Field(strict=True)
    x2: float = Field(strict=True)
    y2: float = Field(strict=True)


class ScaleGiven(BaseModel, extra="forbid"):
    """A scale: `text`, `umPerPx`, or `line` with `length`."""

    text: StrictStr | None = Field(None, max_length=100, description="such as `2.5 µm/px` or `1 mm = 412 px`")
    umPerPx: float | None = Field(None, strict=True, description="null: no scale")  # noqa: N815
    line: LineGiven | None = Field(None, description="a line on the picture")
    length: StrictStr | None = Field(None, max_length=100, description="how long the line is, such as `500 µm`")
    source: StrictStr | None = Field(None, description="typed, line, copied, metadata, bar or request")
    images: list[StrictStr] = Field([], max_length=MOST_COPIES, description="ids of more images to set it for")


def routes(service: Service, access: Access, history: History) -> APIRouter:
    """Makes the routes of a caller's images.

    Args:
        service: parts of the gateway.
        access: callers and their limits.
        history: what is told of images.
    """
    router, store, slowest = APIRouter(), service.store, service.limits.slowest
    samples = Samples(store.bucket, store.now)
    body = {"requestBody": {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}}}
    Known = Annotated[Caller, Depends(access.caller)]  # noqa: N806 - a type
    Owner = Annotated[str, Depends(access.owner)]  # noqa: N806
    Id = Annotated[str, Path(description="as `/upload` returned it")]  # noqa: N806

    @router.get("/me", response_description="Whose key it is.", responses=failures(401, 429))
    def me(who: Known) -> dict[str, Any]:
        """The name of the key, whether it only reads, whether this gateway asks for keys, and the largest image."""
        return {
            "name": who.name,
            "readOnly": who.read_only,
            "keys": not service.keys.open,
            "maxBytes": uploads.large_bytes(who.max_bytes, access.uploads.each),
            "maxSide": MAX_SIDE,
        }

    @router.get("/images", response_description="A page of images.", responses=failures(401, 404, 422, 429, 503))
    def listed(page: Annotated[Page, Query()], who: Known, holder: Owner) -> dict[str, Any]:
        """Your images, newest first: name, tags, state, and of those measured size, number of grains and scale.

        `next`, if it is not null, is the `after` of the next page. A page may hold fewer images than `limit`, or none,
        although there is a next one.
        """
        if page.after and not PLACE.fullmatch(page.after):
            raise InvalidOption(f"after is {page.after!r}, which is no `next` of a page before: leave it out")
        sample = None if page.sample is None else frozenset(samples.read(who.submitter, page.sample).image_ids)
        wanted = Wanted(page.limit, page.after, page.search, page.tag, page.state, sample)
        with access.lists.hold(holder):
            images, following = history.page(who.submitter, wanted)
        return {"images": images, "next": following}

    @router.get(
        "/images/{image_id}/about", response_description="The image.", responses=failures(401, 404, 422, 429, 503)
    )
    def about(image_id: Id, who: Known) -> dict[str, Any]:
        """One image, as `/images` lists it, with its scale."""
        job = access.own_job(image_id, who)
        return history.image(job) | {"scale": scale_of(job)}

    @router.patch(
        "/images/{image_id}",
        response_description="The image as it is now.",
        openapi_extra=body,
        responses=failures(401, 403, 404, 422, 429, 503),
    )
    async def change(image_id: Id, request: Request, who: Known) -> dict[str, Any]:
        """Give an image another name or other tags: `{"name": …, "tags": […]}`. What is left out stays."""
        changes = await read_model(request, Changes, slowest)

        def make() -> dict[str, Any]:
            job = access.own_job(image_id, who)
            store.entries.change(entry_of(job), changes.name, changes.tags)
            return history.image(job)

        return await run_in_threadpool(make)

    @router.delete(
        "/images/{image_id}",
        status_code=204,
        response_description="It is gone.",
        responses=failures(401, 403, 404, 422, 429, 503),
    )
    def delete(image_id: Id, who: Known) -> None:
        """Delete image, job and result, its entry in the history and its scale."""
        access.own_job(image_id, who)
        store.delete(image_id)

    @router.get(
        "/images/{image_id}/scale", response_description="The scale.", responses=failures(401, 404, 422, 429, 503)
    )
    def scale(image_id: Id, who: Known) -> dict[str, Any]:
        """The scale of an image, its source, who set it and when, and all revisions."""
        return scale_of(access.own_job(image_id, who))

    @router.put(
        "/images/{image_id}/scale",
        response_description="The scale as it is now.",
        openapi_extra=body,
        responses=failures(401, 403, 404, 422, 429, 503),
    )
    async def set_scale(image_id: Id, request: Request, who: Known, holder: Owner) -> dict[str, Any]:
        """Set the scale of an image. Its result has it from now on, in every format.

        Send `{"text": …}`, `{"umPerPx": …}` (null: no scale), or `{"line": {"x1", "y1", "x2", "y2"}, "length": …}`;
        with `images`, a list of ids, the scale is copied to these, too. `text` takes `2.5 µm/px`, `2,5`, `0.4 px/µm`,
        `2500 nm/px` and `1 mm = 412 px`. Nothing is measured again: sizes in µm are those in px times the scale.
        """
        given = await read_model(request, ScaleGiven, slowest)
        line = Line(**given.line.model_dump()) if given.line else None
        asked = Asked(given.text, given.umPerPx, "umPerPx" in given.model_fields_set, line, given.length, given.source)
        make = revision(asked, who.name)

        def write() -> dict[str, Any]:
            ids = list(dict.fromkeys([image_id, *given.images]))
            with access.lists.hold(holder), ThreadPoolExecutor(AT_ONCE) as pool:
                jobs = list(pool.map(lambda each: access.own_job(each, who), ids))  # all, before anything is written
                made = [make, *[lambda now: make(now).copied()] * (len(ids) - 1)]
                list(pool.map(store.scales.revise, ids, made))
            return scale_of(jobs[0])

        return await run_in_threadpool(write)

    def scale_of(job: Job) -> dict[str, Any]:
        return current_scale(job.options, job.submitter, job.created, store.scales.revisions(job.image_id))

    return router
