"""Routes of jobs: upload an image, ask for its analysis, delete it, download the image."""

# Annotations are not postponed here: FastAPI evaluates them and would not find the types defined inside `routes`.

from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from grainserve.errors import JobFailed
from grainserve.exports.formats import Choices, FormatName
from grainserve.exports.table import CsvDialect
from grainserve.gateway import files, uploads
from grainserve.gateway.access import Access
from grainserve.gateway.found_scale import Finder
from grainserve.gateway.history import History
from grainserve.gateway.keys import Caller
from grainserve.gateway.openapi import ANALYSIS, UPLOAD, failures
from grainserve.gateway.service import Service
from grainserve.gateway.uploads import Upload
from grainserve.jobs import trace
from grainserve.jobs.job import State
from grainserve.jobs.markers import Ticket
from grainserve.jobs.references import References
from grainserve.storage.bucket import Opened


class Which(BaseModel, extra="forbid"):
    """A query that names an image. A misspelt parameter is refused, not ignored."""

    image_id: str = Field(alias="imageId", description="as `/upload` returned it")


class Wanted(Which):
    """A query for a result: the image and the format."""

    format: FormatName = Field(FormatName.JSON, description="as what `grainserve export` writes; json by default")
    csv_dialect: CsvDialect = Field(
        CsvDialect.EXCEL,
        alias="csvDialect",
        description="of csv: excel (comma, decimal point), excel-eu (semicolon, decimal comma), or raw: as excel, but "
        "texts that a spreadsheet takes for formulas get no apostrophe in front",
    )
    edge_correction: bool = Field(
        True, alias="edgeCorrection", description="of sizes and statistics: whether they are corrected for the frame"
    )


def routes(service: Service, access: Access, history: History) -> APIRouter:
    """Makes the routes of jobs.

    Args:
        service: parts of the gateway.
        access: callers and their limits.
        history: what is told of jobs.
    """
    references, finder = References(service.readable), Finder()
    router, limits = APIRouter(), service.limits
    Known = Annotated[Caller, Depends(access.caller)]  # noqa: N806 - a type
    Owner = Annotated[str, Depends(access.owner)]  # noqa: N806
    Key = Annotated[  # noqa: N806
        str | None, Header(alias="Idempotency-Key", min_length=1, description="your own name for this submission")
    ]

    @router.post(
        "/upload",
        status_code=202,
        response_description="It is stored: imageId, and the state of its job.",
        openapi_extra=UPLOAD,
        responses=failures(400, 401, 403, 404, 408, 409, 413, 415, 422, 429, 503),
    )
    async def upload(request: Request, who: Known, holder: Owner, key: Key = None) -> JSONResponse:
        """Store an image and its job, and answer at once. The image is measured afterwards.

        Send the image's bytes, a form with a file `image`, or JSON with a base64 `image`. An image that lies in a
        bucket which the gateway may read needs no upload: send JSON with its `uri` (`gs://…`). Options go into the
        form, the JSON or the query. With an `Idempotency-Key` header, a request that is sent again makes no second job;
        of a `uri`, it makes none without that header. The trace of a `traceparent` header (W3C) goes on in the job and
        ends up in the result's metadata. `name`, in the query, is the image's name in your history.
        `scale`, in the query, is `file` or `auto`: the scale is taken from the file, or else from the scale bar in the
        picture. The answer has it as `scale`; where none is found, it says why, and the image is measured without.
        An image over 1024 px is measured in tiles; `largest_grain` is the largest extent of its grains, px, or `auto`,
        the default: it is then estimated from a first look at the image scaled down.
        """
        size = uploads.Size.of(request, who.max_bytes, access.uploads.each)
        with access.uploads.hold(holder, size.places):
            given = await uploads.read(request, size, limits.slowest)
            answer: dict[str, Any] = {}
            if given.find_scale and isinstance(given.image, bytes):
                found = await finder.find(given.image, given.find_scale)
                answer = {"scale": found.to_dict()}
                if found.scale:
                    taken = {"um_per_px": found.scale.um_per_px, "scale_source": found.scale.source}
                    given = replace(given, options=given.options | taken)
            of = {"submitter": who.submitter, "key": key, "traceparent": request.headers.get(trace.HEADER)}
            image_id = await run_in_threadpool(_store, service, references, given, who.max_bytes, **of)
        if service.dispatcher:
            service.dispatcher.hand_in(Ticket(who.submitter, image_id))
        where = f"/image-analysis?imageId={image_id}"
        answer |= {"imageId": image_id, "state": State.QUEUED.value}
        return JSONResponse(answer, 202, {"Location": where})

    @router.get("/image-analysis", responses=ANALYSIS | failures(401, 404, 410, 422, 429, 501, 503))
    def image_analysis(wanted: Annotated[Wanted, Query()], who: Known, holder: Owner) -> Response:
        """The result (200), or how far the job is (202): its state, the attempts begun, and its position.

        The position is the number of your unfinished images, this one included. Jobs are not done in order.
        `expectedSeconds` counts from `created`, and is null until this gateway has seen jobs end.
        """
        image_id = wanted.image_id
        job = access.own_job(image_id, who)
        if job.ended:
            history.pace.ended(image_id, service.store.now())
        if job.state is State.FAILED and job.error:
            raise JobFailed(image_id, job.error.code, job.error.message, job.attempts, job.error.status)
        if job.state is State.DONE:
            store, form = service.store, wanted.format
            choices = Choices(csv_dialect=wanted.csv_dialect, edge_correction=wanted.edge_correction)
            return access.downloads.send_result(
                holder, lambda: files.render(store.result(image_id), form, lambda: store.image(image_id), choices)
            )
        position = history.position(job)
        where = {
            "imageId": image_id,
            "state": job.told.value,
            "attempts": job.attempts,
            "position": position,
            "created": job.created.isoformat(),
            "expectedSeconds": history.expected(job, position),
            **history.tiles(job),
        }
        return JSONResponse(where, 202, {"Retry-After": "1"})

    @router.delete(
        "/image-analysis",
        status_code=204,
        response_description="They are gone.",
        responses=failures(401, 403, 404, 422, 429, 503),
    )
    def delete(which: Annotated[Which, Query()], who: Known) -> None:
        """Delete image, job and result, its entry in the history and its scale."""
        access.own_job(which.image_id, who)
        service.store.delete(which.image_id)

    @router.get(
        "/images/{image_id}",
        response_class=Response,
        response_description="The image file.",
        responses=failures(401, 404, 422, 429, 503),
    )
    def image(
        image_id: Annotated[str, Path(description="as `/upload` returned it")], who: Known, holder: Owner
    ) -> Response:
        """The image as it was submitted."""

        def look() -> Opened:  # called once there is a place, so that refused requests do not reach storage
            access.own_job(image_id, who)
            return service.store.open_image(image_id)

        return access.downloads.send_image(holder, look)

    return router


def _store(service: Service, references: References, given: Upload, max_bytes: int, **of: Any) -> str:
    """Stores an upload and its job; returns the image id.

    Args:
        service: parts of the gateway.
        references: images that may be submitted by reference.
        given: the upload.
        max_bytes: size of the largest image, bytes.
        **of: submitter, key and traceparent of the submission.
    """
    of |= {"model": service.model, "version": service.version, "options": given.options, "name": given.name}
    if isinstance(given.image, str):
        there = references.find(given.image)
        return service.store.submit_reference(
            there, max_bytes=max_bytes, **of | {"name": given.name or there.file_name}
        )
    return service.store.submit(given.image, content_type=given.content_type, **of)
