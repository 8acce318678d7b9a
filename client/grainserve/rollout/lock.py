"""A file lock that allows one change of a model at a time at one TorchServe.

The operating system releases the lock when the process that holds it dies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from filelock import FileLock, Timeout

from grainserve.errors import GrainserveError


class ChangeUnderWay(GrainserveError):
    """Another process is changing the same model."""

    code = "change_under_way"


@contextmanager
def change_lock(model_store: Path, model: str, *, seconds: float, say: Callable[[str], None]) -> Iterator[None]:
    """Holds the lock of a model at one TorchServe.

    Args:
        model_store: folder from which TorchServe registers archives; all processes that change it share the folder.
        model: name of the model.
        seconds: seconds to wait for the lock; 0 does not wait.
        say: called with a message when it has to wait.

    Raises:
        ChangeUnderWay: another process still holds the lock.
    """
    model_store.mkdir(parents=True, exist_ok=True)
    lock = FileLock(model_store / f".{quote(model, safe='')}.lock")
    try:
        try:
            lock.acquire(timeout=0)
        except Timeout:
            if seconds:
                say(f"{model}: waiting for another `grainserve models` that is changing it here")
            lock.acquire(timeout=seconds)
    except Timeout:
        raise ChangeUnderWay(
            f"another `grainserve models` is changing {model} at this TorchServe: wait until it is done, then try again"
        ) from None
    try:
        yield
    finally:
        lock.release()
