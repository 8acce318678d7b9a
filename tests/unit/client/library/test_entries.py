"""The entries of a history."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from google.cloud import storage
from hypothesis import given
from hypothesis import strategies as st

from grainserve.errors import InvalidOption
from grainserve.library.entries import Entries, Entry, checked_name, checked_tags, name_of
from grainserve.storage.bucket import Bucket

AT = datetime(2026, 12, 1, 3, 0, 0, 123000, tzinfo=UTC)


@given(st.datetimes(datetime(1970, 1, 1), datetime(2286, 1, 1), timezones=st.just(UTC)), st.integers(1, 10**9))
def test_later_entries_come_first(at: datetime, milliseconds: int) -> None:
    later = Entry("lab", "a", at + timedelta(milliseconds=milliseconds))
    assert later.place < Entry("lab", "a", at).place
    assert len(later.place) == 15


def test_an_entry_comes_back_as_it_was(gcs: storage.Client, bucket: Bucket) -> None:
    """At the emulator, whose metadata are limited, with the longest that is allowed."""
    entries = Entries(bucket)
    entry = Entry("lab", "a-_9", AT, "x" * 100 + "漢字 é\"'", tuple(f"{number:02}" + "y" * 48 for number in range(20)))

    assert entries.add(entry)
    assert not entries.add(Entry("lab", "a-_9", AT, "other"))

    assert list(entries.listed("lab")) == [entry]
    assert list(entries.all()) == [entry]
    assert entries.find(Entry("lab", "a-_9", AT)) == entry


def test_the_longest_name_and_tags_are_stored(gcs: storage.Client, bucket: Bucket) -> None:
    entries, entry = Entries(bucket), Entry("lab", "a", AT)
    changed = entries.change(entry, "漢" * 200, [f"漢{number:02}" + "y" * 40 for number in range(20)])
    assert list(entries.listed("lab")) == [changed]
    with pytest.raises(InvalidOption, match="2000 bytes"):
        entries.change(entry, None, [f"{number:02}" + "漢" * 48 for number in range(20)])


def test_what_is_no_entry_is_passed_over(bucket: Bucket) -> None:
    for name in ("library/lab/x", "library/lab/123-a", "library/lab/8203905619999-a b", "library/8203905619999-a"):
        bucket.create(name, b"", "text/plain")
    bucket.create("library/lab/8203905619999-b", b"", "text/plain", {"tags": "no JSON", "other": "x"})
    assert [(entry.image_id, entry.tags) for entry in Entries(bucket).all()] == [("b", ())]


def test_changes_of_name_and_of_tags_at_once_are_both_kept(bucket: Bucket) -> None:
    entries, entry = Entries(bucket), Entry("lab", "a", AT, "old")
    entries.add(entry)
    with ThreadPoolExecutor(2) as pool:
        pool.submit(entries.change, entry, "new", None)
        pool.submit(entries.change, entry, None, ["t"])
    now = entries.find(entry)
    assert (now.name, now.tags) == ("new", ("t",))


def test_a_change_makes_an_entry_that_is_missing(bucket: Bucket) -> None:
    entries = Entries(bucket)
    entries.change(Entry("lab", "a", AT), None, ["t"])
    assert [entry.tags for entry in entries.listed("lab")] == [("t",)]


@pytest.mark.parametrize(
    ("search", "tag", "found"),
    [
        ("", None, True),
        ("SAND", None, True),
        ("strasse", None, True),
        ("quar", None, True),
        ("quar", "quarz", True),
        ("", "QUARZ", True),
        ("", "quar", False),
        ("gneiss", None, False),
        ("sand", "gneiss", False),
        ("é", None, True),
    ],
)
def test_searches(search: str, tag: str | None, *, found: bool) -> None:
    assert Entry("lab", "a", AT, "Sand Straße e\u0301.tif", ("Quarz",)).matches(search, tag) is found


@given(st.text(max_size=300))
def test_any_file_name_makes_a_name(file_name: str) -> None:
    assert checked_name(name_of(file_name))[:200] == name_of(file_name)


@pytest.mark.parametrize("name", ["a\nb", "a\x00", "\u2028", "x" * 201, "\ud800"])
def test_bad_names(name: str) -> None:
    with pytest.raises(InvalidOption):
        checked_name(name)


def test_tags_are_trimmed_and_come_once() -> None:
    assert checked_tags([" a ", "a", "b c"]) == ("a", "b c")
