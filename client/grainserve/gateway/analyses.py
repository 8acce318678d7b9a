"""Routes of figures: statistics, reports, comparisons and files of samples, and the report of one image."""

# Annotations are not postponed here: FastAPI evaluates them and would not find the types defined inside `routes`.

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path as FilePath
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Path, Query, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from grainserve.errors import InvalidOption, JobFailed, ResultNotFound
from grainserve.exports.formats import FormatName
from grainserve.exports.table import CsvDialect
from grainserve.gateway import sample_answers, sample_files
from grainserve.gateway.access import Access
from grainserve.gateway.downloads import disposition
from grainserve.gateway.keys import Caller
from grainserve.gateway.openapi import failures
from grainserve.gateway.sample_answers import ComparisonKind, ReportKind, Ways
from grainserve.gateway.sample_images import Images, Shelf
from grainserve.gateway.service import Service
from grainserve.jobs.job import State
from grainserve.library.samples import SampleRecord, Samples
from grainserve.pictures.album import Album

MOST_COMPARED = 20
"""Largest number of samples in a comparison."""


class Sized(BaseModel, extra="forbid"):
    """A query for figures: how sizes are taken."""

    edge_correction: bool = Field(True, alias="edgeCorrection", description="whether sizes are corrected for the frame")
    astm: list[str] = Field([], description="methods of ASTM E112 to add, or `all`; may be repeated")

    @property
    def ways(self) -> Ways:
        """The choices by which figures are made."""
        return Ways(self.edge_correction, tuple(self.astm))


class Report(Sized):
    """A query for a report."""

    format: ReportKind = Field(ReportKind.HTML, description="html or pdf")


class Comparison(Sized):
    """A query for a comparison."""

    sample: list[str] = Field(description="id of a sample; of two or more")
    format: ComparisonKind = Field(ComparisonKind.JSON, description="json, html or pdf")


class Export(Sized):
    """A query for files."""

    format: FormatName | Literal["zip", "xlsx"] = Field(
        "zip",
        description="zip: all; xlsx, csv, parquet, coco, statistics: one file; the others: an archive of their files",
    )
    csv_dialect: CsvDialect = Field(CsvDialect.EXCEL, alias="csvDialect", description="as of `/image-analysis`")

    @property
    def ways(self) -> Ways:
        """The choices by which figures and tables are made."""
        return Ways(self.edge_correction, tuple(self.astm), self.csv_dialect)


def prepare() -> None:
    """Imports what statistics and reports need, seconds of work, so that the first sample does not wait for it."""
    for name in ("grainserve.reports.sample", "grainserve.reports.html", "grainserve.reports.pdf", "scipy.special"):
        import_module(name)


