"""`grainserve submit gs://…` against a real emulator."""

from __future__ import annotations

import io
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from google.cloud import storage
from PIL import Image
from typer.testing import CliRunner, Result

from grainserve import Client
from grainserve.cli import references as module
from grainserve.cli.application import app
from grainserve.errors import ImageRejected, InvalidOption, StorageUnreachable
from grainserve.jobs.references import Reference
from grainserve.jobs.store import JobStore
from grainserve.storage.bucket import Bucket
from tests.unit.client.fake_torchserve import FakeTorchServe
from tests.unit.client.made import make_image

Names = Callable[[], set[str]]
GOOD = [f"2026/{number}.tif" for number in range(4)]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")


@pytest.fixture
def scans(gcs: storage.Client, bucket_name: str, monkeypatch: pytest.MonkeyPatch) -> storage.Bucket:
    """A readable bucket with four images, two that are refused, and one elsewhere."""
    bucket = gcs.create_bucket(f"scans-{uuid.uuid4().hex}")
    monkeypatch.setenv("GRAINSERVE_READABLE", bucket.name)
    file = io.BytesIO()
    make_image().save(file, "TIFF")
    for name in (*GOOD, "2026/deep/5.tif", "other.tif"):
        bucket.blob(name).upload_from_string(file.getvalue())
    bucket.blob("2026/bad.tif").upload_from_string(b"no image")
    large = io.BytesIO()
    Image.fromarray(np.zeros((4, 1025), np.uint8)).save(large, "TIFF")
    bucket.blob("2026/large.tif").upload_from_string(large.getvalue())
    return bucket


def test_a_pattern_submits_what_it_matches_and_says_what_was_refused(
    scans: storage.Bucket, bucket_name: str, names: Names
) -> None:
    done = run("submit", f"gs://{scans.name}/2026/*.tif", "--um-per-px", 2.5)
    assert done.exit_code == 1
    lines = done.stdout.splitlines()
    assert [line.split("  ")[1] for line in lines] == [f"gs://{scans.name}/{name}" for name in GOOD]
    assert "2 of 6 objects were refused: 1 not_an_image, 1 image_too_large" in done.stderr
    assert f"gs://{scans.name}/2026/large.tif: the image is 1025 × 4 px" in done.stderr
    ids = [line.split("  ")[0] for line in lines]
    store = JobStore(Bucket(bucket_name))
    assert [store.job(image_id).options for image_id in ids] == [{"um_per_px": 2.5}] * 4
    assert {name for name in names() if name.startswith("images/")} == {f"images/{image_id}" for image_id in ids}


def test_the_same_command_again_makes_no_second_job(scans: storage.Bucket, names: Names) -> None:
    first = run("submit", f"gs://{scans.name}/2026/?.tif")
    assert first.exit_code == 0, first.output
    there = names()
    again = run("submit", f"gs://{scans.name}/2026/?.tif", f"gs://{scans.name}/2026/?.tif")
    assert again.stdout == first.stdout
    assert names() == there
    assert len(there) == 5 * len(GOOD)  # image, record, entry, marker and key of each


def test_one_object_prints_its_id_alone(scans: storage.Bucket, picture: Path) -> None:
    one = f"gs://{scans.name}/other.tif"
    alone = run("submit", one).stdout.split()
    assert len(alone) == 1
    assert run("submit", f"gs://{scans.name}/o*.tif").stdout.split() == [alone[0], one]
    assert run("submit", picture, one).stdout.split()[1:] == [str(picture), alone[0], one]


