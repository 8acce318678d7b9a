"""Runs many coroutines over one `AsyncClient`, each with its own threads, cancelled at random and begun again.

    python -m tests.faults.crowd COUNT SEED LEASE

Each image is submitted under a key until that was not cancelled, and its id is printed. Beside it the same image is
analyzed without a key and cancelled, which must leave nothing behind. All share one dispatcher, or a line says `fault`.
"""

from __future__ import annotations

import asyncio
import random
import sys
import threading
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from grainserve import AsyncClient, GrainserveError
from grainserve.dispatch.dispatcher import LISTING
from tests.faults.images import make_images

SUBMITTER = "crowd"
ONE_EACH = f"grainserve-{LISTING.replace(' ', '-')}"
"""Name of a thread that each dispatcher has once."""

T = TypeVar("T")


class Member:
    """One of the coroutines, with its image."""

    def __init__(self, client: AsyncClient, image: bytes, key: str) -> None:
        self._client = client
        self._image = image
        self._key = key
        self._chance = random.Random(key)

    async def work(self) -> None:
        """Submits, analyzes, waits."""
        image_id = await self._until_done(submits=True)
        print(image_id, flush=True)
        with suppress(GrainserveError, asyncio.CancelledError):
            await self._cancelled(self._client.analyze(self._image), 1.0)
        await self._until_done(submits=False, image_id=image_id)

    async def _until_done(self, *, submits: bool, image_id: str = "") -> str:
        while True:
            try:
                if submits:
                    return await self._cancelled(self._client.submit(self._image, idempotency_key=self._key), 0.3)
                await self._cancelled(self._client.wait(image_id), 2.0)
            except GrainserveError:
                if not submits and (await self._ended(image_id)):
                    return image_id
                await asyncio.sleep(0.2)
            except asyncio.CancelledError:
                continue
            else:
                return image_id

    async def _ended(self, image_id: str) -> bool:
        """Tells whether the job failed; storage may be away."""
        with suppress(GrainserveError):
            return (await asyncio.to_thread(self._client.client.store.job, image_id)).ended
        return False

    async def _cancelled(self, what: Coroutine[Any, Any, T], within: float) -> T:
        """Awaits a coroutine, and mostly cancels it after a random time."""
        task = asyncio.create_task(what)
        if self._chance.random() < 0.6:
            asyncio.get_running_loop().call_later(self._chance.uniform(0, within), task.cancel)
        return await task


async def work(count: int, seed: int, lease: int) -> None:
    """Runs all members at once; then sleeps."""
    async with AsyncClient(submitter=SUBMITTER, concurrency=2, lease=lease) as client:
        images = enumerate(make_images(count, seed))
        members = [Member(client, image, f"{seed}-{number}") for number, image in images]
        for error in await asyncio.gather(*(member.work() for member in members), return_exceptions=True):
            if error:
                print(f"fault: {error!r:.300}", flush=True)
        dispatchers = [thread.name for thread in threading.enumerate()].count(ONE_EACH)
        print("all ended" if dispatchers == 1 else f"fault: {dispatchers} dispatchers in one client", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(work(*map(int, sys.argv[1:])))
