"""Routes of samples: images that belong together are named, listed, changed."""

# Annotations are not postponed here: FastAPI evaluates them and would not find the types defined inside `routes`.

from concurrent.futures import ThreadPoolExecutor
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from grainserve.gateway.access import Access
from grainserve.gateway.bodies import read_model
from grainserve.gateway.keys import Caller
from grainserve.gateway.openapi import failures
from grainserve.gateway.sample_images import READERS
from grainserve.gateway.service import Service
from grainserve.library.samples import MOST_IMAGES, SampleRecord, Samples

Ids = Annotated[list[str], Field(max_length=MOST_IMAGES)]


class New(BaseModel, extra="forbid"):
    """A sample to make."""

    name: str
    image_ids: Ids = Field([], alias="imageIds")


class Change(BaseModel, extra="forbid"):
    """A change of a sample."""

    name: str | None = None
    add: Ids = []
    remove: Ids = []


def routes(service: Service, access: Access) -> APIRouter:
    """Makes the routes of samples.

    Args:
        service: parts of the gateway.
        access: callers and their limits.
    """
    router, store, slowest = APIRouter(), service.store, service.limits.slowest
    samples = Samples(store.bucket, store.now)
    Known = Annotated[Caller, Depends(access.caller)]  # noqa: N806 - a type
    Owner = Annotated[str, Depends(access.owner)]  # noqa: N806
    Sample = Annotated[str, Path(description="as `POST /samples` returned it")]  # noqa: N806
    body = {"requestBody": {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}}}

    def check_own(image_ids: list[str], who: Caller) -> None:
        with ThreadPoolExecutor(READERS) as pool:
            list(pool.map(lambda image_id: access.own_job(image_id, who), image_ids))

    @router.post(
        "/samples", status_code=201, openapi_extra=body, responses=failures(401, 403, 404, 408, 413, 422, 429, 503)
    )
    async def create(request: Request, who: Known, holder: Owner) -> JSONResponse:
        """Make a sample of images of yours: `{"name": …, "imageIds": […]}`."""
        given = await read_model(request, New, slowest)

        def make() -> SampleRecord:
            with access.lists.hold(holder):
                check_own(given.image_ids, who)
            return samples.create(who.submitter, given.name, given.image_ids)

        made = await run_in_threadpool(make)
        return JSONResponse(made.to_dict(), 201, {"Location": f"/samples/{made.sample_id}"})

    @router.get("/samples", responses=failures(401, 404, 422, 429, 503))
    def listed(
        who: Known,
        holder: Owner,
        limit: Annotated[int, Query(ge=1, le=200)] = 50,
        after: Annotated[str | None, Query(description="`next` of the page before")] = None,
    ) -> JSONResponse:
        """Your samples, the newest first, a page at a time."""
        with access.lists.hold(holder):
            found, following = samples.listed(who.submitter, limit, after)
        return JSONResponse({"samples": [each.to_dict() for each in found], "next": following})

    @router.get("/samples/{sample_id}", responses=failures(401, 404, 429, 503))
    def one(sample_id: Sample, who: Known) -> JSONResponse:
        """A sample: its name and its images."""
        return JSONResponse(samples.read(who.submitter, sample_id).to_dict())

    @router.patch(
        "/samples/{sample_id}", openapi_extra=body, responses=failures(401, 403, 404, 408, 413, 422, 429, 503)
    )
    async def change(sample_id: Sample, request: Request, who: Known, holder: Owner) -> JSONResponse:
        """Rename a sample, add images of yours, take images out: `{"name": …, "add": […], "remove": […]}`."""
        given = await read_model(request, Change, slowest)

        def make() -> SampleRecord:
            with access.lists.hold(holder):
                check_own(given.add, who)
            return samples.change(who.submitter, sample_id, name=given.name, add=given.add, remove=given.remove)

        return JSONResponse((await run_in_threadpool(make)).to_dict())

    @router.delete("/samples/{sample_id}", status_code=204, responses=failures(401, 403, 404, 429, 503))
    def delete(sample_id: Sample, who: Known) -> None:
        """Delete a sample; its images stay."""
        samples.delete(who.submitter, sample_id)

    return router
