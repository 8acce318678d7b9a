"""Statistics, reports, comparisons and files of samples over HTTP."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tempfile
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
from openpyxl import load_workbook
from typer.testing import CliRunner

from grainserve.cli.application import app
from grainserve.errors import StorageError
from grainserve.exports.formats import FORMATS, FormatName
from grainserve.gateway.keys import Caller
from grainserve.gateway.service import Limits
from tests.unit.client.reports.test_sample import Page
from tests.unit.gateway.conftest import Gateway, Start, png
from tests.unit.gateway.sampled import discs, measured, sample
from tests.unit.gateway.test_jobs import failure, keys

OWN = {"sampleId", "imageIds", "leftOut", "flags"}
"""What the gateway adds to the statistics."""


def stats(folder: Path, image_ids: list[str], gateway: Gateway, *options: str) -> dict[str, Any]:
    """Runs `grainserve stats --json` on the results that the gateway sends."""
    files = [folder / f"{image_id}.json" for image_id in image_ids]
    for file in files:
        file.write_bytes(gateway.ask("GET", f"/image-analysis?imageId={file.stem}").content)
    out = folder / "stats.txt"
    done = CliRunner().invoke(app, ["stats", *map(str, files), "--name", "sand", "--json", str(out), *options])
    assert done.exit_code == 0, done.output
    return dict(json.loads(out.read_text()))


@pytest.mark.parametrize(
    ("query", "options"),
    [("", []), ("?edgeCorrection=false", ["--no-edge-correction"]), ("?astm=all", ["--astm", "all"])],
)
def test_statistics_are_those_of_the_command_to_the_last_digit(
    gateway: Gateway, tmp_path: Path, query: str, options: list[str]
) -> None:
    images = [measured(gateway, discs(seed, um_per_px=2.5 + seed)) for seed in range(5)]
    answer = gateway.ask("GET", f"/samples/{sample(gateway, images)}/statistics{query}").json()
    assert answer["imageIds"] == images
    told = {name: value for name, value in answer.items() if name not in OWN}
    assert told == stats(tmp_path, images, gateway, *options)
    assert [float(percent) for percent in told["number"]["curve"]] == list(range(101))
    for each in (told["number"], told["area"]):
        for percent, found in each["percentiles"].items():
            assert each["curve"][percent] == found["value"]


def test_images_have_their_names_and_their_current_scales(gateway: Gateway, tmp_path: Path) -> None:
    images = [measured(gateway, discs(seed, um_per_px=None)) for seed in (1, 2)]
    for image, name in zip(images, ("Düne 1.png", "<i>2</i>.tif"), strict=True):
        assert gateway.ask("PATCH", f"/images/{image}", json={"name": name}).status_code == 200
    made = sample(gateway, images)
    assert gateway.ask("GET", f"/samples/{made}/statistics").json()["unit"] == "px"
    gateway.ask("PUT", f"/images/{images[0]}/scale", json={"text": "2,5", "images": images[1:]})
    answer = gateway.ask("GET", f"/samples/{made}/statistics").json()
    assert answer["unit"] == "µm"
    assert [each["image"] for each in answer["images"]] == ["Düne 1.png", "<i>2</i>.tif"]
    expected = stats(tmp_path, images, gateway)
    for name in ("number", "area", "orientation", "coverage"):
        assert answer[name] == expected[name]
    page = gateway.ask("GET", f"/samples/{made}/report").text
    assert {"Düne 1.png", "<i>2</i>.tif"} <= set(Page(page).rows)
    assert "<i>2" not in page
    files = unzipped(gateway.ask("GET", f"/samples/{made}/export?format=geojson"))
    assert set(files) == {"results/Düne 1.geojson", "results/_i_2__i_.geojson"}
    of_one = gateway.ask("GET", f"/images/{images[0]}/report?format=pdf")
    assert "filename*=UTF-8''D%C3%BCne%201.png.pdf" in of_one.headers["Content-Disposition"]


def test_a_key_that_only_reads_sees_samples_and_changes_none(start: Start) -> None:
    known, (mine, reader) = keys(Caller("lab"), Caller("student", submitter="lab", read_only=True))
    gateway = start(keys=known)
    image = measured(gateway, discs(1), mine)
    made = sample(gateway, [image], mine)
    for path in (f"/samples/{made}/statistics", f"/samples/{made}", f"/images/{image}/report"):
        assert gateway.ask("GET", path, reader).status_code == 200
    for method, path in (("POST", "/samples"), ("PATCH", f"/samples/{made}"), ("DELETE", f"/samples/{made}")):
        assert failure(gateway.ask(method, path, reader, json={"name": "x"}), 403) == "read_only"
    assert gateway.ask("GET", "/samples", reader).json()["samples"][0]["name"] == "sand"


def test_what_is_not_measured_is_left_out_and_said(gateway: Gateway) -> None:
    store = gateway.service.store
    done = measured(gateway, discs(1))
    waiting, failed, gone = (gateway.upload(png()) for _ in range(3))
    store.cancel(failed)
    made = sample(gateway, [waiting, done, failed, gone])
    gateway.ask("DELETE", f"/image-analysis?imageId={gone}")
    answer = gateway.ask("GET", f"/samples/{made}/statistics").json()
    assert (answer["imageIds"], len(answer["images"])) == ([done], 1)
    assert {each["imageId"]: each["why"] for each in answer["leftOut"]} == {
        waiting: "waiting",
        failed: "failed",
        gone: "missing",
    }
    assert "cancelled" in {each["why"]: each["message"] for each in answer["leftOut"]}["failed"]
    flag = next(each for each in answer["flags"] if each["name"] == "images_left_out")
    assert flag["words"].startswith("3 of 4 images of the sample are not in these numbers")
    page = Page(gateway.ask("GET", f"/samples/{made}/report").text)
    assert page.flags == [each["name"] for each in answer["flags"]], "the same as the report's, in its order"
    nothing = sample(gateway, [waiting])
    for path in ("statistics", "report", "export", "export?format=csv", "export?format=geojson"):
        assert failure(gateway.ask("GET", f"/samples/{nothing}/{path}"), 409) == "no_results"


def unzipped(answer: Any) -> dict[str, bytes]:
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/zip"), answer.text
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def test_an_archive_has_every_format_of_every_image_and_the_samples_files(gateway: Gateway, tmp_path: Path) -> None:
    images = [measured(gateway, discs(seed)) for seed in (1, 2)]
    made = sample(gateway, [*images, gateway.upload(png())], name="Düne/../“a”\u2028")
    answer = gateway.ask("GET", f"/samples/{made}/export")
    named = answer.headers["Content-Disposition"]
    assert named.startswith("attachment; ")
    assert "filename*=UTF-8''D%C3%BCne_.._%E2%80%9Ca%E2%80%9D" in named
    files = unzipped(answer)
    of_images = {f"results/{image}{form.ending}" for image in images for form in FORMATS.values()}
    assert set(files) == of_images | {"statistics.json", "sample.xlsx", "report.html", "left_out.txt"}
    assert files["left_out.txt"].decode().count("\n") == 1
    for name, kind in FORMATS.items():
        own = gateway.ask("GET", f"/image-analysis?imageId={images[0]}&format={name}").content
        if name in {"json", "csv", "statistics", "wadell", "geojson", "qupath", "overlay"}:
            found = files[f"results/{images[0]}{kind.ending}"]
            assert json.loads(found) == json.loads(own) if name == "json" else found == own, name
    (tmp_path / "results").mkdir()
    for file in of_images:
        (tmp_path / file).write_bytes(files[file])
    out = tmp_path / "stats.txt"
    done = CliRunner().invoke(app, ["stats", str(tmp_path / "results"), "--name", "x", "--json", str(out)])
    assert done.exit_code == 0, done.output
    told = json.loads(files["statistics.json"])
    assert told["area"] == json.loads(out.read_text())["area"], "an unpacked archive is the sample again"


def test_what_cannot_be_made_is_said_in_the_archive(gateway: Gateway) -> None:
    images = [measured(gateway, discs(1, mask_format="none")), measured(gateway, discs(2, um_per_px=None))]
    bucket = gateway.service.store.bucket
    found = bucket.find(f"images/{images[1]}")
    assert found
    bucket.delete(found.name, found.generation)
    files = unzipped(gateway.ask("GET", f"/samples/{sample(gateway, images)}/export"))
    lines = files["left_out.txt"].decode().splitlines()
    assert [each.split(":")[0] for each in lines[:3]] == ["statistics.json", "sample.xlsx", "report.html"]
    assert all("no scale" in each for each in lines[:3])
    assert f"results/{images[0]}.csv" in files
    masked = {each.ending for each in FORMATS.values() if each.needs_masks}
    without = {each.split(":")[0] for each in lines[3:]}
    assert without == {f"{images[0]}{ending}" for ending in masked} | {f"{images[1]}_overlay.png"}
    assert bucket.name not in files["left_out.txt"].decode()


@pytest.mark.parametrize("form", ["csv", "parquet", "coco", "statistics", "xlsx"])
def test_some_formats_are_one_file_of_all_images(gateway: Gateway, form: str) -> None:
    images = [measured(gateway, discs(seed)) for seed in (1, 2)]
    answer = gateway.ask("GET", f"/samples/{sample(gateway, images)}/export?format={form}&csvDialect=excel-eu")
    assert answer.status_code == 200, answer.text
    ending = ".xlsx" if form == "xlsx" else FORMATS[FormatName(form)].ending
    assert f'filename="sand{ending}"' in answer.headers["Content-Disposition"]
    if form == "csv":
        lines = answer.content.decode("utf-8-sig").splitlines()
        assert lines[0].startswith("image;")
        assert len(lines) == 51
    elif form == "xlsx":
        assert load_workbook(io.BytesIO(answer.content)).sheetnames[:2] == ["sample", "grains"]
    elif form == "coco":
        assert [each["file_name"] for each in answer.json()["images"]] == images


def test_other_formats_come_as_an_archive(gateway: Gateway) -> None:
    images = [measured(gateway, discs(seed)) for seed in (1, 2)]
    made = sample(gateway, images)
    files = unzipped(gateway.ask("GET", f"/samples/{made}/export?format=labels"))
    assert set(files) == {f"results/{image}_labels.ome.tif" for image in images}
    assert failure(gateway.ask("GET", f"/samples/{made}/export?format=docx"), 422) == "invalid_request"


@pytest.mark.parametrize("kind", ["html", "pdf"])
def test_reports_of_a_sample_an_image_and_a_comparison(gateway: Gateway, kind: str) -> None:
    images = [measured(gateway, discs(seed)) for seed in (1, 2)]
    one, other = sample(gateway, images, name="<b>sand"), sample(gateway, images[:1], name="<b>sand")
    for path in (
        f"/samples/{one}/report?format={kind}&astm=planimetric-jeffries",
        f"/images/{images[0]}/report?format={kind}",
        f"/comparison?sample={one}&sample={other}&format={kind}",
    ):
        answer = gateway.ask("GET", path)
        assert answer.status_code == 200, answer.text
        assert answer.headers["Content-Disposition"].startswith("inline; ")
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        if kind == "pdf":
            assert answer.content.startswith(b"%PDF-")
            continue
        assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
        page = Page(answer.text)
        assert "b" in page.tags
        assert "<b>sand" not in answer.text
        if path.startswith("/samples"):
            assert len([each for each in page.pictures if each.startswith("data:image/jpeg")]) == 2
            assert "<b>sand" in page.words
        if path.startswith("/comparison"):
            assert "<b>sand (2)" in page.words, "samples that are called alike are told apart"


def test_a_report_waits_for_its_image(gateway: Gateway) -> None:
    store, waiting, failed = gateway.service.store, gateway.upload(png()), gateway.upload(png())
    store.cancel(failed)
    answer = gateway.ask("GET", f"/images/{waiting}/report")
    assert (answer.status_code, answer.json()["state"]) == (202, "queued")
    assert failure(gateway.ask("GET", f"/images/{failed}/report"), 410) == "cancelled"
    done = measured(gateway, discs(1))
    found = store.bucket.find(f"images/{done}")
    assert found
    store.bucket.delete(found.name, found.generation)
    assert "Without the image where it was deleted" in Page(gateway.ask("GET", f"/images/{done}/report").text).words


def test_a_comparison_as_json_is_the_statistics_of_each(gateway: Gateway) -> None:
    made = [sample(gateway, [measured(gateway, discs(seed))], name=f"sand {seed}") for seed in range(2)]
    told = gateway.ask("GET", f"/comparison?sample={made[0]}&sample={made[1]}").json()["samples"]
    assert told == [gateway.ask("GET", f"/samples/{each}/statistics").json() for each in made]
    for query in (f"sample={made[0]}", f"sample={made[0]}&sample={made[0]}", "&".join(["sample=x"] * 21)):
        assert failure(gateway.ask("GET", f"/comparison?{query}"), 422) == "invalid_option"


def test_a_comparison_counts_each_samples_grains_once(start: Start) -> None:
    gateway = start(limits=Limits(grains=8 * 25))
    made = [sample(gateway, [measured(gateway, discs(seed))]) for seed in range(8)]
    assert gateway.ask("GET", "/comparison?" + "&".join(f"sample={each}" for each in made)).status_code == 200


def test_an_image_whose_record_or_result_is_damaged_is_left_out(gateway: Gateway) -> None:
    good, record, result = (measured(gateway, discs(seed)) for seed in range(3))
    made, bucket = sample(gateway, [good, record, result]), gateway.service.store.bucket
    for name in (f"jobs/{record}.json", f"results/{result}.json"):
        found = bucket.find(name)
        assert found
        bucket.replace(name, b"{}", "application/json", found.generation)
    told = gateway.ask("GET", f"/samples/{made}/statistics").json()
    assert {each["imageId"]: each["why"] for each in told["leftOut"]} == dict.fromkeys((record, result), "missing")


def test_figures_that_cannot_be_had_are_told_with_their_reason(gateway: Gateway) -> None:
    bare, scaled = (measured(gateway, discs(1, um_per_px=scale, mask_format="none")) for scale in (None, 2.5))
    for images, query, code in (
        ([bare, scaled], "", "mixed_scales"),
        ([bare], "?astm=all", "no_scale"),
        ([scaled], "?astm=all", "masks_missing"),
    ):
        answer = gateway.ask("GET", f"/samples/{sample(gateway, images)}/statistics{query}")
        assert failure(answer, 409) == code
    answer = gateway.ask("GET", f"/samples/{sample(gateway, [measured(gateway, discs(1))])}/statistics?astm=x")
    assert failure(answer, 422) == "invalid_option"


def test_a_sample_with_too_many_grains_is_refused(start: Start) -> None:
    gateway = start(limits=Limits(grains=49))
    images = [measured(gateway, discs(seed)) for seed in (1, 2)]
    one, other = (sample(gateway, [image]) for image in images)
    both = sample(gateway, images)
    assert gateway.ask("GET", f"/samples/{one}/statistics").status_code == 200
    for path in (
        f"/samples/{both}/statistics",
        f"/samples/{both}/report",
        f"/samples/{both}/export?format=csv",
        f"/comparison?sample={one}&sample={other}",
    ):
        assert failure(gateway.ask("GET", path), 413) == "sample_too_large"
    assert failure(gateway.ask("GET", f"/samples/{one}/export?format=csv"), 413) == "sample_too_large", "all columns"
    files = unzipped(gateway.ask("GET", f"/samples/{both}/export"))
    assert {"statistics.json", "left_out.txt"} & set(files) == {"left_out.txt"}
    assert {f"results/{image}.csv" for image in images} <= set(files), "images are exported one by one"


def test_analyses_leave_places_for_other_keys_and_come_back(start: Start) -> None:
    known, (mine, theirs) = keys(Caller("lab"), Caller("other"))
    gateway = start(keys=known, limits=Limits(analyses=2))
    made = {key: sample(gateway, [measured(gateway, discs(1), key)], key) for key in (mine, theirs)}
    store, opened, go_on = gateway.service.store, threading.Event(), threading.Event()
    read = store.result

    def slow(image_id: str) -> dict[str, Any]:
        if store.job(image_id).submitter == "lab":
            opened.set()
            assert go_on.wait(60)
        return read(image_id)

    object.__setattr__(store, "result", slow)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(gateway.ask, "GET", f"/samples/{made[mine]}/statistics", mine)
        assert opened.wait(60)
        for path in ("statistics", "report", "export", "export?format=csv"):
            answer = gateway.ask("GET", f"/samples/{made[mine]}/{path}", mine)
            assert failure(answer, 503) == "busy"
            assert answer.headers["Retry-After"] == "1"
        assert gateway.ask("GET", f"/samples/{made[theirs]}/statistics", theirs).status_code == 200
        assert gateway.ask("GET", "/healthz").status_code == 200
        go_on.set()
        assert first.result().status_code == 200
    assert gateway.ask("GET", f"/samples/{made[mine]}/export?format=csv", mine).status_code == 200


def test_an_archive_that_nobody_reads_on_gives_its_place_and_its_folder_back(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    gateway = start(limits=Limits(analyses=2))
    images = [measured(gateway, discs(seed)) for seed in (1, 2)]
    made, store, go_on = sample(gateway, images), gateway.service.store, threading.Event()
    read = store.result

    def slow(image_id: str) -> dict[str, Any]:
        assert image_id == images[0] or go_on.wait(60)
        return read(image_id)

    object.__setattr__(store, "result", slow)
    answer = gateway.ask("GET", f"/samples/{made}/export?format=geojson", stream=True)
    parts = answer.iter_content(4)  # it hangs up when it is forgotten
    assert next(parts) == b"PK\x03\x04", "it is sent before all of it is made"
    assert len(list(tmp_path.iterdir())) == 1
    assert failure(gateway.ask("GET", f"/samples/{made}/export?format=geojson"), 503) == "busy"
    answer.close()
    go_on.set()
    while gateway.ask("GET", f"/samples/{made}/statistics").status_code == 503:
        pass  # wait until the gateway has noticed
    assert list(tmp_path.iterdir()) == []


def test_an_archive_that_storage_fails_breaks_off(gateway: Gateway) -> None:
    images = [measured(gateway, discs(seed)) for seed in (1, 2)]
    made, store = sample(gateway, images), gateway.service.store
    read = store.result

    def failing(image_id: str) -> dict[str, Any]:
        if image_id == images[1]:
            raise StorageError("GCS is gone")
        return read(image_id)

    object.__setattr__(store, "result", failing)
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        gateway.ask("GET", f"/samples/{made}/export?format=geojson")
    assert failure(gateway.ask("GET", f"/samples/{made}/export"), 503) == "storage_error", "before the first part"


def test_a_gateway_starts_without_the_libraries_of_reports_and_fetches_them_afterwards() -> None:
    said = "import sys; from grainserve.gateway import app, analyses; before = 'matplotlib' in sys.modules; "
    said += "analyses.prepare(); print(before, 'matplotlib' in sys.modules, 'scipy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", said], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True", "True"]
