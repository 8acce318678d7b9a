from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from image import drain as module
from image.drain import drain
from image.management import Management
from image.ready import problems
from tests.unit.image.torchserve import Fake, Model, serving
from tools import ports


def timed_drain(fake: Fake, tmp_path: Path, patience: float = 5.0, settle: float = 0.0) -> tuple[bool, float]:
    with serving(fake) as management:
        began = time.monotonic()
        idle = drain(management, settle=settle, patience=patience, marker=tmp_path / "draining")
        return idle, time.monotonic() - began


def test_an_idle_server_is_drained_at_once(tmp_path: Path) -> None:
    fake = Fake({"a": Model([11, 12]), "b": Model([]), "c": Model([13])})
    idle, seconds = timed_drain(fake, tmp_path)
    assert idle
    assert seconds < 2


@pytest.mark.parametrize("tells_pid", [True, False])
def test_it_waits_for_the_one_worker_that_has_a_request(tmp_path: Path, tells_pid: bool) -> None:
    busy = {11: time.monotonic() + 0.8}
    idle, seconds = timed_drain(Fake({"a": Model(busy_until=busy, tells_pid=tells_pid)}), tmp_path)
    assert idle
    assert seconds > 0.6


def test_it_waits_for_the_busy_one_of_three_workers(tmp_path: Path) -> None:
    busy = {12: time.monotonic() + 1.0}
    idle, seconds = timed_drain(Fake({"a": Model([11, 12, 13], busy_until=busy)}), tmp_path)
    assert idle
    assert seconds > 0.8


def test_it_cannot_tell_for_several_workers_of_a_handler_without_process_ids(tmp_path: Path) -> None:
    idle, _ = timed_drain(Fake({"a": Model([11, 12], tells_pid=False)}), tmp_path, patience=1.0)
    assert not idle


def test_it_waits_for_the_queue(tmp_path: Path) -> None:
    model = Model(queued=3)
    threading.Timer(0.8, setattr, (model, "queued", 0)).start()
    idle, seconds = timed_drain(Fake({"a": model}), tmp_path)
    assert idle
    assert seconds > 0.6


def test_a_queue_that_does_not_empty_ends_its_patience(tmp_path: Path) -> None:
    idle, seconds = timed_drain(Fake({"a": Model(), "b": Model(queued=1)}), tmp_path, patience=0.6)
    assert not idle
    assert 0.5 < seconds < 2


def test_a_request_that_comes_after_the_barriers_is_waited_for(tmp_path: Path) -> None:
    late = Model([12])
    fake = Fake({"a": Model([11], busy_until={11: time.monotonic() + 0.8}), "b": late})

    def arrive() -> None:
        # Whether or not `b` has passed its barrier, its worker is busy for longer than `a`'s.
        late.busy_until[12] = time.monotonic() + 1.2
        fake.taken += 1

    threading.Timer(0.4, arrive).start()
    idle, seconds = timed_drain(fake, tmp_path)
    assert idle
    assert seconds > 1.4


def test_ready_says_no_from_the_beginning_and_a_second_drain_does_not_settle_again(tmp_path: Path) -> None:
    marker = tmp_path / "draining"
    with serving(Fake({"a": Model()})) as management:
        assert problems(management, set(), marker) == []
        thread = threading.Thread(
            target=drain, args=[management], kwargs={"settle": 0.7, "patience": 5.0, "marker": marker}
        )
        thread.start()
        time.sleep(0.2)
        assert problems(management, set(), marker) == ["draining"]
        thread.join()
        began = time.monotonic()
        assert drain(management, settle=60, patience=5, marker=marker)
        assert time.monotonic() - began < 5


def test_a_worker_that_is_busy_for_longer_ends_its_patience(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty queue and no answer to a barrier do not mean that the worker is idle."""
    fake = Fake({"a": Model(busy_until={11: time.monotonic() + 60})})
    idle, _ = timed_drain(fake, tmp_path, patience=0.6)
    assert not idle
    assert fake.barriers == 1
    monkeypatch.setattr(module, "DRAINING", tmp_path / "draining")
    monkeypatch.setenv("GRAINSERVE_SETTLE_SECONDS", "0")
    monkeypatch.setenv("GRAINSERVE_DRAIN_SECONDS", "0.6")
    with serving(fake) as management:
        assert not module.from_environment(management)


@pytest.mark.parametrize("question", [0, 1, 2, 4, 5], ids=["metrics", "models", "queue", "workers", "metrics again"])
def test_a_late_answer_is_asked_for_again(tmp_path: Path, question: int) -> None:
    fake = Fake({"a": Model(), "b": Model()}, delays=[0.0] * question + [0.4])
    with serving(fake, patience=0.2) as management:
        assert drain(management, settle=0, patience=20, marker=tmp_path / "draining")
    assert fake.delays == []
    assert fake.barriers >= 2


def test_answers_that_stay_late_end_its_patience(tmp_path: Path) -> None:
    fake = Fake({"a": Model()}, delays=[0.4] * 99)
    with serving(fake, patience=0.2) as management:
        assert not drain(management, settle=0, patience=0.6, marker=tmp_path / "draining")
        assert "nobody knows how many" in module.left(management)


def test_a_model_that_is_deleted_between_two_questions(tmp_path: Path) -> None:
    idle, _ = timed_drain(Fake({"a": Model()}, just_deleted=["b"]), tmp_path)
    assert idle


def test_a_barrier_in_the_queue_of_a_deleted_version_is_not_waited_for(tmp_path: Path) -> None:
    busy = time.monotonic() + 60
    fake = Fake({"a": Model([11], busy_until={11: busy}), "b": Model([12])})
    threading.Timer(0.5, fake.models.pop, ["a"]).start()
    idle, _ = timed_drain(fake, tmp_path, patience=30)
    assert idle
    assert fake.barriers == 2


def test_a_server_that_ends_meanwhile_was_not_idle_and_is_not_waited_for(tmp_path: Path) -> None:
    ended: list[bool] = []

    def run() -> None:
        ended.append(drain(management, settle=0, patience=600, marker=tmp_path / "draining"))

    with serving(Fake({"a": Model(queued=1)})) as management:
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        time.sleep(0.5)
        assert not ended
    thread.join(30)
    assert ended == [False]


@pytest.mark.parametrize("seconds", ["ten", "", "-1", "nan", "inf"])
def test_limits_are_numbers_of_seconds(seconds: str) -> None:
    assert module.limits({"GRAINSERVE_SETTLE_SECONDS": "0", "GRAINSERVE_DRAIN_SECONDS": "540"}) == (0, 540)
    for variable in ("GRAINSERVE_SETTLE_SECONDS", "GRAINSERVE_DRAIN_SECONDS"):
        with pytest.raises(ValueError, match=f"{variable}={seconds} is no number"):
            module.limits({variable: seconds})


def test_without_a_server_there_is_nothing_to_drain(tmp_path: Path) -> None:
    (port,) = ports.choose_free(1)
    management = Management(f"http://127.0.0.1:{port}")
    assert drain(management, settle=60, patience=60, marker=tmp_path / "draining")
    assert (tmp_path / "draining").exists()
