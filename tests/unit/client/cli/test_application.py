from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from google.cloud import storage
from PIL import Image
from typer.testing import CliRunner, Result

from grainserve.cli.application import app
from grainserve.cli.output import unique_names
from grainserve.errors import StorageError
from grainserve.jobs.markers import Ticket
from grainserve.jobs.store import Claim, JobStore
from grainserve.storage import checkpoints as weights
from grainserve.storage.checkpoints import file_crc32c
from tests.faults.proxy import Proxy
from tests.unit.client.fake_torchserve import TOO_LARGE, FakeTorchServe
from tests.unit.client.made import DISCS, make_result


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def words(text: str) -> str:
    """Returns the text without styles and line breaks, which depend on the terminal."""
    return " ".join(re.sub(r"\x1b\[[0-9;]*m", "", text).replace("│", " ").split())


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")


def test_analyze_writes_four_files_and_prints_a_table(
    bucket_name: str, torchserve: FakeTorchServe, picture: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    done = run("analyze", picture, "--out", out, "--um-per-px", 2.5, "--min-area", 5, "--label", "quartz")
    assert done.exit_code == 0, done.output
    assert {path.name for path in out.iterdir()} == {"sand.json", "sand.csv", "sand_overlay.png", "sand_sizes.png"}
    assert len(json.loads((out / "sand.json").read_text())["segmentedObjects"]) == len(DISCS)
    assert len(pd.read_csv(out / "sand.csv")) == len(DISCS)
    for name in ("sand_overlay.png", "sand_sizes.png"):
        with Image.open(out / name) as image:
            image.load()
    text = words(done.output)
    for part in (
        "4 grains",
        "1 at the frame",
        "D10 D50 D90",
        "number-weighted (µm)",
        "area-weighted (µm)",
        "mean axes",
        "scale 2.5 µm per px (given)",
    ):
        assert part in text
    assert {"um_per_px": 2.5, "min_area": 5, "label": "quartz"}.items() <= torchserve.requests[0][1].items()


def test_a_flag_is_sent_where_it_is_given(
    bucket_name: str, torchserve: FakeTorchServe, picture: Path, tmp_path: Path
) -> None:
    for flags in ([], ["--fill"], ["--no-fill"]):
        done = run("analyze", picture, "--out", tmp_path / "out", *flags)
        assert done.exit_code == 0, done.output
    assert [options.get("fill") for _, options, *_ in torchserve.requests] == [None, True, False]


def test_analyze_writes_the_formats_asked_for(
    bucket_name: str, torchserve: FakeTorchServe, picture: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    done = run("analyze", picture, "--out", out, "--to", "labels", "--to", "coco")
    assert done.exit_code == 0, done.output
    assert {path.name for path in out.iterdir()} == {"sand_labels.ome.tif", "sand_coco.json"}
    assert json.loads((out / "sand_coco.json").read_text())["images"][0]["file_name"] == "sand.png"


def test_formats_want_a_folder_before_any_waiting(bucket_name: str, torchserve: FakeTorchServe) -> None:
    done = run("wait", "f" * 32, "--to", "roi")
    assert done.exit_code == 2
    assert "give --out" in words(done.output)


@pytest.mark.usefixtures("bucket_name", "torchserve")
def test_analyze_prints_the_percentiles_and_writes_the_dialect_asked_for(picture: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    asked = ("--to", "csv", "--csv-dialect", "excel-eu", "--percentiles", "60,30,2.5")
    done = run("analyze", picture, "--out", out, *asked)
    assert done.exit_code == 0, done.output
    assert "diameter D2.5 D30 D60 mean" in words(done.output)
    assert len(pd.read_csv(out / "sand.csv", sep=";", decimal=",")["centroid_x"]) == len(DISCS)
    assert run("analyze", picture, "--out", out, "--percentiles", "0").exit_code == 2


@pytest.mark.usefixtures("bucket_name", "torchserve")
def test_table_and_files_are_corrected_for_the_frame_unless_asked_otherwise(picture: Path, tmp_path: Path) -> None:
    for flags, corrected in (([], True), (["--no-edge-correction"], False)):
        done = run("analyze", picture, "--out", tmp_path, "--to", "statistics", *flags)
        assert done.exit_code == 0, done.output
        assert ("weighted by 1/P" in words(done.output)) == corrected
        assert ("no edge correction" in words(done.output)) != corrected
        assert json.loads((tmp_path / "sand_statistics.json").read_text())["edgeCorrection"] == corrected


def test_analyze_goes_on_after_a_rejected_image_and_says_which(
    bucket_name: str, torchserve: FakeTorchServe, picture: Path, tmp_path: Path
) -> None:
    torchserve.script = [TOO_LARGE]
    other, missing = tmp_path / "other.png", tmp_path / "missing.png"
    other.write_bytes(picture.read_bytes())
    done = run("analyze", picture, other, missing, "--out", tmp_path / "out")
    assert done.exit_code == 1
    text = words(done.stderr)
    assert "4000 px wide" in text
    assert "missing.png cannot be read" in text
    assert "2 of 3 images failed" in text
    # With two dispatcher threads, either image may have got the refusal.
    assert len(list((tmp_path / "out").glob("*.json"))) == 1


def test_analyze_without_masks_says_why_there_is_no_overlay(
    bucket_name: str, torchserve: FakeTorchServe, picture: Path, tmp_path: Path
) -> None:
    done = run("analyze", picture, "--out", tmp_path / "out", "--mask-format", "none")
    assert done.exit_code == 0
    assert "no overlay: mask_format is none" in words(done.output)
    assert not (tmp_path / "out" / "sand_overlay.png").exists()


def test_formats_made_of_masks_without_masks_are_refused_before_any_work(
    bucket_name: str, torchserve: FakeTorchServe, picture: Path, tmp_path: Path
) -> None:
    asked = ("--mask-format", "none", "--to", "csv", "--to", "geojson")
    done = run("analyze", picture, "--out", tmp_path / "out", *asked)
    assert done.exit_code == 2
    assert "--to geojson is made of masks, and --mask-format none asks for none" in words(done.output)
    assert not (tmp_path / "out").exists()


def test_submit_then_poll_then_wait_then_poll(
    bucket_name: str, torchserve: FakeTorchServe, picture: Path, tmp_path: Path, names: Callable[[], set[str]]
) -> None:
    submitted = run("submit", picture)
    assert submitted.exit_code == 0
    image_id = submitted.stdout.strip()
    assert f"pending/lab/{image_id}" in names()
    queued = run("poll", image_id)
    assert (queued.exit_code, queued.stdout.strip()) == (3, "queued")
    waited = run("wait", image_id, "--out", tmp_path / "out")
    assert waited.exit_code == 0, waited.output
    assert (tmp_path / "out" / f"{image_id}_overlay.png").exists()  # the image came from the bucket
    polled = run("poll", image_id)
    assert polled.exit_code == 0
    assert "4 grains" in words(polled.output)


def test_submit_of_several_prints_an_id_a_line(bucket_name: str, picture: Path) -> None:
    lines = run("submit", picture, picture).stdout.splitlines()
    assert len(lines) == 2
    assert all(re.fullmatch(rf"[0-9a-f]{{32}}  {re.escape(str(picture))}", line) for line in lines)


@pytest.mark.parametrize("number", ["1_0", "1e5_0", "infinity", "nan", "１０"])
@pytest.mark.parametrize("option", ["--um-per-px", "--min-area", "--pred-iou-thresh", "--ignore-bottom", "--bar-um"])
def test_a_number_that_only_a_programmer_would_write_is_refused(
    bucket_name: str, picture: Path, names: Callable[[], set[str]], option: str, number: str
) -> None:
    scale = ("--scale", "auto") if option == "--bar-um" else ()
    done = run("submit", picture, *scale, option, number)
    assert done.exit_code == 2
    assert re.search(f"Invalid value for '{option}': .*'{number}' is not a number", words(done.stderr))
    assert names() == set()


def test_a_bar_of_a_length_below_zero_is_refused_before_anything_is_read(names: Callable[[], set[str]]) -> None:
    for command in ("submit", "scale"):
        done = run(command, "nowhere.png", "--scale", "auto", "--bar-um=-1")
        assert done.exit_code == 2
        assert "Invalid value for '--bar-um': -1 is below 0" in words(done.stderr)
    assert names() == set()


def test_submit_again_under_the_same_key_makes_no_second_job(
    bucket_name: str, picture: Path, names: Callable[[], set[str]]
) -> None:
    other = picture.with_name("other.png")
    other.write_bytes(picture.read_bytes())
    first = run("submit", picture, other, "--idempotency-key", "friday")
    again = run("submit", picture, other, "--idempotency-key", "friday")
    assert first.exit_code == again.exit_code == 0
    assert again.stdout == first.stdout
    assert sum(name.startswith("jobs/") for name in names()) == 2


def test_submit_stores_nothing_when_a_file_is_missing(
    bucket_name: str, picture: Path, names: Callable[[], set[str]]
) -> None:
    done = run("submit", picture, picture.with_name("missing.png"))
    assert done.exit_code == 1
    assert names() == set()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("analyze", "x.png", "--points-per-side", "500"), 2, "is 500; it must be an integer from 1 to 128"),
        (("submit", "x.png", "--um-per-px", "0"), 2, "um_per_px is 0"),
        (("submit", "x.png", "--mode", "all"), 2, "'grains' or 'masks'"),
        (("poll", "../etc"), 2, "is no image id"),
        (("poll", "f" * 32), 1, "no image"),
        (("wait", "f" * 32), 1, "no image"),
        (("weights", "push", "nowhere.pth", "--bucket", "b"), 2, "is not a file"),
    ],
)  # fmt: skip
def test_errors_are_one_line_without_a_traceback(
    bucket_name: str, torchserve: FakeTorchServe, arguments: tuple[str, ...], code: int, message: str
) -> None:
    done = run(*arguments)
    assert done.exit_code == code
    assert message in words(done.stderr)
    assert len(done.stderr.strip().splitlines()) == 1
    assert "Traceback" not in done.output


