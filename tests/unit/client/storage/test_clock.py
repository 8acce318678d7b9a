"""GCS's time, whatever the machine's clock says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from grainserve.storage.bucket import Bucket
from grainserve.storage.clock import AGREE, JUMP, MEMORY, ServerClock

NOON = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


class Local:
    time = 5000.0

    def __call__(self) -> float:
        return self.time


def answer(
    date: datetime | str | None, status: int = 200, kind: str = "application/json", way: float = 0.0
) -> requests.Response:
    """What storage, or somebody in its place, answers; after so many seconds."""
    response = requests.Response()
    response.status_code, response.elapsed = status, timedelta(seconds=way)
    response.headers["Content-Type"] = kind
    if date is not None:
        response.headers["Date"] = date if isinstance(date, str) else format_datetime(date, usegmt=True)
    return response


def test_before_the_first_answer_there_is_no_time() -> None:
    clock = ServerClock()
    for date in (None, "", "yesterday"):
        clock.hear(answer(date))
    with pytest.raises(RuntimeError, match="before the server had answered"):
        clock.now()


@given(st.lists(st.tuples(st.floats(0, 30), st.floats(0, 2)), min_size=1, max_size=40), st.floats(0, 1))
def test_it_is_never_ahead_and_less_than_a_second_and_one_way_behind(
    answers: list[tuple[float, float]], fraction: float
) -> None:
    local = Local()
    clock = ServerClock(local)
    begun, way = local.time, 0.0
    for wait, way in answers:
        local.time += wait
        sent = NOON + timedelta(seconds=local.time - begun + fraction)
        local.time += way
        clock.hear(answer(sent.replace(microsecond=0)))
    true = NOON + timedelta(seconds=local.time - begun + fraction)
    assert timedelta(0) <= true - clock.now() + timedelta(milliseconds=1)
    assert true - clock.now() < timedelta(seconds=1.001 + way)


def test_a_clock_of_ours_that_runs_fast_is_found_out() -> None:
    local = Local()
    clock = ServerClock(local)
    for late in range(30):  # each time it shows a second more than has passed
        clock.hear(answer(NOON + timedelta(seconds=local.time - 5000.0 - late)))
        local.time += MEMORY / 10 + 1
    true = NOON + timedelta(seconds=local.time - 5000.0 - 30)
    assert clock.now() - true < timedelta(seconds=21)


def test_after_a_long_silence_what_was_known_is_forgotten() -> None:
    local = Local()
    clock = ServerClock(local)
    clock.hear(answer(NOON))
    local.time += 3 * MEMORY + 5  # it shows 5 s more than have passed
    clock.hear(answer(NOON + timedelta(seconds=3 * MEMORY)))
    assert clock.now() == NOON + timedelta(seconds=3 * MEMORY)


def test_an_answer_that_was_long_under_way_does_not_set_the_time_back() -> None:
    local = Local()
    clock = ServerClock(local)
    clock.hear(answer(NOON))
    local.time += MEMORY + 1
    clock.hear(answer(NOON + timedelta(seconds=MEMORY + 1 - 30)))
    assert clock.now() == NOON + timedelta(seconds=MEMORY + 1)


def test_a_clock_of_ours_that_stood_still_is_found_out() -> None:
    """As it does while a laptop sleeps."""
    local = Local()
    clock = ServerClock(local)
    clock.hear(answer(NOON))
    for _ in range(AGREE):
        assert clock.now() == NOON
        clock.hear(answer(NOON + timedelta(hours=8)))
    assert clock.now() == NOON + timedelta(hours=8)


TOMORROW = NOON + timedelta(days=1)


@pytest.mark.parametrize(
    ("status", "kind"),
    [(503, "application/json"), (404, "application/json"), (307, "application/json"), (200, "text/html")],
)
def test_what_is_not_storages_own_tells_no_time(status: int, kind: str) -> None:
    clock = ServerClock(Local())
    clock.hear(answer(NOON))
    for _ in range(10):
        clock.hear(answer(TOMORROW, status, kind))
    assert clock.now() == NOON


def test_an_answer_of_gcs_without_json_tells_the_time() -> None:
    clock = ServerClock(Local())
    deleted = answer(NOON, 204, "text/html")
    deleted.headers["X-GUploader-UploadID"] = "AB"
    clock.hear(deleted)
    assert clock.now() == NOON


def test_wrong_dates_among_right_ones_do_not_move_the_clock() -> None:
    clock = ServerClock(Local())
    for _ in range(10):
        clock.hear(answer(NOON))
        for _ in range(AGREE - 1):
            clock.hear(answer(TOMORROW))
    assert clock.now() == NOON
    for days in range(2, 10):  # nor do those that agree on nothing
        clock.hear(answer(NOON + timedelta(days=days)))
    assert clock.now() == NOON


def test_a_wrong_first_date_is_outvoted() -> None:
    clock = ServerClock(Local())
    clock.hear(answer(TOMORROW))
    for _ in range(AGREE):
        clock.hear(answer(NOON))
    assert clock.now() == NOON


def test_a_wrong_date_after_a_long_silence_does_not_move_the_clock() -> None:
    local = Local()
    clock = ServerClock(local)
    clock.hear(answer(NOON))
    local.time += 3 * MEMORY
    clock.hear(answer(TOMORROW))
    assert clock.now() == NOON + timedelta(seconds=3 * MEMORY)


def test_answers_that_waited_while_we_were_stopped_do_not_set_the_time_back() -> None:
    local = Local()
    clock = ServerClock(local)
    clock.hear(answer(NOON))
    local.time += 300
    for _ in range(2 * AGREE):
        clock.hear(answer(NOON, way=300))
    assert clock.now() == NOON + timedelta(seconds=300)
    clock.hear(answer(NOON + timedelta(seconds=300 + JUMP)))
    assert clock.now() == NOON + timedelta(seconds=300 + JUMP)


def test_a_bucket_hears_the_time_from_its_answers(bucket_name: str) -> None:
    bucket = Bucket(bucket_name)
    assert list(bucket.names("")) == []
    assert abs(bucket.clock.now() - datetime.now(UTC)) < timedelta(seconds=3)
