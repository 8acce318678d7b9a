"""Strangers cannot fill the log."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from grainserve.gateway.logs import LINES, SECONDS, Seldom


class Kept(logging.Handler):
    """A handler that keeps the lines that pass the filter."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.now = 0.0
        self.addFilter(Seldom(lambda: self.now))

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@pytest.fixture
def kept() -> Iterator[Kept]:
    handler, root = Kept(), logging.getLogger()
    root.addHandler(handler)
    yield handler
    root.removeHandler(handler)


@pytest.mark.parametrize("name", ["asyncio", "uvicorn.error", "grainserve.gateway.connections"])
def test_a_line_that_repeats_is_held_back_and_counted(kept: Kept, name: str) -> None:
    for time in (0.0, SECONDS):
        kept.now = time
        for number in range(1000):
            logging.getLogger(name).error("no more files: %d", number)
    first, later = kept.lines[:LINES], kept.lines[LINES:]
    assert first == [f"no more files: {number}" for number in range(LINES)]
    assert later[0] == f"no more files: 0 (and {1000 - LINES} more that were not logged)"
    assert len(later) == LINES


def test_another_place_in_the_code_is_heard(kept: Kept) -> None:
    log = logging.getLogger("asyncio")
    for _ in range(1000):
        log.error("the same")
    log.error("another")
    assert kept.lines[-1] == "another"


def test_what_is_logged_of_jobs_is_logged_whole(kept: Kept) -> None:
    for number in range(1000):
        logging.getLogger("grainserve.dispatch.dispatcher").warning("job %d failed", number)
    assert len(kept.lines) == 1000