def test_a_missing_setting_is_a_usage_error(monkeypatch: pytest.MonkeyPatch, picture: Path) -> None:
    monkeypatch.delenv("GRAINSERVE_BUCKET", raising=False)
    done = run("submit", picture)
    assert done.exit_code == 2
    assert "GRAINSERVE_BUCKET is not set" in words(done.stderr)


def test_torchserve_that_is_not_there_is_told_at_once(
    bucket_name: str, monkeypatch: pytest.MonkeyPatch, picture: Path, tmp_path: Path, names: Callable[[], set[str]]
) -> None:
    monkeypatch.setenv("GRAINSERVE_TORCHSERVE", "http://127.0.0.1:9")
    done = run("analyze", picture, "--out", tmp_path / "out")
    assert done.exit_code == 1
    assert "TorchServe does not answer at http://127.0.0.1:9" in words(done.stderr)
    assert names() == set()


def test_models_lists_versions_and_workers(torchserve: FakeTorchServe) -> None:
    workers = [{"status": "READY", "pid": 7}, {"status": "UNLOADING", "pid": -1}]
    version = {"modelName": "sam_tiny", "modelVersion": "1.0", "modelUrl": "a.mar", "minWorkers": 2, "workers": workers}
    torchserve.management = {
        "/models?limit=100": {"models": [{"modelName": "sam_tiny"}]},
        "/models/sam_tiny": [version],
        "/models/sam_tiny/all": [version, version | {"modelVersion": "2.0"}],
    }
    done = run("models", "list")
    assert done.exit_code == 0
    text = re.sub(r"[^\w. ]", " ", words(done.stdout))
    assert re.search(r"sam_tiny +1\.0 +yes +1 of 2", text)
    assert re.search(r"sam_tiny +2\.0 +1 of 2", text)


