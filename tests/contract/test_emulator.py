"""Checks where the GCS emulator behaves as GCS does, as far as our code relies on it, and where it differs."""

from __future__ import annotations

import base64
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import google_crc32c
import numpy as np
import pytest
from google.api_core.exceptions import NotFound, PreconditionFailed
from google.cloud.storage import Bucket

from tools import ports
from tools.emulator import Emulator
from tools.problem import Problem

CONTENT = np.random.default_rng(0).bytes(3 * 2**20 + 5)
RACERS = 32


@pytest.fixture
def bucket(emulator: Emulator) -> Bucket:
    return emulator.create_bucket(f"test-{uuid4().hex}")


def test_one_of_many_creates_an_object(bucket: Bucket) -> None:
    def create(racer: int) -> bool:
        try:
            bucket.blob("result").upload_from_string(f"{racer}", if_generation_match=0)
        except PreconditionFailed:
            return False
        return True

    with ThreadPoolExecutor(RACERS) as pool:
        won = list(pool.map(create, range(RACERS)))
    assert won.count(True) == 1
    assert bucket.blob("result").download_as_bytes() == f"{won.index(True)}".encode()


def test_compare_and_swap_loses_no_increment(bucket: Bucket) -> None:
    bucket.blob("job").upload_from_string("0")

    def increment(_racer: int) -> None:
        while True:
            blob = bucket.get_blob("job")
            assert blob is not None
            try:
                value = int(blob.download_as_bytes(if_generation_match=blob.generation))
                blob.upload_from_string(str(value + 1), if_generation_match=blob.generation)
            except (PreconditionFailed, NotFound):
                # NotFound is the emulator's answer to a read of a generation that was replaced.
                continue
            return

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(increment, range(RACERS)))
    assert bucket.blob("job").download_as_bytes() == str(RACERS).encode()


def test_generation_preconditions_of_a_delete_are_not_enforced(bucket: Bucket) -> None:
    # GCS refuses this with 412; code that relies on it cannot be tested here.
    blob = bucket.blob("pending")
    blob.upload_from_string("")
    passed = blob.generation
    bucket.blob("pending").upload_from_string("again")
    bucket.blob("pending").delete(if_generation_match=passed)
    assert not bucket.blob("pending").exists()


def test_metageneration_preconditions_are_not_enforced(bucket: Bucket) -> None:
    # GCS refuses this, so no code may rely on it.
    bucket.blob("image").upload_from_string("one")
    bucket.blob("image").upload_from_string("two", if_metageneration_match=99)


def test_a_copy_names_its_source_by_generation_and_its_preconditions_are_not_enforced(
    emulator: Emulator, bucket: Bucket
) -> None:
    # GCS refuses the second and third copy with 412. So the source's generation goes into the request itself.
    source = emulator.create_bucket(f"test-{uuid4().hex}")
    source.blob("a").upload_from_string(b"x", content_type="image/tiff")
    passed = source.get_blob("a").generation
    bucket.blob("b").rewrite(source.blob("a", generation=passed), if_generation_match=0)
    bucket.blob("b").rewrite(source.blob("a", generation=passed), if_generation_match=0)
    bucket.blob("b").rewrite(source.blob("a"), if_source_generation_match=passed + 1)
    source.blob("a").upload_from_string(b"y")
    with pytest.raises(NotFound):
        bucket.blob("c").rewrite(source.blob("a", generation=passed))
    with pytest.raises(NotFound):
        source.blob("a", generation=passed).download_as_bytes(start=0, end=0, raw_download=True)
    assert [blob.name for blob in bucket.list_blobs()] == ["b"]


def test_a_listing_ignores_patterns(bucket: Bucket) -> None:
    # GCS lists a.tif alone; patterns are matched by our own code.
    for name in ("a.tif", "b.png"):
        bucket.blob(name).upload_from_string("")
    assert [blob.name for blob in bucket.list_blobs(match_glob="*.tif")] == ["a.tif", "b.png"]


def test_crc32c(bucket: Bucket) -> None:
    blob = bucket.blob("weights")
    blob.upload_from_string(CONTENT)
    blob.reload()
    expected = google_crc32c.Checksum(CONTENT).digest()
    assert blob.crc32c == base64.b64encode(expected).decode()
    assert blob.size == len(CONTENT)


