"""Settings of one run of the command line: its own options, else the environment, else a local `make serve`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from grainserve import config, local_service
from grainserve.cli.terminal import reported, say_note

LOCAL = frozenset(
    {"analyze", "export", "images", "jobs", "models", "poll", "report", "segment", "submit", "wait", "weights"}
)
"""Commands that use a local `make serve`: those that reach a service or fetch images. The service's own processes use
only what they are given."""

PLACES = (config.BUCKET, config.WEIGHTS_BUCKET, config.TORCHSERVE, config.MANAGEMENT, "STORAGE_EMULATOR_HOST")
"""Settings that must all be missing for a local service to be used: half of it beside another one's bucket is none."""


@contextmanager
def settled(options: Mapping[str, str | None], *, local: bool) -> Iterator[None]:
    """Sets the environment variables of a run in the block, and says on standard error if a local service is used.

    Args:
        options: values that go over the environment, by variable; None for none.
        local: whether to look for a local service.
    """
    settings = {name: value for name, value in options.items() if value}
    if local and not any(settings.get(name) or os.environ.get(name) for name in PLACES):
        with reported():
            found = local_service.find()
        if found:
            say_note(f"using `make serve`: {found.get(config.TORCHSERVE)}, bucket {found.get(config.BUCKET)}")
        settings = {name: value for name, value in found.items() if not os.environ.get(name)} | settings
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
