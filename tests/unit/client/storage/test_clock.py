"""GCS's time, independent of the machine's clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from grainserve.storage.bucket import Bucket
from grainserve.storage.clock import AGREE, JUMP, MEMORY, ServerClock, is_storages, written_at

NOON = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


class Local:
    time = 5000.0

    def __call__(self) -> float:
        return self.time


def answer(
    date: datetime | str | None, status: int = 200, kind: str = "application/json", way: float = 0.0
) -> requests.Response:
    """Makes an answer of storage, or of somebody in its place, after some seconds."""
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
    for late in range(30):  # each time the clock shows a second more than has passed
        clock.hear(answer(NOON + timedelta(seconds=local.time - 5000.0 - late)))
        local.time += MEMORY / 10 + 1
    true = NOON + timedelta(seconds=local.time - 5000.0 - 30)
    assert clock.now() - true < timedelta(seconds=21)


def test_after_a_long_silence_what_was_known_is_forgotten() -> None:
    local = Local()
    clock = ServerClock(local)
    clock.hear(answer(NOON))
    local.time += 3 * MEMORY + 5  # the clock shows 5 s more than have passed
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
    """A clock stands still while a laptop sleeps."""
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
    for days in range(2, 10):  # nor do dates that do not agree
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


# By hand --------------------------------------------------------------------------------------------------------------


def shown(*seconds: float, way: float = 0.0, then: int = 1) -> float:
    """Returns the time, s after noon, of a clock that got noon and then these dates, the last one `times` times."""
    clock = ServerClock(Local())
    clock.hear(answer(NOON))
    for each in [*seconds, *seconds[-1:] * (then - 1)]:
        clock.hear(answer(NOON + timedelta(seconds=each), way=way))
    return (clock.now() - NOON).total_seconds()


def test_one_answer_may_set_the_clock_five_seconds_on_and_no_more() -> None:
    assert (shown(1), shown(5), shown(6)) == (1, 5, 0)


def test_three_answers_in_a_row_set_it_anywhere() -> None:
    assert (shown(6, then=2), shown(6, then=3), shown(-7, then=2), shown(-7, then=3)) == (0, 6, 0, -7)


def test_an_answer_may_be_late_by_its_way_and_a_second_and_five() -> None:
    """A date that is no later than this tells nothing new, however often it comes."""
    assert (shown(-6, then=9), shown(-8, way=2.0, then=9)) == (0, 0)
    assert shown(-9, way=2.0, then=3) == -9


def test_answers_agree_that_are_five_seconds_apart_and_the_latest_time_counts() -> None:
    assert (shown(100, 105, 105), shown(105, 100, 100), shown(100, 106, 106)) == (105, 105, 0)
    assert shown(100, 106, 106, 106) == 106


def test_after_it_was_set_anywhere_a_wrong_answer_sets_it_no_further() -> None:
    assert shown(100, 100, 100, 200, 200) == 100
    assert shown(100, 100, 0, 100) == 0, "not in a row"


def test_what_was_known_is_forgotten_a_window_after_the_one_it_was_heard_in() -> None:
    """Here the known time is three seconds ahead, since our own clock runs fast."""

    def ahead(*times: float) -> float:
        local = Local()
        clock = ServerClock(local)
        clock.hear(answer(NOON))
        for time in times:
            local.time = Local.time + time
            clock.hear(answer(NOON + timedelta(seconds=round(time) - 3)))
        return (clock.now() - NOON).total_seconds() - times[-1]

    assert ahead(MEMORY - 10) == 0
    assert ahead(MEMORY + 10) == 0
    assert ahead(MEMORY + 10, 2 * MEMORY) == 0
    assert ahead(MEMORY + 10, 2 * MEMORY + 30) == -3
    assert ahead(2 * MEMORY - 10) == 0
    assert ahead(2 * MEMORY + 10) == -3


@pytest.mark.parametrize(("status", "its_own"), [(199, False), (200, True), (299, True), (300, False), (None, False)])
def test_only_successes_are_storages(status: int | None, its_own: bool) -> None:
    response = answer(NOON)
    response.status_code = status  # type: ignore[assignment]
    assert is_storages(response) == its_own


def test_an_answer_is_storages_by_its_headers_or_as_json() -> None:
    bare = answer(NOON, kind="text/plain")
    assert not is_storages(bare)
    bare.headers["x-goog-hash"] = "crc32c=AAAAAA=="
    assert is_storages(bare)
    untyped = answer(NOON)
    del untyped.headers["Content-Type"]
    assert not is_storages(untyped)
    assert is_storages(answer(NOON, kind="application/json; charset=UTF-8"))


def test_when_an_object_was_written_is_said_in_utc() -> None:
    response = answer(None)
    assert written_at(response) is None
    response.headers["Last-Modified"] = "Sat, 21 Nov 2026 14:00:00 +0200"
    assert written_at(response) == NOON
    response.headers["Last-Modified"] = "Sat, 21 Nov 2026 12:00:00 -0000"  # without a time zone
    found = written_at(response)
    assert found == NOON
    assert found.tzinfo is not None
