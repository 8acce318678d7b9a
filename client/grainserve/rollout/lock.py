"""One change of a model at a time at one TorchServe: whoever works on it has its file lock, which dies with them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from filelock import FileLock, Timeout

from grainserve.errors import GrainserveError


class ChangeUnderWay(GrainserveError):
    """Another process changes the same model."""

    code = "change_under_way"


@contextmanager
def change_lock(model_store: Path, model: str, *, seconds: float, say: Callable[[str], None]) -> Iterator[None]:
    """Waits until nobody else changes the model at the TorchServe of this model store, and keeps others away.

    Args:
        model_store: the folder TorchServe registers from, which everybody who changes it shares.
        model: whose versions.
        seconds: to wait.
        say: takes word of the wait.

    Raises:
        ChangeUnderWay: another is still at it.
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