@pytest.mark.parametrize(
    "command",
    ["submit", "poll", "wait", "analyze", "segment", "weights push"]
    + [f"models {each}" for each in ("list", "register", "scale", "swap", "rollback", "remove", "apply")],
)
def test_help_teaches_with_an_example(command: str) -> None:
    done = run(*command.split(), "--help")
    assert done.exit_code == 0
    assert f"grainserve {command} " in words(done.stdout) + " "


# Checkpoints ---------------------------------------------------------------------------------------------------------


def test_weights_push_uploads_once(gcs: storage.Client, bucket_name: str, tmp_path: Path) -> None:
    file = tmp_path / "sam_tiny.pth"
    file.write_bytes(bytes(range(256)) * 100_000)  # several chunks
    first = run("weights", "push", file, "--bucket", bucket_name)
    assert first.exit_code == 0, first.output
    blob = gcs.bucket(bucket_name).get_blob("sam_tiny.pth")
    assert blob.crc32c == file_crc32c(file)
    assert blob.size == file.stat().st_size
    assert words(first.stdout).startswith(f"gs://{bucket_name}/sam_tiny.pth generation {blob.generation}")
    again = run("weights", "push", file, "--bucket", bucket_name)
    assert "the same bytes were there already" in words(again.stdout)
    file.write_bytes(b"other")
    changed = run("weights", "push", file, "--bucket", bucket_name)
    newer = gcs.bucket(bucket_name).get_blob("sam_tiny.pth")
    assert newer.generation != blob.generation
    assert f"generation {newer.generation}" in words(changed.stdout)


