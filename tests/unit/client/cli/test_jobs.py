"""`grainserve jobs`: unfinished jobs, and cancelling them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from google.cloud import storage

from grainserve.jobs.job import Failure, State
from grainserve.jobs.markers import Ticket
from grainserve.jobs.store import Claim, JobStore
from tests.unit.client.cli.test_application import run, words

pytestmark = pytest.mark.usefixtures("bucket_name")  # commands find the bucket by its name


def submit(store: JobStore, submitter: str = "lab") -> str:
    return store.submit(b"image", model="sam_tiny", version=None, options={}, submitter=submitter)


def claimed(store: JobStore, image_id: str) -> Claim:
    claim = store.claim(Ticket("lab", image_id), "somebody")
    assert isinstance(claim, Claim)
    return claim


def listed(*arguments: object) -> dict[str, list[str]]:
    """Returns the rows by image id."""
    done = run("jobs", *arguments)
    assert done.exit_code == 0, done.output
    lines = [line.split() for line in done.stdout.splitlines()]
    return {line[0]: line[1:] for line in lines if len(line[0]) == 32}


def test_the_list_says_where_each_unfinished_job_is(store: JobStore, gcs: storage.Client, bucket_name: str) -> None:
    queued, running, delayed, abandoned, unreadable, over = (submit(store) for _ in range(6))
    claimed(store, running)
    store.attempt_failed(claimed(store, delayed), Failure("worker_died", "the worker\ndied"))
    store.now = _ahead(store.now, hours=-1)
    claimed(store, abandoned)
    store.now = _ahead(store.now, hours=1)
    gcs.bucket(bucket_name).blob(f"jobs/{unreadable}.json").upload_from_string(b"{}")
    store.finish(claimed(store, over), {})
    rows = listed()
    states = {image_id: row[0] for image_id, row in rows.items()}
    assert states == {
        queued: "queued", running: "running", delayed: "delayed", abandoned: "abandoned", unreadable: "unreadable",
    }  # fmt: skip
    age, unit, *attempts = rows[delayed][1:6]
    assert (int(age) < 60, unit, attempts) == (True, "s", ["1", "of", "3"])
    assert rows[queued][3:6] == ["0", "of", "3"]
    assert rows[delayed][6:] == ["lab", "the", "worker", "died"]


def test_foreign_words_steer_no_terminal(store: JobStore) -> None:
    image_id = submit(store)
    store.attempt_failed(claimed(store, image_id), Failure("worker_died", "it said \x1b[2Jand\x07 \x9b31m"))
    done = run("jobs")
    (line,) = [line for line in done.stdout.splitlines() if line.startswith(image_id)]
    assert "it said" in line
    assert line.isprintable()


def _ahead(now: Callable[[], datetime], hours: float) -> Callable[[], datetime]:
    return lambda: now() + timedelta(hours=hours)


def test_the_oldest_come_first_and_no_more_than_asked_for(store: JobStore) -> None:
    ids = []
    now = store.now
    for hours in (-3, -30, -100):
        store.now = _ahead(now, hours)
        ids.append(submit(store))
    rows = listed()
    assert list(rows) == ids[::-1]
    assert [" ".join(rows[image_id][1:3]) for image_id in ids] == ["3 h", "30 h", "4 d"]
    few = run("jobs", "--limit", 2)
    assert len(few.stdout.splitlines()) == 3
    assert "more than 2" in few.output


def test_jobs_are_ones_own_unless_asked_otherwise(store: JobStore) -> None:
    own, other = submit(store), submit(store, "other")
    assert set(listed()) == {own}
    assert set(listed("--submitter", "other")) == {other}
    assert set(listed("--everyone")) == {own, other}
    assert "no unfinished jobs of nobody" in words(run("jobs", "--submitter", "nobody").output)


def test_cancel_ends_what_has_not_ended_and_says_what_had(store: JobStore) -> None:
    queued, running, done = (submit(store) for _ in range(3))
    claimed(store, running)
    store.finish(claimed(store, done), {})
    said = run("jobs", "cancel", queued, running, done, queued)
    assert (said.exit_code, said.stdout.splitlines()) == (
        0, [f"{queued}  cancelled", f"{running}  cancelled", f"{done}  done already"],
    )  # fmt: skip
    assert [store.job(image_id).state for image_id in (queued, running, done)] == [
        State.FAILED, State.FAILED, State.DONE,
    ]  # fmt: skip
    assert listed() == {}
    polled = run("poll", queued)
    assert polled.exit_code == 1
    assert "cancelled" in words(polled.output)


def test_an_unknown_id_does_not_stop_the_others(store: JobStore) -> None:
    known = submit(store)
    said = run("jobs", "cancel", "f" * 32, known)
    assert said.exit_code == 1
    assert f"{known}  cancelled" in said.stdout
    assert "f" * 32 in words(said.output)


def test_all_are_ones_own(store: JobStore) -> None:
    for _ in range(3):
        submit(store)
    other = submit(store, "other")
    said = run("jobs", "cancel", "--all")
    assert (said.exit_code, said.stdout.strip()) == (0, "3 jobs cancelled")
    assert set(listed("--everyone")) == {other}


@pytest.mark.parametrize("arguments", [(), ("--all", "f" * 32)])
def test_what_to_cancel_must_be_said(store: JobStore, arguments: tuple[str, ...]) -> None:
    said = run("jobs", "cancel", *arguments)
    assert said.exit_code == 2
    assert "--all" in words(said.output)


def test_help_teaches() -> None:
    for arguments in (("jobs",), ("jobs", "cancel")):
        text = words(run(*arguments, "--help").output)
        assert "Example" in text
        assert "grainserve jobs cancel" in text
    assert "abandoned" in words(run("jobs", "--help").output)
