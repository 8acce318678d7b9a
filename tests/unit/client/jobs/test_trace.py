"""The trace of a submission in the client's part of its way."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from grainserve.client import Client
from grainserve.dispatch.dispatcher import Dispatcher
from grainserve.jobs.job import Job
from grainserve.jobs.store import JobStore
from grainserve.jobs.trace import trace_id, traceparent
from grainserve.torchserve.inference import TorchServe
from tests.unit.client.fake_torchserve import TOO_LARGE, WORKER_DIED, Answer, FakeTorchServe

ID = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{ID}-00f067aa0ba902b7-01"


@pytest.mark.parametrize("given", [PARENT, f"cc-{ID}-00f067aa0ba902b7-01-what.the-future.will.be", PARENT[:-2] + "00"])
def test_a_trace_that_was_given_is_kept_as_it_came(given: str) -> None:
    assert traceparent(given) == given
    assert trace_id(given) == ID


@pytest.mark.parametrize(
    "given",
    [
        *(None, "", "x", PARENT.upper(), PARENT + "\n", PARENT + "-more", f"{PARENT} "),
        f"ff-{ID}-00f067aa0ba902b7-01",
        f"00-{'0' * 32}-00f067aa0ba902b7-01",
        f"00-{ID}-{'0' * 16}-01",
        f"cc-{ID}-00f067aa0ba902b7-01-{'x' * 500}",
    ],
)
def test_what_is_no_trace_is_replaced_by_a_new_one(given: str | None) -> None:
    made = traceparent(given)
    assert made != given
    assert traceparent(made) == made
    assert traceparent(given) != made


@pytest.mark.usefixtures("torchserve")
def test_a_submission_has_the_callers_trace_or_one_of_its_own(bucket_name: str, picture: Path) -> None:
    client = Client(bucket=bucket_name, dispatch=False)
    mine, own = (client.submit(picture, traceparent=given) for given in (PARENT, None))
    assert client.store.job(mine).traceparent == PARENT
    made = client.store.job(own).traceparent
    assert made is not None
    assert traceparent(made) == made != PARENT


def test_a_record_without_a_trace_can_be_read(store: JobStore) -> None:
    image_id = store.submit(b"image", model="sam_tiny", version=None, options={}, submitter="lab")
    record = json.loads(store.job(image_id).to_json())
    del record["traceparent"]
    job = Job.from_json(json.dumps(record).encode())
    assert (job.traceparent, job.about) == (None, f"image {image_id}")


@pytest.mark.parametrize(
    ("answers", "said"), [([], "done"), ([TOO_LARGE], "refused"), ([WORKER_DIED], "attempt 1 on image")]
)
def test_torchserve_and_the_log_are_told_the_trace(
    store: JobStore,
    torchserve: FakeTorchServe,
    caplog: pytest.LogCaptureFixture,
    answers: list[Answer],
    said: str,
) -> None:
    caplog.set_level("INFO", logger="grainserve")
    torchserve.script = answers
    image_id = store.submit(b"image", model="sam_tiny", version=None, options={}, submitter="lab", traceparent=PARENT)
    with Dispatcher(store, TorchServe(torchserve.url, torchserve.url), listing_interval=0.1):
        deadline = time.monotonic() + 30
        while not store.job(image_id).ended:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    assert set(torchserve.traces) == {PARENT}
    assert any(said in line and image_id in line and ID in line for line in caplog.messages), caplog.messages
