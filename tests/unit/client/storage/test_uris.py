"""URIs of objects, patterns of them, and the list of readable places."""

from __future__ import annotations

import pytest

from grainserve.errors import InvalidConfiguration, InvalidUri, NotReadable
from grainserve.storage.uris import ObjectUri, Readable, is_uri


def test_a_uri_is_a_bucket_and_a_name() -> None:
    uri = ObjectUri.parse("gs://scans/2026/a b#1.tif")
    assert (uri.bucket, uri.name, uri.is_pattern) == ("scans", "2026/a b#1.tif", False)
    assert str(uri) == "gs://scans/2026/a b#1.tif"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "scans/a.tif",
        "s3://scans/a.tif",
        "gs://",
        "gs://scans",
        "gs://scans/",
        "gs://scans/folder/",
        "gs:///a.tif",
        "gs://Scans/a.tif",
        "gs://sc*ns/a.tif",
        "gs://scans/../weights/a.pth",
        "gs://scans/a\nb.tif",
        "gs://scans/\ud800.tif",
        "gs://scans/" + "ä" * 513,
    ],
)
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(InvalidUri):
        ObjectUri.parse(text)


@pytest.mark.parametrize(
    ("pattern", "prefix", "matching", "others"),
    [
        ("a/*.tif", "a/", ["a/1.tif", "a/.tif"], ["a/b/1.tif", "a/1.tiff", "b/1.tif"]),
        ("a/**.tif", "a/", ["a/1.tif", "a/b/c/1.tif"], ["a/1.png"]),
        ("a/**/x?.tif", "a/", ["a/b/x1.tif", "a/b/c/xy.tif"], ["a/b/x.tif", "a/b/x/.tif"]),
        ("s[1].tif*", "s[1].tif", ["s[1].tif", "s[1].tiff"], ["s1.tif"]),
        ("a+(b).tif", "a+(b).tif", ["a+(b).tif"], ["aab.tif"]),
    ],
)
def test_wildcards(pattern: str, prefix: str, matching: list[str], others: list[str]) -> None:
    uri = ObjectUri("scans", pattern)
    assert uri.prefix == prefix
    assert [name for name in [*matching, *others] if uri.matches(name)] == matching


def test_what_is_a_uri() -> None:
    assert is_uri("gs://scans/a.tif")
    assert not any(is_uri(each) for each in ("a.tif", b"gs://scans/a.tif", 5))


def test_only_listed_places_are_readable(monkeypatch: pytest.MonkeyPatch) -> None:
    readable = Readable.parse(" scans, gs://archive/lab/ ,")
    for uri in ("gs://scans/a.tif", "gs://scans/**", "gs://archive/lab/a.tif", "gs://archive/lab/*.tif"):
        readable.check(ObjectUri.parse(uri))
    for uri in (
        "gs://other/a.tif",
        "gs://archive/a.tif",
        "gs://archive/laboratory/a.tif",
        "gs://archive/**",
        "gs://archive/l*/a",
    ):
        with pytest.raises(NotReadable, match="those are gs://scans/, gs://archive/lab/"):
            readable.check(ObjectUri.parse(uri))
    monkeypatch.setenv("GRAINSERVE_READABLE", "archive")
    assert Readable.parse(None) == Readable.parse("archive") != Readable.parse("")


def test_no_place_is_readable_unless_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GRAINSERVE_READABLE", raising=False)
    with pytest.raises(NotReadable, match="none is listed; GRAINSERVE_READABLE"):
        Readable.parse(None).check(ObjectUri.parse("gs://scans/a.tif"))


@pytest.mark.parametrize("listed", ["Scans", "scans/*.tif", "/scans", "jobs/images", "scans,jobs"])
def test_a_list_that_cannot_be_meant_is_refused(listed: str) -> None:
    with pytest.raises(InvalidConfiguration, match="GRAINSERVE_READABLE"):
        Readable.parse(listed, own="jobs")
