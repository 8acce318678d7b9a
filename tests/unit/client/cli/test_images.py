"""`grainserve images`: the history on the command line, and scales set later."""

from __future__ import annotations

import asyncio

import pytest

from grainserve.async_client import AsyncClient
from grainserve.client import Client
from grainserve.errors import ImageNotFound
from grainserve.jobs.store import JobStore, entry_of
from grainserve.library.scales import Asked, revision
from tests.unit.client.cli.test_application import run
from tests.unit.client.cli.test_jobs import claimed
from tests.unit.client.made import make_result

pytestmark = pytest.mark.usefixtures("bucket_name")  # commands find the bucket by its name


def submit(store: JobStore, name: str | None, submitter: str = "lab") -> str:
    return store.submit(b"i", model="sam_tiny", version=None, options={}, submitter=submitter, name=name)


def listed(*arguments: object) -> list[list[str]]:
    done = run("images", *arguments)
    assert done.exit_code == 0, done.output
    return [line.split() for line in done.stdout.splitlines()[1:]]


def test_the_list_has_what_the_page_has(store: JobStore) -> None:
    done, failed, queued = (submit(store, name) for name in ("a.png", "b\u202egnp.tif", ""))
    submit(store, None)
    submit(store, "theirs", "other")
    store.finish(claimed(store, done), make_result(done))
    store.cancel(failed)
    store.entries.change(entry_of(store.job(done)), None, ["quartz", "2026"])
    store.scales.revise(done, revision(Asked("2.5"), "lab"))

    rows = {row[0]: row for row in listed()}

    assert [*rows] == [queued, failed, done]
    assert rows[done][1] == "done"
    assert rows[done][4:] == ["4", "2.5", "µm/px", "a.png", "#quartz", "#2026"]
    assert rows[failed][-1] == "(cancelled)"
    assert "\u202e" not in run("images").stdout, "foreign words steer no terminal"
    assert [row[0] for row in listed("--search", "QUAR")] == [done]
    assert [row[0] for row in listed("--state", "queued")] == [queued]
    assert [row[0] for row in listed("--submitter", "other")] != []


def test_the_list_says_that_there_are_more_and_that_there_are_none(store: JobStore) -> None:
    for number in range(3):
        submit(store, f"{number}")
    assert "--limit" in run("images", "--limit", "2").stderr
    assert len(listed("--limit", "3")) == 3
    assert "no such images of lab" in run("images", "--tag", "none").stderr


def test_a_scale_is_set_for_images_and_taken_back(store: JobStore) -> None:
    first, second = submit(store, "a"), submit(store, "b")

    done = run("images", "scale", "1 mm = 400 px", first, second)

    assert done.exit_code == 0
    assert done.stdout.splitlines() == [f"{first}  2.5 µm/px", f"{second}  2.5 µm/px"]
    assert run("images", "scale", "none", first).stdout == f"{first}  no scale\n"
    assert [each.um_per_px for each in store.scales.revisions(first)] == [2.5, None]
    assert store.scales.revisions(second)[0].by == "lab"


def test_a_scale_for_an_unknown_image_and_one_that_is_none(store: JobStore) -> None:
    image_id = submit(store, "a")
    assert run("images", "scale", "2", "f" * 32, image_id).exit_code == 1
    assert len(store.scales.revisions(image_id)) == 1
    wrong = run("images", "scale", "red", image_id)
    assert wrong.exit_code != 0
    assert "1 mm = 412 px" in wrong.stderr


def test_a_client_sets_scales(store: JobStore) -> None:
    image_id = submit(store, "a")
    store.finish(claimed(store, image_id), make_result(image_id))
    with Client(dispatch=False) as client:
        assert client.set_scale(image_id, "0,4 px/µm") == 2.5
        result = client.poll(image_id)
        assert result is not None
        assert (result.um_per_px, result.scale_source) == (2.5, "typed")
        assert client.set_scale(image_id, 4) == 4.0
        assert client.wait(image_id).um_per_px == 4.0
        assert client.set_scale(image_id, None) is None
        with pytest.raises(ImageNotFound):
            client.set_scale("f" * 32, 2)
    assert [each.by for each in store.scales.revisions(image_id)] == ["lab"] * 3


def test_later_results_of_the_command_line_have_the_scale(store: JobStore) -> None:
    image_id = submit(store, "a")
    store.finish(claimed(store, image_id), make_result(image_id))
    run("images", "scale", "3", image_id)
    assert "scale 3 µm per px (typed)" in run("poll", image_id).stdout


def test_an_asynchronous_client_sets_scales(store: JobStore) -> None:
    image_id = submit(store, "a")

    async def work() -> None:
        async with AsyncClient(dispatch=False) as client:
            assert await client.set_scale(image_id, "2500 nm/px") == 2.5

    asyncio.run(work())
    assert [each.um_per_px for each in store.scales.revisions(image_id)] == [2.5]
