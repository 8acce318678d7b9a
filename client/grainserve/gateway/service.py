"""What a gateway works with."""

from __future__ import annotations

from dataclasses import dataclass

from grainserve.dispatch.dispatcher import Dispatcher
from grainserve.gateway.keys import Keys
from grainserve.jobs.store import JobStore
from grainserve.torchserve.inference import TorchServe

AT_ONCE = 16
"""Uploads under way in one gateway, where it is told no other number."""
LOOPBACK = ("localhost", "127.0.0.1", "[::1]")


@dataclass(frozen=True)
class Limits:
    """What strangers may take of a gateway.

    Attributes:
        connections: open at once.
        per_address: of them from one address; of IPv6 from one /64.
        header_seconds: for a request's headers to arrive.
        slowest: bytes a second that an upload brings, and an answer is read with, at least.
        reads: images and results on their way to readers at once.
        read_bytes: of results among them.
        share: the part of uploads and reads that is the most for one key; without keys, for one address.
    """

    connections: int = 512
    per_address: int = 128
    header_seconds: float = 10.0
    slowest: int = 16 * 2**10
    reads: int = 32
    read_bytes: int = 128 * 2**20
    share: float = 0.5


@dataclass(frozen=True)
class Service:
    """A gateway's parts.

    Attributes:
        store: images, jobs, results.
        torchserve: whose readiness is the gateway's; None where it only takes jobs, for which a bucket is enough.
        model: what new jobs are for.
        version: its version; None for TorchServe's default one.
        keys: who may come in.
        dispatcher: works on jobs in this process, started and stopped with it; None leaves that to others.
        uploads: under way at once, at most.
        grace: seconds its jobs in hand may take at the end.
        origins: web origins that may call (CORS).
        hosts: names that requests may be addressed to while there are no keys; None for any.
        limits: for strangers.
    """

    store: JobStore
    torchserve: TorchServe | None
    model: str
    version: str | None
    keys: Keys
    dispatcher: Dispatcher | None = None
    uploads: int = AT_ONCE
    grace: float = 25.0
    origins: tuple[str, ...] = ()
    hosts: tuple[str, ...] | None = LOOPBACK
    limits: Limits = Limits()
