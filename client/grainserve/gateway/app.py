"""The gateway as an ASGI application.

    POST   /upload                     an image and its options → 202 and an image id
    GET    /image-analysis?imageId=    200 the result; 202 the job goes on; 404; 410 it failed, and why
    DELETE /image-analysis?imageId=    image, job and result are gone
    GET    /images                     the caller's images, newest first
    GET    /images/{imageId}           the image as it was submitted
    PATCH  /images/{imageId}           another name, other tags
    DELETE /images/{imageId}           as DELETE /image-analysis
    GET    /images/{imageId}/about     what is known of the image
    GET    /images/{imageId}/scale     its scale and who set it
    PUT    /images/{imageId}/scale     another scale
    GET    /me                         whose key this is
    GET    /images/{imageId}/preview   a picture of it that browsers show
    GET    /images/{imageId}/tiles     the tiles of its deep zoom, and /tiles/{level}/{column}/{row}
    POST   /segment                    an image and prompts → the masks of what they point at, at once
    POST   /segment_batch              several of these
    GET    /variants                   the models that may be asked for
    GET    /                           a page to drop images on

and /healthz, /readyz, /metrics, /openapi.json, /docs. Errors have the handler's form: {"error": {"code", "message"}}.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from importlib import resources

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import HTMLResponse, JSONResponse
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from grainserve.errors import GrainserveError
from grainserve.gateway import analyses, docs, images, jobs, pictures, samples, segment
from grainserve.gateway.access import Access
from grainserve.gateway.history import History
from grainserve.gateway.metrics import Metrics
from grainserve.gateway.readiness import Readiness
from grainserve.gateway.refusals import refusal
from grainserve.gateway.same_site import guarded
from grainserve.gateway.service import Service
from grainserve.gateway.shares import Busy
from grainserve.gateway.variants import Variants
from grainserve.pictures.album import Album

log = logging.getLogger(__name__)

HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
]
DRAINED = 64 * 2**20
"""Refused bodies up to this many bytes are read and thrown away, so that the sender can read the answer. The gateway
hangs up on larger ones."""
PAGE_POLICY = "default-src 'self'; img-src 'self' blob: data:; style-src 'self'; script-src 'self'"


def create_app(service: Service) -> ASGIApp:
    """Builds the ASGI application.

    Args:
        service: parts of the gateway; its dispatcher starts and stops with the application.
    """
    management = service.torchserve.management if service.torchserve else None
    variants = Variants(service.variants, management)
    history = History(service.store)

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        await variants.listed()  # logs those that TorchServe lacks
        if service.dispatcher:
            service.dispatcher.start()
        yield
        if service.dispatcher:
            await run_in_threadpool(service.dispatcher.stop, service.grace)
        history.close()

    cors = [Middleware(CORSMiddleware, allow_origins=service.origins, allow_methods=["*"], allow_headers=["*"])]
    app = FastAPI(
        title="grainserve",
        description="A microscope image goes in, a table of measured grains comes out.",
        lifespan=life,
        docs_url=None,  # FastAPI's own page takes its scripts from a CDN, and some laboratories have no internet
        redoc_url=None,
        middleware=cors if service.origins else [],
        exception_handlers={
            GrainserveError: _answer_error,
            RequestValidationError: _answer_invalid,
            HTTPException: _answer_http,
            ClientDisconnect: _answer_nobody,
            Exception: _answer_fault,
        },
    )
    metrics = Metrics(service.store, service.dispatcher)
    access, album = Access(service), Album()
    app.include_router(jobs.routes(service, access, history))
    app.include_router(images.routes(service, access, history))
    app.include_router(pictures.routes(service, access, album))
    app.include_router(samples.routes(service, access))
    app.include_router(analyses.routes(service, access, album))
    app.include_router(segment.routes(service, access, variants, metrics))
    needed = service.torchserve if service.needs_torchserve else None
    readiness = Readiness(service.store, needed, service.model, service.version, service.dispatcher)
    app.include_router(_probes(readiness, metrics))
    app.include_router(_page())
    app.mount("/page", StaticFiles(packages=[("grainserve.gateway", "page")]))
    inside = guarded(app, service.hosts, service.origins) if service.keys.open else app
    return metrics.counting(_with_headers(inside))


def _probes(readiness: Readiness, metrics: Metrics) -> APIRouter:
    """Makes the routes for operators. They need no key and no thread of the routes' pool, which may be exhausted."""
    router = APIRouter()

    @router.get("/healthz", response_description="It does.")
    async def healthz() -> dict[str, str]:
        """The process answers."""
        return {"status": "ok"}

    @router.get("/readyz", response_description="All is there.", responses={503: {"description": "What is missing."}})
    async def readyz() -> JSONResponse:
        """The bucket answers, a worker is ready, and no thread of the dispatcher is down."""
        problems = await readiness.problems()
        return JSONResponse({"ready": not problems, "problems": problems}, 503 if problems else 200)

    @router.get("/metrics", response_class=Response, response_description="In Prometheus' text format.")
    async def prometheus() -> Response:
        """Metrics for Prometheus."""
        return Response(await metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    return router


def _page() -> APIRouter:
    """Makes the routes for people: the page and the description of the API."""
    router = APIRouter(include_in_schema=False)
    page = resources.files("grainserve.gateway").joinpath("page")
    policy = {"Content-Security-Policy": PAGE_POLICY}

    @router.get("/")
    def start() -> HTMLResponse:
        return HTMLResponse(page.joinpath("index.html").read_bytes(), headers=policy)

    @router.get("/docs")
    def description(request: Request) -> HTMLResponse:
        return HTMLResponse(docs.render(request.app.openapi()), headers=policy)

    return router


async def _answer_error(request: Request, error: GrainserveError) -> JSONResponse:
    """Answers an error of ours in the handler's form."""
    refused = refusal(error)
    headers = dict(refused.headers)
    unread = isinstance(error, Busy) or error.code == "too_many_bytes"
    if error.code == "too_slow" or (unread and not 0 < int(request.headers.get("content-length", 0)) < DRAINED):
        headers["Connection"] = "close"
    return JSONResponse(refused.body, refused.status, headers)


async def _answer_invalid(_: Request, error: RequestValidationError) -> JSONResponse:
    """Answers a request with a parameter that FastAPI refuses."""
    faults = [f"{fault['loc'][-1]}: {fault['msg'].lower()}" for fault in error.errors()]
    return JSONResponse({"error": {"code": "invalid_request", "message": "; ".join(faults)}}, 422)


async def _answer_http(_: Request, error: HTTPException) -> JSONResponse:
    """Answers an unknown path, a method that the path does not have, or a form that cannot be parsed."""
    code = HTTPStatus(error.status_code).phrase.lower().replace(" ", "_")
    return JSONResponse({"error": {"code": code, "message": str(error.detail)}}, error.status_code, error.headers)


async def _answer_nobody(request: Request, _: ClientDisconnect) -> JSONResponse:
    """Logs that the client hung up before its request was complete. Only the metrics see the answer."""
    log.info("%s broke its request off", request.client.host if request.client else "a client")
    return JSONResponse({"error": {"code": "broken_off", "message": "the request did not come to its end"}}, 400)


async def _answer_fault(_: Request, error: Exception) -> JSONResponse:
    """Answers a fault of ours. uvicorn logs the traceback."""
    message = f"the gateway failed ({type(error).__name__}): its log has the cause"
    return JSONResponse({"error": {"code": "internal_error", "message": message}}, 500)


def _with_headers(app: ASGIApp) -> ASGIApp:
    """Wraps the app so that its answers carry the security headers."""

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        async def adding(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *HEADERS]
            await send(message)

        await app(scope, receive, adding if scope["type"] == "http" else send)

    return wrapped