def test_resumable_upload_and_ranged_reads(bucket: Bucket) -> None:
    with bucket.blob("large", chunk_size=2**20).open("wb") as stream:
        stream.write(CONTENT)
    blob = bucket.get_blob("large")
    assert blob is not None
    assert blob.crc32c == base64.b64encode(google_crc32c.Checksum(CONTENT).digest()).decode()
    # Both ends are included.
    assert blob.download_as_bytes(start=5, end=9) == CONTENT[5:10]
    assert blob.download_as_bytes(start=len(CONTENT) - 3) == CONTENT[-3:]
    assert bucket.blob("large", chunk_size=2**20).download_as_bytes() == CONTENT


def test_listing_by_prefix(bucket: Bucket) -> None:
    for name in ("pending/b", "pending/a", "images/a"):
        bucket.blob(name).upload_from_string("")
    assert [blob.name for blob in bucket.list_blobs(prefix="pending/")] == ["pending/a", "pending/b"]
    assert [blob.name for blob in bucket.list_blobs(prefix="pending/", max_results=1)] == ["pending/a"]


def test_a_restart_keeps_objects_and_generations(tmp_path: Path) -> None:
    port = ports.choose_free(1)[0]
    file = tmp_path / "weights.pth"
    file.write_bytes(CONTENT)

    def run() -> int:
        with Emulator(tmp_path / "gcs", port=port, log=tmp_path / "log") as emulator:
            assert emulator.upload("weights", file) == "gs://weights/weights.pth"
            blob = emulator.client().bucket("weights").get_blob("weights.pth")
            assert blob is not None
            assert blob.download_as_bytes() == CONTENT
            generation: int = blob.generation
            return generation

    assert run() == run()
    assert ports.is_free(port)


@pytest.mark.skipif(sys.platform != "linux", reason="extended attributes are read on Linux only")
def test_what_a_killed_emulator_left_half_written_is_made_good(tmp_path: Path) -> None:
    emulator = Emulator(tmp_path / "gcs", port=ports.choose_free(1)[0], log=tmp_path / "log")
    with emulator:
        bucket = emulator.create_bucket("jobs")
        for name in ("jobs/one.json", "jobs/two.json", "pending/one"):
            bucket.blob(name).upload_from_string(b"{}")
        generation = bucket.get_blob("jobs/one.json").generation
        # The state between two steps of a write: without attributes, and with a temporary file.
        os.removexattr(emulator.root / "jobs" / "jobs" / "one.json", "user.metadata")
        (emulator.root / "jobs" / "pending" / ".two1563178130").touch()
        # GCS has no such state. An emulator that tolerates it needs no repair.
        for prefix in ("jobs/", "pending/"):
            with pytest.raises(NotFound):
                list(bucket.list_blobs(prefix=prefix))
        assert not bucket.blob("jobs/one.json").exists()
        emulator.kill()
        emulator.start()
        assert emulator.mended == ["jobs/jobs/one.json", "jobs/pending/.two1563178130"]
        assert [blob.name for blob in bucket.list_blobs()] == ["jobs/one.json", "jobs/two.json", "pending/one"]
        blob = bucket.get_blob("jobs/one.json")
        assert blob.generation > generation
        assert (blob.content_type, blob.download_as_bytes(checksum="crc32c")) == ("application/json", b"{}")
        assert blob.crc32c == bucket.get_blob("jobs/two.json").crc32c
        with pytest.raises(PreconditionFailed):
            bucket.blob("jobs/one.json").upload_from_string(b"", if_generation_match=generation)
        bucket.blob("jobs/one.json").upload_from_string(b"", if_generation_match=blob.generation)
        emulator.kill()
        emulator.start()
        assert emulator.mended == []


def test_one_emulator_a_folder_and_one_a_port(emulator: Emulator, tmp_path: Path) -> None:
    free = ports.choose_free(1)[0]
    with pytest.raises(Problem, match=f"Port {emulator.port}, which the GCS emulator needs, is in use"):
        Emulator(tmp_path / "gcs", port=emulator.port, log=tmp_path / "log").start()
    with pytest.raises(Problem, match="Another GCS emulator keeps its objects in"):
        Emulator(emulator.root, port=free, log=tmp_path / "log").start()
    assert ports.is_free(free)
