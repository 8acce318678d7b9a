"""Parts and limits of a gateway."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from grainserve.dispatch.dispatcher import Dispatcher
from grainserve.gateway.keys import Keys
from grainserve.jobs.store import JobStore
from grainserve.storage.uris import NOTHING, Readable
from grainserve.torchserve.inference import TorchServe

AT_ONCE = 16
"""Default number of uploads, and of segmentations, at once in one gateway."""
LOOPBACK = ("localhost", "127.0.0.1", "[::1]")


@dataclass(frozen=True)
class Limits:
    """Limits on what clients may take of a gateway.

    Attributes:
        connections: most connections open at once.
        per_address: most connections from one IPv4 address, or from one IPv6 /64.
        header_seconds: time for a request's headers to arrive, s.
        slowest: lowest speed of an upload and of a reader, bytes/s.
        reads: most downloads of images and results at once.
        read_bytes: most bytes of results held for readers at once.
        analyses: most statistics, reports and archives of samples at once.
        grains: most grains of one analysis, which are in memory at once; for tables and masks half of them.
        share: largest part of the uploads and of the downloads that one key may have; without keys, one address.
    """

    connections: int = 512
    per_address: int = 128
    header_seconds: float = 10.0
    slowest: int = 16 * 2**10
    reads: int = 32
    read_bytes: int = 128 * 2**20
    analyses: int = 4
    grains: int = 200_000
    share: float = 0.5


@dataclass(frozen=True)
class Service:
    """Parts of a gateway.

    Attributes:
        store: job store.
        torchserve: TorchServe that the gateway asks; None: the gateway only takes jobs.
        model: model of new jobs.
        version: model version of new jobs; None: TorchServe's default version.
        keys: keys of the callers.
        dispatcher: dispatcher that starts and stops with the gateway; None: other processes work on the jobs.
        uploads: most uploads at once.
        segments: most segmentations at once.
        variants: model that answers prompts, by variant, the default one first.
        grace: time that the dispatcher's jobs in hand may take to end when the gateway stops, s.
        origins: web origins that may call (CORS).
        hosts: names that the header Host may hold while there are no keys; None: any.
        limits: limits on what clients may take.
        needs_torchserve: whether the gateway is ready only while TorchServe is.
        readable: buckets and folders whose images may be submitted by reference.
    """

    store: JobStore
    torchserve: TorchServe | None
    model: str
    version: str | None
    keys: Keys
    dispatcher: Dispatcher | None = None
    uploads: int = AT_ONCE
    segments: int = AT_ONCE
    variants: Mapping[str, str] = field(default_factory=lambda: {"fast": "sam_tiny-prompt"})
    grace: float = 25.0
    origins: tuple[str, ...] = ()
    hosts: tuple[str, ...] | None = LOOPBACK
    limits: Limits = Limits()
    needs_torchserve: bool = True
    readable: Readable = NOTHING
