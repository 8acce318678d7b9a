"""What a gateway works with."""

from __future__ import annotations

from dataclasses import dataclass

from grainserve.dispatcher import Dispatcher
from grainserve.gateway.keys import Keys
from grainserve.protocol import JobStore
from grainserve.torchserve import TorchServe

AT_ONCE = 16
"""Uploads under way in one gateway, where it is told no other number."""
LOOPBACK = ("localhost", "127.0.0.1", "[::1]")


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
