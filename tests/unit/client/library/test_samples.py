"""Samples in the bucket."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest

from grainserve.errors import InvalidImageId, InvalidSample, SampleDamaged, SampleNotFound
from grainserve.library.samples import MOST_CHARACTERS, MOST_IMAGES, Samples
from grainserve.storage.bucket import Bucket, Found


@pytest.fixture
def samples(bucket: Bucket) -> Samples:
    """Samples by a clock that goes on a second at each look."""
    begun, ticks = datetime(2026, 12, 1, tzinfo=UTC), count()
    return Samples(bucket, lambda: begun + timedelta(seconds=next(ticks)))


def test_a_sample_is_kept_changed_and_deleted(samples: Samples) -> None:
    made = samples.create("lab", " sand, north ", ["a", "b", "a"])
    assert (made.name, made.image_ids) == ("sand, north", ("a", "b"))
    assert samples.read("lab", made.sample_id) == made
    changed = samples.change("lab", made.sample_id, name="Düne", add=["c", "a"], remove=["b", "none"])
    assert (changed.name, changed.image_ids, changed.created) == ("Düne", ("a", "c"), made.created)
    assert changed.changed > made.changed
    assert samples.read("lab", made.sample_id) == changed
    samples.delete("lab", made.sample_id)
    for gone in (samples.read, samples.change, samples.delete):
        with pytest.raises(SampleNotFound):
            gone("lab", made.sample_id)


def test_another_submitters_samples_do_not_exist(samples: Samples) -> None:
    made = samples.create("lab", "sand", ["a"])
    for method in (samples.read, samples.change, samples.delete):
        with pytest.raises(SampleNotFound):
            method("other", made.sample_id)
    assert samples.listed("other", 10) == ([], None)
    assert samples.read("lab", made.sample_id) == made


@pytest.mark.parametrize("sample_id", ["", "..", "x/../y", "0000000000000-000000000000/..", "9" * 26, "0" * 13 + "-gg"])
def test_an_id_that_is_none_leads_to_no_object(samples: Samples, sample_id: str) -> None:
    with pytest.raises(SampleNotFound):
        samples.read("lab", sample_id)
    if sample_id:
        with pytest.raises(SampleNotFound):
            samples.listed("lab", 10, sample_id)


@pytest.mark.parametrize("name", ["", "  ", "x" * (MOST_CHARACTERS + 1), "sa\nnd", "a\x1b[31m", "a\u202eb"])
def test_names_that_are_none_are_refused(samples: Samples, name: str) -> None:
    made = samples.create("lab", "x" * MOST_CHARACTERS, [])
    with pytest.raises(InvalidSample):
        samples.create("lab", name, [])
    with pytest.raises(InvalidSample):
        samples.change("lab", made.sample_id, name=name)


def test_a_sample_has_a_thousand_images_and_no_more(samples: Samples) -> None:
    made = samples.create("lab", "sand", map(str, range(MOST_IMAGES)))
    assert len(samples.read("lab", made.sample_id).image_ids) == MOST_IMAGES
    with pytest.raises(InvalidSample):
        samples.change("lab", made.sample_id, add=["one-more"])
    assert len(samples.change("lab", made.sample_id, add=["one-more"], remove=["0"]).image_ids) == MOST_IMAGES
    with pytest.raises(InvalidImageId):
        samples.create("lab", "sand", ["../x"])


def test_the_newest_come_first_page_by_page(samples: Samples) -> None:
    made = [samples.create("lab", f"sample {number}", []) for number in range(7)]
    seen, after = [], None
    for expected in (3, 3, 1):
        page, after = samples.listed("lab", 3, after)
        assert len(page) == expected
        seen += page
    assert after is None
    assert seen == made[::-1]
    assert samples.listed("lab", 7) == (seen, None)


def test_a_page_goes_on_after_a_sample_that_was_deleted(samples: Samples) -> None:
    made = [samples.create("lab", f"sample {number}", []) for number in range(3)]
    _, after = samples.listed("lab", 1)
    samples.delete("lab", made[2].sample_id)
    assert samples.listed("lab", 5, after) == ([made[1], made[0]], None)


def test_changes_at_once_lose_nothing(samples: Samples) -> None:
    made = samples.create("lab", "sand", [])
    begin = threading.Barrier(4)

    def add(name: str) -> None:
        begin.wait()
        samples.change("lab", made.sample_id, add=[name])

    threads = [threading.Thread(target=add, args=(name,)) for name in "abcd"]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert set(samples.read("lab", made.sample_id).image_ids) == set("abcd")


def test_what_is_no_sample_is_told_and_left_out_of_the_list(samples: Samples, bucket: Bucket) -> None:
    made = samples.create("lab", "sand", [])
    bucket.create("samples/lab/0000000000000-000000000000.json", b'{"name": "x"}', "application/json")
    with pytest.raises(SampleDamaged):
        samples.read("lab", "0000000000000-000000000000")
    assert samples.listed("lab", 10) == ([made], None)


def test_a_sample_that_is_changed_while_it_is_deleted_is_deleted(
    samples: Samples, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, find = samples.create("lab", "sand", ["a"]), bucket.find
    changes = iter([lambda: samples.change("lab", made.sample_id, name="gravel")])

    def changed_after(name: str) -> Found | None:
        found = find(name)
        next(changes, lambda: None)()
        return found

    monkeypatch.setattr(bucket, "find", changed_after)
    samples.delete("lab", made.sample_id)
    with pytest.raises(SampleNotFound):
        samples.read("lab", made.sample_id)
