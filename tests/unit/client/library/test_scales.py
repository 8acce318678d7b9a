"""The scale of an image as it is set later."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from grainserve.errors import InvalidImageId, InvalidOption, StorageError
from grainserve.jobs.store import JobStore
from grainserve.library import scales
from grainserve.library.scales import Asked, Line, revision
from grainserve.scale.error import scale_error
from grainserve.storage.bucket import Bucket


def test_two_at_once_are_both_kept_in_their_order(store: JobStore) -> None:
    names = [f"p{number}" for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda name: store.scales.revise("a", revision(Asked("2"), name)), names))

    kept = store.scales.revisions("a")

    assert sorted(each.by for each in kept) == names
    assert sorted(len(each) for each in answers) == list(range(1, 9))
    assert all(kept[: len(each)] == each for each in answers)
    assert [each.at for each in kept] == sorted(each.at for each in kept)


def test_a_write_whose_answer_was_lost_is_kept_once(
    store: JobStore, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library then writes again and meets its own first write."""
    replace = bucket.replace
    lost = [True]

    def losing(*given: Any) -> int:
        generation = replace(*given)
        if lost.pop() if lost else False:
            return replace(*given)
        return generation

    monkeypatch.setattr(bucket, "replace", losing)
    store.scales.revise("a", revision(Asked("2"), "lab"))
    assert len(store.scales.revisions("a")) == 1


def test_a_line_gives_the_scale_its_error(store: JobStore) -> None:
    asked = Asked(line=Line(10, 10, 10, 210), length="1 mm")

    (kept,) = store.scales.revise("a", revision(asked, "lab"))

    assert kept.um_per_px == 5
    assert kept.scale_source == "line, 200.0 px = 1 mm"
    assert scale_error(kept.scale_source) == scale_error("scale bar, 200 px = 1 mm")
    assert store.scales.revisions("a") == [kept]


def test_a_scale_is_not_set_without_end(store: JobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scales, "MOST_REVISIONS", 2)
    for _ in range(2):
        store.scales.revise("a", revision(Asked("2"), "lab"))
    with pytest.raises(InvalidOption, match="submit it again"):
        store.scales.revise("a", revision(Asked("2"), "lab"))


@pytest.mark.parametrize("data", [b"", b"[{}]", b"{}x", b'["a"]', b"[1]"])
def test_what_is_stored_and_no_scale_is_said(store: JobStore, bucket: Bucket, data: bytes) -> None:
    bucket.create("scales/a.json", data, "application/json")
    with pytest.raises(StorageError, match="'a' cannot be read"):
        store.scales.revisions("a")


def test_an_id_cannot_name_another_object(store: JobStore) -> None:
    with pytest.raises(InvalidImageId):
        store.scales.revisions("../jobs/a")
