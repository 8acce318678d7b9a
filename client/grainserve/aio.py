"""The client's verbs as coroutines."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Self

from grainserve.client import Client
from grainserve.errors import WaitTimeout
from grainserve.images import ImageSource
from grainserve.result import Result
from grainserve.tiles.layout import LARGEST_GRAIN


class AsyncClient:
    """`Client` for asyncio: the same arguments, verbs and errors.

    google-cloud-storage and requests block, so each call runs in a thread (`asyncio.to_thread`). Waiting does not hold
    one: `wait` sleeps in the event loop between looks, so any number of waits go on at once, and cancelling one stops
    it; the job goes on.
    """

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        self.client = Client(*arguments, **settings)

    async def submit(self, image: ImageSource, **options: Any) -> str:
        """See `Client.submit`."""
        return await asyncio.to_thread(self.client.submit, image, **options)

    async def submit_many(self, images: Iterable[ImageSource], *, progress: bool = True, **options: Any) -> list[str]:
        """See `Client.submit_many`."""
        return await asyncio.to_thread(self.client.submit_many, images, progress=progress, **options)

    async def poll(self, image_id: str) -> Result | None:
        """See `Client.poll`."""
        return await asyncio.to_thread(self.client.poll, image_id)

    async def wait(self, image_id: str, timeout: float | None = None) -> Result:
        """See `Client.wait`."""
        loop = asyncio.get_running_loop()
        begun, pause = loop.time(), 0.05
        found = await asyncio.to_thread(self.client.look, image_id)
        while found is None:
            left = float("inf") if timeout is None else timeout - (loop.time() - begun)
            if left <= 0:
                state = await asyncio.to_thread(self.client.state, image_id)
                raise WaitTimeout(image_id, timeout or 0.0, state.value, self.client.problem)
            await asyncio.sleep(min(pause, left))
            pause = min(pause * 1.3, 1.0)
            found = await asyncio.to_thread(self.client.poll, image_id)
        return found

    async def analyze(
        self,
        image: ImageSource,
        *,
        timeout: float | None = None,
        largest_grain: int = LARGEST_GRAIN,
        **options: Any,
    ) -> Result:
        """See `Client.analyze`."""
        loop = asyncio.get_running_loop()
        begun, results = loop.time(), list[Result]()
        work = await asyncio.to_thread(self.client.begin, image, largest_grain=largest_grain, **options)
        for image_id in work.image_ids:
            left = None if timeout is None else max(0.0, timeout - (loop.time() - begun))
            results.append(await self.wait(image_id, left))
        return await asyncio.to_thread(work.result, results)

    async def close(self, timeout: float | None = None) -> None:
        """See `Client.close`."""
        await asyncio.to_thread(self.client.close, timeout)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.client.__exit__, kind, error, trace)