def test_a_damaged_upload_is_deleted_and_no_later_one(
    gcs: storage.Client, bucket_name: str, proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, meanwhile = tmp_path / "sam.pth", gcs.bucket(bucket_name).blob("sam.pth")
    file.write_bytes(b"weights")
    monkeypatch.setattr(weights, "file_crc32c", lambda _: "AAAAAA==")
    with pytest.raises(StorageError, match="arrived damaged"):
        weights.push(file, bucket_name)
    assert not meanwhile.exists()
    proxy.before = lambda call: meanwhile.upload_from_string(b"newer") if call.verb == "delete" else None
    with pytest.raises(StorageError, match="arrived damaged"):
        weights.push(file, bucket_name)
    assert meanwhile.download_as_bytes() == b"newer"


def test_weights_push_creates_a_bucket_only_when_told(
    gcs: storage.Client, bucket_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "w.pth"
    file.write_bytes(b"weights")
    fresh = f"{bucket_name}-weights"
    monkeypatch.setenv("GRAINSERVE_WEIGHTS_BUCKET", fresh)
    refused = run("weights", "push", file)
    assert refused.exit_code == 1
    assert "--create-bucket" in words(refused.stderr)
    assert gcs.lookup_bucket(fresh) is None
    assert run("weights", "push", file, "--create-bucket", "--name", "a/b.pth").exit_code == 0
    assert gcs.bucket(fresh).blob("a/b.pth").download_as_bytes() == b"weights"


def test_crc32c_is_written_as_gcs_does(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"123456789")  # CRC-32C's check value is e3069283
    assert file_crc32c(tmp_path / "x") == "4waSgw=="


def test_files_of_images_of_the_same_name_do_not_overwrite_each_other() -> None:
    assert unique_names([Path("a/x.png"), Path("b/x.tif"), Path("x_2.png")]) == ["x", "x_2", "x_2_2"]


@pytest.mark.usefixtures("bucket_name")
@pytest.mark.parametrize("command", ["wait", "poll"])
@pytest.mark.parametrize("forged", ["../outside/planted", "/tmp/planted", "b" * 32])
def test_a_forged_result_writes_no_file(
    store: JobStore, torchserve: FakeTorchServe, tmp_path: Path, command: str, forged: str
) -> None:
    image_id = store.submit(b"image", model="sam_tiny", version=None, options={}, submitter="lab")
    claim = store.claim(Ticket("lab", image_id), "one")
    assert isinstance(claim, Claim)
    store.finish(claim, make_result(forged))
    done = run(command, image_id, "--out", tmp_path / "results", "--to", "csv")
    assert done.exit_code == 1
    assert f"is of another, {forged!r}" in words(done.output)
    assert list(tmp_path.rglob("*.csv")) == []
    assert torchserve.requests == []


@pytest.mark.usefixtures("bucket_name")
def test_files_are_named_by_the_id_that_was_asked_for(
    store: JobStore, torchserve: FakeTorchServe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(JobStore, "poll", lambda *_: make_result("planted"))
    done = run("poll", "asked", "--out", tmp_path / "results", "--to", "csv")
    assert done.exit_code == 0, done.output
    assert [path.name for path in tmp_path.rglob("*.csv")] == ["asked.csv"]
    assert torchserve.requests == []
