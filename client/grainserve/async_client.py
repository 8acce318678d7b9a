"""The asynchronous client: the methods of `Client` as coroutines."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from os import PathLike
from types import TracebackType
from typing import Any, Self, TypeVar

from grainserve.client import AnyImage, Client, JobsDone, Progress
from grainserve.deadline import Deadline
from grainserve.errors import GrainserveError
from grainserve.images import ImageSource
from grainserve.jobs.job import State
from grainserve.prompts.async_session import AsyncSession
from grainserve.result import Result
from grainserve.submission import Submission
from grainserve.tiles.layout import LARGEST_GRAIN

T = TypeVar("T")


class AsyncClient:
    """`Client` for asyncio: the same arguments, methods and errors.

    google-cloud-storage and requests block, so each call runs in a thread (`asyncio.to_thread`). A `wait` needs a
    thread only while it looks: between looks it sleeps in the event loop, so any number of waits go on at once.

    Cancelling a `wait` ends the wait, and the job goes on. Cancelling `submit`, `submit_many`, `begin` or `analyze`
    withdraws the jobs submitted so far, as nobody has their ids. A job under an idempotency key stays, for the next
    submission under that key. A thread cannot be stopped in the middle of a call to storage, so a cancelled submission
    ends when that call has ended.

    Args:
        *arguments: positional arguments of `Client`.
        **settings: keyword arguments of `Client`.
    """

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        self.client = Client(*arguments, **settings)

    async def submit(self, image: AnyImage, **options: Any) -> str:
        """See `Client.submit`."""
        return await self._submitting(self.client.submit, image, **options)

    async def submit_many(self, images: Iterable[AnyImage], *, progress: bool = True, **options: Any) -> list[str]:
        """See `Client.submit_many`."""
        return await self._submitting(self.client.submit_many, images, progress=progress, **options)

    async def poll(self, image_id: str) -> Result | None:
        """See `Client.poll`."""
        return await asyncio.to_thread(self.client.poll, image_id)

    async def set_scale(self, image_id: str, scale: str | float | None) -> float | None:
        """See `Client.set_scale`."""
        return await asyncio.to_thread(self.client.set_scale, image_id, scale)

    async def state(self, image_id: str) -> State:
        """See `Client.state`."""
        return await asyncio.to_thread(self.client.state, image_id)

    async def wait(self, image_id: str, timeout: float | None = None, progress: Progress | None = None) -> Result:
        """See `Client.wait`; `progress` is called in a thread."""
        return await _awaited(self.client.looks(image_id, Deadline(timeout), progress))

    async def cancel(self, image_ids: Iterable[str]) -> list[str]:
        """See `Client.cancel`."""
        return await asyncio.to_thread(self.client.cancel, image_ids)

    async def analyze(
        self,
        image: AnyImage,
        *,
        timeout: float | None = None,
        progress: Progress | None = None,
        largest_grain: int = LARGEST_GRAIN,
        on_done: JobsDone | None = None,
        **options: Any,
    ) -> Result:
        """See `Client.analyze`; `progress` and `on_done` are called in a thread."""
        deadline = Deadline(timeout)
        begun = await self.begin(image, timeout=deadline, largest_grain=largest_grain, **options)
        try:
            return await self.finish(begun, deadline, progress, on_done)
        except asyncio.CancelledError:
            await self.cancel(begun.image_ids)
            raise

    async def segment(self, image: ImageSource, **options: Any) -> Result:
        """See `Client.segment`."""
        return await asyncio.to_thread(self.client.segment, image, **options)

    async def open(self, image: ImageSource, **options: Any) -> AsyncSession:
        """See `Client.open`; the session's methods are coroutines."""
        return AsyncSession(await asyncio.to_thread(self.client.open, image, **options))

    async def begin(self, image: AnyImage, **options: Any) -> Submission:
        """See `Client.begin`."""
        return await self._submitting(self.client.begin, image, **options)

    async def finish(
        self,
        submission: Submission,
        timeout: float | Deadline | None = None,
        progress: Progress | None = None,
        on_done: JobsDone | None = None,
    ) -> Result:
        """See `Client.finish`."""
        return await _awaited(self.client.finishing(submission, Deadline.of(timeout), progress, on_done))

    async def default_version(self) -> str | None:
        """See `Client.default_version`."""
        return await asyncio.to_thread(self.client.default_version)

    async def check(self) -> None:
        """See `Client.check`."""
        await asyncio.to_thread(self.client.check)

    @property
    def problem(self) -> GrainserveError | None:
        """See `Client.problem`."""
        return self.client.problem

    async def result_from(self, path: str | PathLike[str]) -> Result:
        """See `Client.result_from`."""
        return await asyncio.to_thread(self.client.result_from, path)

    async def _submitting(self, submit: Callable[..., T], *arguments: Any, **options: Any) -> T:
        """Runs a submission in a thread. When cancelled, waits until it stores no more, then withdraws its jobs."""
        ids: list[str] = []
        stopped = False
        given = options.pop("on_id", None)

        def noted(image_id: str) -> None:
            if stopped:
                raise _Stopped
            ids.append(image_id)
            if given:
                given(image_id)

        running = asyncio.ensure_future(asyncio.to_thread(submit, *arguments, on_id=noted, **options))
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            stopped = True
            await asyncio.wait({running})
            if not running.cancelled():
                running.exception()  # fetched, so that asyncio does not report an error that nobody awaits
            if options.get("idempotency_key") is None:
                await self.cancel(ids)
            raise

    async def close(self, timeout: float | None = None) -> None:
        """See `Client.close`."""
        await asyncio.to_thread(self.client.close, timeout)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.client.__exit__, kind, error, trace)


class _Stopped(GrainserveError):
    """Ends a submission whose caller was cancelled."""

    code = "stopped"


async def _awaited(looks: Iterator[float | Result]) -> Result:
    """Waits for the result that `looks` yields. Each look runs in a thread; the pauses run in the event loop."""
    while not isinstance(seen := await asyncio.to_thread(next, looks), Result):
        await asyncio.sleep(seen)
    return seen
