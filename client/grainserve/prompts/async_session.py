"""The asynchronous session: the methods of `Session` as coroutines."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grainserve.prompts.prompt import make_prompt
from grainserve.prompts.session import PromptedObject, Session
from grainserve.result import Result


class AsyncSession:
    """`Session` for asyncio: the same arguments, methods and errors. `AsyncClient.open` makes one.

    TorchServe is asked in a thread. Calls take effect in the order in which they were made. A cancelled `add` changes
    nothing.

    Args:
        session: session whose methods are called.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self._turn = asyncio.Lock()

    @property
    def objects(self) -> tuple[PromptedObject, ...]:
        """See `Session.objects`."""
        return self.session.objects

    @property
    def masks(self) -> list[NDArray[np.bool_]]:
        """See `Session.masks`."""
        return self.session.masks

    async def add(self, *, object: int | None = None, **prompt: Any) -> PromptedObject:  # noqa: A002 - the word for it
        """See `Session.add`."""
        async with self._turn:
            turn = self.session.turn(make_prompt(**prompt), object)
            answer = await asyncio.to_thread(self.session.ask, turn)
            return self.session.keep(turn, answer)

    async def undo(self) -> bool:
        """See `Session.undo`."""
        async with self._turn:
            return self.session.undo()

    async def reset(self) -> None:
        """See `Session.reset`."""
        async with self._turn:
            self.session.reset()

    async def to_result(self) -> Result:
        """See `Session.to_result`."""
        async with self._turn:
            return self.session.to_result()
