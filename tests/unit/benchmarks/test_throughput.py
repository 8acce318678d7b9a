"""The times that the measurement of throughput reads from dispatchers' logs."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

import pytest

from benchmarks.machinery.throughput import LINE
from grainserve.cli.operations import LOG_FORMAT
from grainserve.jobs.job import Job


@pytest.mark.parametrize("trace", [None, "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"])
def test_a_job_that_is_done_is_counted(trace: str | None) -> None:
    job = Job("x1", "lab", "sam_tiny", None, {}, datetime.now(UTC), traceparent=trace)
    for end, counted in (("done", True), ("failed", False)):
        record = logging.LogRecord("grainserve", logging.INFO, "", 0, f"%s {end}", (job.about,), None)
        assert bool(LINE.match(logging.Formatter(LOG_FORMAT).format(record))) is counted
