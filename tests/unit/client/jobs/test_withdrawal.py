"""A client that stops waiting leaves no job behind."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from grainserve import AsyncClient, Client
from grainserve.dispatch.dispatcher import Dispatcher
from grainserve.errors import JobFailed, StorageUnreachable, WaitTimeout
from grainserve.jobs.job import State
from grainserve.jobs.markers import Ticket
from grainserve.jobs.store import Claim, JobStore, entry_of
from grainserve.jobs.withdrawal import withdraw
from grainserve.storage.bucket import Bucket
from tests.unit.client.cli.test_application import run, words
from tests.unit.client.dispatch.test_dispatcher import until
from tests.unit.client.fake_torchserve import FakeTorchServe

Names = Callable[[], set[str]]


def noise(width: int) -> NDArray[np.uint8]:
    """Makes an image whose tiles all differ."""
    return np.random.default_rng(width).integers(0, 256, (40, width), np.uint8)


SMALL, LARGE = noise(60), noise(1400)
WRITES = {"small": (SMALL, 4), "large": (LARGE, 8)}
"""Images, and the number of objects that their submission writes: image, record, entry, marker; of a tile a key and no
entry."""


def interrupted_at(bucket: Bucket, number: int, *, after: bool, interrupt: Callable[[], None]) -> None:
    """Interrupts at the n-th object that is created, before the request reaches storage or when storage has done it."""
    create, count = bucket.create, 0

    def counted(name: str, data: bytes, content_type: str, metadata: Mapping[str, str] | None = None) -> int:
        nonlocal count
        count += 1
        if count == number and not after:
            interrupt()
        generation = create(name, data, content_type, metadata)
        if count == number and after:
            interrupt()
        return generation

    bucket.create = counted  # type: ignore[method-assign]


def stop() -> None:
    raise KeyboardInterrupt


def left(names: Names) -> set[str]:
    return {name for name in names() if name.startswith("pending/")}


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(("size", "number"), [(size, at + 1) for size in WRITES for at in range(WRITES[size][1])])
def test_ctrl_c_at_any_write_of_analyze_leaves_nothing_to_do(
    bucket_name: str, torchserve: FakeTorchServe, names: Names, *, size: str, number: int, after: bool
) -> None:
    client = Client(version="1.0")
    client._dispatch = False  # nothing is quicker than the interruption
    client.check = lambda: None  # type: ignore[method-assign]
    interrupted_at(client.store.bucket, number, after=after, interrupt=stop)
    with pytest.raises(KeyboardInterrupt):
        client.analyze(WRITES[size][0])
    client.close()
    assert left(names) == set()


@pytest.mark.parametrize("image", [SMALL, LARGE], ids=["small", "large"])
def test_ctrl_c_while_waiting_withdraws_and_the_same_call_measures_again(
    bucket_name: str, torchserve: FakeTorchServe, store: JobStore, names: Names, image: NDArray[np.uint8]
) -> None:
    with Client(version="1.0", dispatch=False) as idle, pytest.raises(KeyboardInterrupt):
        idle.analyze(image, progress=lambda *_: stop())
    assert left(names) == set()
    withdrawn = [name.removeprefix("jobs/").removesuffix(".json") for name in names() if name.startswith("jobs/")]
    assert len(withdrawn) == (1 if image is SMALL else 2)
    for image_id in withdrawn:
        with pytest.raises(JobFailed, match="cancelled"):
            store.poll(image_id)
    with Client(version="1.0") as client:
        for image_id in client.begin(image).image_ids:
            client.wait(image_id, timeout=60)


def test_ctrl_c_out_of_a_client_withdraws_all_that_was_begun_and_not_fetched(
    bucket_name: str, torchserve: FakeTorchServe, store: JobStore, names: Names
) -> None:
    """The client begins all images before it waits for the first, as the command line does."""
    with Client(dispatch=False) as other:
        kept = other.submit(SMALL)
    client, own = Client(dispatch=False), list[str]()

    def work() -> None:
        with client:
            own.append(client.submit(SMALL))
            for _ in range(3):
                client.begin(SMALL)
            stop()

    with pytest.raises(KeyboardInterrupt):
        work()
    assert left(names) == {f"pending/lab/{image_id}" for image_id in (kept, *own)}, "whoever has an id may still ask"


def test_an_error_withdraws_nothing(bucket_name: str, torchserve: FakeTorchServe, names: Names) -> None:
    with Client(dispatch=False) as idle, pytest.raises(WaitTimeout, match="goes on") as late:
        idle.analyze(SMALL, timeout=0.05)
    assert left(names) == {f"pending/lab/{late.value.image_id}"}


def test_the_result_of_a_withdrawn_job_is_dropped_by_whoever_works_on_it(
    bucket_name: str, torchserve: FakeTorchServe, store: JobStore, names: Names
) -> None:
    asked, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        asked.set()
        go_on.wait()

    torchserve.before_answer = hold
    with Client() as client:
        image_id = client.submit(SMALL)
        asked.wait()
        assert client.cancel([image_id, image_id, "f" * 32]) == [image_id]
        go_on.set()
    job = store.job(image_id)
    assert (job.state, job.error and job.error.code) == (State.FAILED, "cancelled")
    entry = entry_of(job).object_name
    assert names() == {f"images/{image_id}", f"jobs/{image_id}.json", entry}
    assert client.cancel([image_id]) == []


def test_what_is_done_is_not_cancelled(bucket_name: str, torchserve: FakeTorchServe, store: JobStore) -> None:
    with Client() as client:
        image_id = client.analyze(SMALL, timeout=60).image_id
        assert client.cancel([image_id]) == []
        assert client.poll(image_id) is not None


@pytest.mark.parametrize("died", ["before the result", "after the result"])
def test_a_job_whose_dispatcher_died_is_cancelled_unless_its_result_is_there(
    store: JobStore, names: Names, died: str
) -> None:
    image_id = store.submit(b"image", model="sam_tiny", version=None, options={}, submitter="lab")
    assert isinstance(store.claim(Ticket("lab", image_id), "dies"), Claim)
    if died == "after the result":
        store.bucket.create(f"results/{image_id}.json", b"{}", "application/json")
    assert store.cancel(image_id) == (died == "before the result")
    assert store.job(image_id).state is (State.FAILED if died == "before the result" else State.DONE)
    assert left(names) == set()


def test_storage_that_does_not_answer_is_told_and_not_waited_for_again(
    store: JobStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def silent(image_id: str) -> bool:
        raise StorageUnreachable("no answer")

    monkeypatch.setattr(store, "cancel", silent)
    assert withdraw(store, ["a", "b"]) == []
    assert "grainserve jobs cancel" in caplog.text


def test_a_submission_under_a_key_stays_for_the_next_one(
    bucket_name: str, torchserve: FakeTorchServe, names: Names
) -> None:
    with Client(dispatch=False) as client:
        interrupted_at(client.store.bucket, 5, after=True, interrupt=stop)
        with pytest.raises(KeyboardInterrupt):
            client.submit(SMALL, idempotency_key="A17")
        assert left(names) == {f"pending/lab/{client.submit(SMALL, idempotency_key='A17')}"}


# Coroutines -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "number"), [(size, at + 1) for size in WRITES for at in range(WRITES[size][1])])
def test_a_coroutine_cancelled_at_any_write_leaves_nothing_to_do(
    bucket_name: str, torchserve: FakeTorchServe, names: Names, size: str, number: int
) -> None:
    async def work() -> None:
        client = AsyncClient(version="1.0")
        client.client._dispatch = False
        client.client.check = lambda: None  # type: ignore[method-assign]
        loop = asyncio.get_running_loop()
        analysis = asyncio.create_task(client.analyze(WRITES[size][0]))
        cancel = threading.Event()

        def cancel_it() -> None:
            analysis.cancel()
            loop.call_soon(cancel.set)

        def interrupt() -> None:
            loop.call_soon_threadsafe(cancel_it)
            cancel.wait()  # the write comes after the cancellation

        interrupted_at(client.client.store.bucket, number, after=False, interrupt=interrupt)
        with pytest.raises(asyncio.CancelledError):
            await analysis
        await client.close()

    asyncio.run(work())
    assert left(names) == set()


@pytest.mark.parametrize("verb", ["submit", "submit_many"])
def test_a_cancelled_submission_whose_ids_nobody_has_is_withdrawn(
    bucket_name: str, torchserve: FakeTorchServe, names: Names, verb: str
) -> None:
    async def work() -> None:
        async with AsyncClient(dispatch=False) as client:
            begun = asyncio.Event()
            loop = asyncio.get_running_loop()

            def interrupt() -> None:
                loop.call_soon_threadsafe(begun.set)

            interrupted_at(client.client.store.bucket, 2, after=False, interrupt=interrupt)
            what = SMALL if verb == "submit" else [SMALL] * 5
            options = {} if verb == "submit" else {"progress": False}
            submission = asyncio.create_task(getattr(client, verb)(what, **options))
            await begun.wait()
            submission.cancel()
            with pytest.raises(asyncio.CancelledError):
                await submission
            assert len({name for name in names() if name.startswith("images/")}) < 5

    asyncio.run(work())
    assert left(names) == set()


def test_a_cancelled_wait_leaves_its_job(bucket_name: str, torchserve: FakeTorchServe, names: Names) -> None:
    async def work() -> str:
        async with AsyncClient(dispatch=False) as client:
            image_id = await client.submit(SMALL)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await client.wait(image_id)
            return image_id

    image_id = asyncio.run(work())
    assert left(names) == {f"pending/lab/{image_id}"}


# Many threads ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Dispatcher]:
    """The dispatchers that clients make, each of which is slow to start."""
    found: list[Dispatcher] = []

    class Slow(Dispatcher):
        def start(self) -> Slow:
            found.append(self)
            threading.Event().wait(0.05)
            return super().start()

    monkeypatch.setattr("grainserve.client.Dispatcher", Slow)
    return found


def test_many_threads_share_one_dispatcher(
    bucket_name: str, torchserve: FakeTorchServe, made: list[Dispatcher], store: JobStore
) -> None:
    together = threading.Barrier(8)

    def submit(client: Client, ids: list[str]) -> None:
        together.wait()
        ids.append(client.submit(SMALL))

    with Client() as client:
        ids: list[str] = []
        threads = [threading.Thread(target=submit, args=(client, ids)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for image_id in ids:
            client.wait(image_id, timeout=60)
    assert len(made) == 1
    assert all(dispatcher._stopping.is_set() for dispatcher in made)
    assert len(torchserve.requests) == 8


def test_many_coroutines_share_one_dispatcher(
    bucket_name: str, torchserve: FakeTorchServe, made: list[Dispatcher]
) -> None:
    async def work() -> None:
        async with AsyncClient() as client:
            await asyncio.gather(*(client.analyze(SMALL, timeout=60) for _ in range(8)))

    asyncio.run(work())
    assert len(made) == 1
    assert made[0]._stopping.is_set()


def test_a_client_closed_while_others_submit_starts_no_dispatcher_and_loses_no_id(
    bucket_name: str, torchserve: FakeTorchServe, made: list[Dispatcher], names: Names
) -> None:
    client = Client()
    interrupted_at(client.store.bucket, 3, after=True, interrupt=client.close)
    image_id = client.submit(SMALL)
    assert made == []
    assert left(names) == {f"pending/lab/{image_id}"}


# Time -----------------------------------------------------------------------------------------------------------------


def test_the_time_limit_counts_the_submission(
    bucket_name: str, torchserve: FakeTorchServe, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Clock:
        time = 0.0

        def __call__(self) -> float:
            return self.time

    clock = Clock()
    monkeypatch.setattr("grainserve.deadline.time.monotonic", clock)
    with Client(dispatch=False, version="1.0") as idle:
        create, submitted = idle.store.bucket.create, list[str]()

        def slow(name: str, data: bytes, content_type: str) -> int:
            if name.startswith("images/"):
                clock.time += 60  # for one image
                submitted.append(name)
            return create(name, data, content_type)

        monkeypatch.setattr(idle.store.bucket, "create", slow)
        with pytest.raises(WaitTimeout, match="after 150 s"):
            idle.analyze(noise(6000), timeout=150)
    assert len(submitted) == 3, "of 8 tiles"


@pytest.mark.parametrize("image", [SMALL, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("management", ["none", None])
def test_nothing_waits_without_a_limit(
    bucket_name: str,
    torchserve: FakeTorchServe,
    image: NDArray[np.uint8],
    management: str | None,
) -> None:
    """This includes the wait for the version, which a tile tells if management is out of reach."""
    go_on = threading.Event()
    torchserve.before_answer = lambda: until(go_on.is_set)
    client, other = Client(management=management), AsyncClient(management=management)
    try:
        with pytest.raises(WaitTimeout):
            client.analyze(image, timeout=0.2)

        async def work() -> None:
            with pytest.raises(WaitTimeout):
                await other.analyze(image, timeout=0.2)

        asyncio.run(work())
    finally:
        go_on.set()
        client.close(0.0)
        other.client.close(0.0)


# The command line -----------------------------------------------------------------------------------------------------


def test_analyze_on_the_command_line_withdraws_what_ctrl_c_leaves(
    bucket_name: str, torchserve: FakeTorchServe, picture: Path, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Client, "finish", lambda *_, **__: stop())
    monkeypatch.setattr(Client, "_running_dispatcher", lambda _: None)
    done = run("analyze", picture, picture, "--out", picture.parent / "out")
    assert done.exit_code == 130
    assert "withdrawn" in words(done.output)
    assert left(names) == set()
    assert len({name for name in names() if name.startswith("jobs/")}) == 2