def test_nothing_is_submitted_where_nothing_is_readable(
    scans: storage.Bucket, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GRAINSERVE_READABLE")
    refused = run("submit", f"gs://{scans.name}/**")
    assert refused.exit_code == 1
    assert "none is listed; GRAINSERVE_READABLE" in refused.stderr
    outside = run("submit", f"gs://{scans.name}/other.tif", "--readable", f"{scans.name}/2026")
    assert outside.exit_code == 1
    assert f"those are gs://{scans.name}/2026/" in outside.stderr
    assert names() == set()
    assert run("submit", f"gs://{scans.name}/2026/0.tif", "--readable", f"{scans.name}/2026").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["{}/2026/"], 1, "names a folder"),
        (["{}/none*"], 1, "matches no object"),
        (["{}/none.tif"], 1, "there is no object"),
        (["{}/2026/0.tif", "--scale", "auto"], 2, "stays in its bucket"),
        (["{}/2026/0.tif", "--find-databar"], 2, "stays in its bucket"),
    ],
)
def test_faults_are_one_line(
    scans: storage.Bucket, names: Names, arguments: list[str], code: int, message: str
) -> None:
    done = run("submit", *(each.format(f"gs://{scans.name}") for each in arguments))
    assert (done.exit_code, done.stdout) == (code, "")
    assert message in done.stderr
    assert "\n" not in done.stderr.strip()
    assert names() == set()


def test_analyze_says_where_objects_go() -> None:
    done = run("analyze", "gs://scans/a.tif")
    assert done.exit_code == 1
    assert "`grainserve submit` takes objects of buckets" in done.stderr


@pytest.mark.parametrize("fault", [StorageUnreachable("GCS does not answer"), InvalidOption("it is unknown")])
def test_what_concerns_every_object_ends_the_command(scans: storage.Bucket, bucket_name: str, fault: Exception) -> None:
    with Client(dispatch=False) as client:
        found = client.references.matching(f"gs://{scans.name}/2026/?.tif")

    def submit(_: Reference) -> str:
        raise fault

    with pytest.raises(type(fault)):
        module.submit_all(found, submit, bare=False)


def test_many_refusals_are_counted_and_few_are_named(
    scans: storage.Bucket, bucket_name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with Client(dispatch=False) as client:
        (found,) = client.references.matching(f"gs://{scans.name}/other.tif")

    def refuse(_: Reference) -> str:
        raise ImageRejected(415, "not_an_image", "it is none")

    assert module.submit_all([found] * 50, refuse, bare=False) == 50
    said = capsys.readouterr().err
    assert said.count("it is none") == module.NAMED
    assert "50 of 50 objects were refused: 50 not_an_image" in said


def test_ctrl_c_ends_what_has_begun_and_begins_nothing_more(
    scans: storage.Bucket, bucket_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopping = threading.Event()

    class Pool(ThreadPoolExecutor):
        def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
            super().shutdown(wait=False, cancel_futures=cancel_futures)
            stopping.set()
            super().shutdown()

    monkeypatch.setattr(module, "ThreadPoolExecutor", Pool)
    monkeypatch.setattr(module, "AT_ONCE", 1)
    begun: list[str] = []
    with Client(dispatch=False) as client:
        found = client.references.matching(f"gs://{scans.name}/2026/?.tif")

        def interrupted(reference: Reference) -> str:
            begun.append(client.submit(reference))
            if len(begun) == 1:
                raise KeyboardInterrupt
            stopping.wait()
            return begun[-1]

        with pytest.raises(KeyboardInterrupt):
            module.submit_all(found, interrupted, bare=False)
    assert len(begun) <= 2
    again = run("submit", f"gs://{scans.name}/2026/?.tif")
    assert len(again.stdout.splitlines()) == len(GOOD)
    assert set(begun) <= set(again.stdout.split())


def test_the_client_takes_uris_too(scans: storage.Bucket, bucket_name: str, torchserve: FakeTorchServe) -> None:
    with Client() as client:
        ids = client.submit_many([f"gs://{scans.name}/2026/?.tif", f"gs://{scans.name}/other.tif"], progress=False)
        assert len(set(ids)) == len(GOOD) + 1
        assert client.submit(f"gs://{scans.name}/other.tif") == ids[-1]
        result = client.analyze(f"gs://{scans.name}/other.tif")
        assert result.image_id == ids[-1]
        assert result.grains
        with pytest.raises(ImageRejected, match="1025 × 4 px"):
            client.analyze(f"gs://{scans.name}/2026/large.tif")
