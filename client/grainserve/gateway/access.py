"""Access to a gateway: who asks, whose jobs are whose, and what each caller may take at once."""

from __future__ import annotations

from starlette.requests import Request

from grainserve.errors import ImageNotFound
from grainserve.gateway.connections import network
from grainserve.gateway.downloads import Downloads
from grainserve.gateway.keys import Caller, Rates, ReadOnly
from grainserve.gateway.service import Service
from grainserve.gateway.shares import Shares
from grainserve.jobs.job import Job

READING = frozenset({"GET", "HEAD"})
"""Methods that a key may use that only reads."""
LISTS = 16
"""Most requests at once that look through a history."""
ASKING = frozenset({"/segment", "/segment_batch"})
"""Paths that such a key may also POST to: they store nothing in the bucket."""


class Access:
    """The limits that all routes of a gateway share.

    Args:
        service: parts of the gateway.

    Attributes:
        rates: requests that each caller has left.
        uploads: places of uploads.
        segments: places of segmentations.
        lists: places of requests that look through a history, so that these leave threads for others.
        analyses: places of statistics, reports and archives of samples.
        downloads: answers under way.
    """

    def __init__(self, service: Service) -> None:
        share = service.limits.share
        self.rates = Rates()
        self.uploads = Shares(f"{service.uploads} uploads", service.uploads, share)
        self.segments = Shares(f"{service.segments} segmentations", service.segments, share)
        self.lists = Shares(f"{LISTS} lists of images", LISTS, share)
        self.analyses = Shares(f"{service.limits.analyses} analyses of samples", service.limits.analyses, share)
        self.downloads = Downloads(service.limits)
        self._keys = service.keys
        self._store = service.store

    async def caller(self, request: Request) -> Caller:
        """Returns the caller whose key the request holds, and counts the request against the caller's rate.

        Raises:
            Unauthorized: keys are asked for, and this one is missing or unknown.
            TooManyRequests: the caller has no request left.
            ReadOnly: the key only reads, and the request may write. Every route counts as one that may, except those
                of `ASKING`, so that a new one is not forgotten.
        """
        found = self._known(request)
        self.rates.take(found)
        if found.read_only and request.method not in READING and request.url.path not in ASKING:
            raise ReadOnly(found.name)
        return found

    async def owner(self, request: Request) -> str:
        """Returns who holds the shares of a request: the key's name, or the address where no keys are used."""
        return network(request.client.host) if self._keys.open and request.client else self._known(request).name

    def own_job(self, image_id: str, caller: Caller) -> Job:
        """Returns the caller's job.

        Raises:
            ImageNotFound: there is no such job, or it is somebody else's.
        """
        job = self._store.job(image_id)
        if job.submitter != caller.submitter:
            raise ImageNotFound(image_id, self._store.bucket.name)
        return job

    def _known(self, request: Request) -> Caller:
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        return self._keys.caller(key.strip() if scheme.lower() == "bearer" else None)