def routes(service: Service, access: Access, album: Album) -> APIRouter:
    """Makes the routes of figures.

    Args:
        service: parts of the gateway.
        access: callers and their limits.
        album: pictures of images.
    """
    router, store = APIRouter(), service.store
    samples = Samples(store.bucket, store.now)
    Known = Annotated[Caller, Depends(access.caller)]  # noqa: N806 - a type
    Owner = Annotated[str, Depends(access.owner)]  # noqa: N806
    Sample = Annotated[str, Path(description="as `POST /samples` returned it")]  # noqa: N806

    def shelf(who: Caller) -> Shelf:
        return Shelf(store, album, who.submitter, service.limits.grains)

    def send(holder: str, make: Callable[[], Response]) -> Response:
        def made() -> Response:
            with access.analyses.hold(holder):
                return make()

        return access.downloads.send_result(holder, made)

    figures = failures(401, 404, 409, 413, 422, 429, 501, 503)

    @router.get("/samples/{sample_id}/statistics", responses=figures)
    def statistics(sample_id: Sample, asked: Annotated[Sized, Query()], who: Known, holder: Owner) -> Response:
        """The statistics of a sample's pooled grains, as `grainserve stats --json` writes them.

        `flags` are those of the report. Images that are not measured are in `leftOut`, each with its reason.
        """
        sample = samples.read(who.submitter, sample_id)
        return send(holder, lambda: _statistics(shelf(who), sample, asked))

    @router.get("/samples/{sample_id}/report", response_class=Response, responses=figures)
    def report(sample_id: Sample, asked: Annotated[Report, Query()], who: Known, holder: Owner) -> Response:
        """The report of a sample, as HTML or PDF."""
        sample = samples.read(who.submitter, sample_id)
        return send(holder, lambda: _report(shelf(who), sample, asked))

    @router.get("/samples/{sample_id}/export", response_class=Response, responses=figures)
    def export(sample_id: Sample, asked: Annotated[Export, Query()], who: Known, holder: Owner) -> Response:
        """The sample as files: one of a format, or an archive."""
        sample = samples.read(who.submitter, sample_id)
        own, form = shelf(who), asked.format
        headers = {"Content-Disposition": disposition(sample.name + sample_files.ending_of(form))}

        def begin(places: ExitStack) -> Iterator[bytes]:
            places.enter_context(access.analyses.hold(holder))
            return sample_files.archive(own, sample, form, asked.ways, places)

        if sample_files.is_one_file(form):
            return send(holder, lambda: _file(own, sample, asked, headers))
        return access.downloads.send_stream(holder, "application/zip", headers, begin)

    @router.get("/comparison", response_class=Response, responses=figures)
    def comparison(asked: Annotated[Comparison, Query()], who: Known, holder: Owner) -> Response:
        """Samples side by side: the statistics of each as JSON, or a report as HTML or PDF."""
        if not 2 <= len(asked.sample) <= MOST_COMPARED or len(set(asked.sample)) < len(asked.sample):
            raise InvalidOption(f"sample: give 2 to {MOST_COMPARED} different ids of samples")

        found = [samples.read(who.submitter, each) for each in asked.sample]
        return send(holder, lambda: _compared(shelf(who), found, asked))

    @router.get("/images/{image_id}/report", response_class=Response, responses=failures(410) | figures)
    def image_report(
        image_id: Annotated[str, Path(description="as `/upload` returned it")],
        asked: Annotated[Report, Query()],
        who: Known,
        holder: Owner,
    ) -> Response:
        """The report of one image, as HTML or PDF; 202 while its job goes on."""
        job = access.own_job(image_id, who)
        if job.state is State.FAILED and job.error:
            raise JobFailed(image_id, job.error.code, job.error.message, job.attempts, job.error.status)
        if job.state is not State.DONE:
            return JSONResponse({"imageId": image_id, "state": job.state.value}, 202, {"Retry-After": "1"})

        return send(holder, lambda: _image_report(shelf(who), image_id, asked))

    return router


def _statistics(shelf: Shelf, sample: SampleRecord, asked: Sized) -> Response:
    images = shelf.read(sample.image_ids, asked.ways.keep("figures"))
    return JSONResponse(sample_answers.statistics(sample, images, asked.ways))


def _report(shelf: Shelf, sample: SampleRecord, asked: Report) -> Response:
    images = shelf.read(sample.image_ids, asked.ways.keep("pictures"))
    return sample_answers.rendered(sample_answers.report(sample.name, images, asked.ways), sample.name, asked.format)


def _image_report(shelf: Shelf, image_id: str, asked: Report) -> Response:
    images = shelf.read([image_id], "all")
    if not images.measured:
        raise ResultNotFound(image_id)  # deleted since its record was read
    name = images.measured[0].name
    return sample_answers.rendered(sample_answers.report(name, images, asked.ways), name, asked.format)


def _file(shelf: Shelf, sample: SampleRecord, asked: Export, headers: dict[str, str]) -> Response:
    with tempfile.TemporaryDirectory() as folder:
        path = FilePath(folder) / "file"
        kind = sample_files.write_one(shelf, sample, asked.format, path, asked.ways)
        return Response(path.read_bytes(), media_type=kind, headers=headers)


def _compared(shelf: Shelf, samples: Sequence[SampleRecord], asked: Comparison) -> Response:
    images: list[Images] = []
    for sample in samples:
        images.append(shelf.read(sample.image_ids, asked.ways.keep("figures"), images[-1].taken if images else 0))
    if asked.format == ComparisonKind.JSON:
        pairs = zip(samples, images, strict=True)
        return JSONResponse({"samples": [sample_answers.statistics(*pair, asked.ways) for pair in pairs]})
    made = sample_answers.comparison(samples, images, asked.ways)
    return sample_answers.rendered(made, "comparison", asked.format)
