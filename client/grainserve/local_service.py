"""The service that `make serve` runs on this machine: its settings, in a file that exists while it runs."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from grainserve.errors import InvalidConfiguration


def path() -> Path:
    """Returns the file's path, in the user's cache folder: others cannot write there, and every login sees it."""
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "grainserve" / "serve.json"


@contextmanager
def announced(settings: Mapping[str, str]) -> Iterator[None]:
    """Writes the file, and removes it at the end. Of two services, the file names the one that started last.

    Args:
        settings: environment variables with which a client reaches the service.
    """
    import fcntl  # noqa: PLC0415 - Windows has none, and no `make serve` either

    path().parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path().parent)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        # The system frees the lock when this process ends, however it ends.
        fcntl.flock(file, fcntl.LOCK_EX)
        json.dump(dict(settings), file)
        file.flush()
        Path(name).replace(path())
        try:
            yield
        finally:
            if path().exists() and os.path.samestat(path().stat(), os.fstat(descriptor)):
                path().unlink()


def find() -> dict[str, str]:
    """Returns the settings of the running service; empty where none runs. The file of one that was killed is ignored.

    Raises:
        InvalidConfiguration: the file holds no settings.
    """
    try:
        import fcntl  # noqa: PLC0415

        with path().open(encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:  # the service holds it
                return {str(name): str(value) for name, value in json.load(file).items()}
    except (ImportError, FileNotFoundError):
        pass
    except (ValueError, AttributeError) as error:
        raise InvalidConfiguration(f"{path()} cannot be read: {error}; delete it") from None
    return {}
