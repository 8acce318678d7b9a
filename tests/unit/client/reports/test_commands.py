from __future__ import annotations

import re
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner
from typer.testing import Result as Ran

from grainserve import Result as GrainResult
from grainserve.cli.application import app
from grainserve.reports.tables import text
from grainserve.stats import Sample, summarise
from tests.unit.client.reports.grains import cut, discs, grey
from tests.unit.client.reports.test_sample import Page


def run(*arguments: object) -> Ran:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "200"})


def words(text: str) -> str:
    return " ".join(re.sub(r"\x1b\[[0-9;]*m", "", text).split())


@pytest.fixture(autouse=True)
def _no_bucket(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GRAINSERVE_BUCKET", raising=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of two results, their images, and a file that is no result."""
    place = tmp_path / "dune"
    place.mkdir()
    for seed in (1, 2):
        discs(30, seed=seed).to_json(place / f"dune{seed}.json")
        Image.fromarray(grey()).save(place / f"dune{seed}.png")
    (place / "dune1.coco.json").write_text('{"images": []}')
    return place


@pytest.mark.usefixtures("blank_charts")
def test_a_folder_is_one_sample_and_what_is_no_result_is_told(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "dune.html"
    done = run("report", folder, "--images", folder, "--out", out)
    assert done.exit_code == 0, done.output
    assert "dune1.coco.json: this is not a result" in words(done.stderr)
    page = Page(out.read_text(encoding="utf-8"))
    assert page.words.count("60 grains in 2 images") == 1
    assert page.rows["dune1.png"][3] == "30"
    assert "dune" in page.words


@pytest.mark.usefixtures("blank_charts")
def test_a_report_tells_the_percentiles_asked_for(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "dune.html"
    done = run("report", folder / "dune1.json", "--out", out, "--percentiles", "30,2.5,60")
    assert done.exit_code == 0, done.output
    page = Page(out.read_text(encoding="utf-8"))
    told = [name.split()[0] for name in page.rows if re.match(r"D[\d.]+ \(", name)]
    assert told == ["D2.5", "D30", "D60"]
    summary = summarise(Sample.of([GrainResult.from_json(folder / "dune1.json")]), percentiles=[30])
    assert page.rows["D30 (µm)"][0] == text(summary.number.percentiles[30])
    assert run("report", folder / "dune1.json", "--out", out, "--percentiles", "100").exit_code == 2


@pytest.mark.usefixtures("blank_charts")
def test_a_pdf_is_written_where_the_name_says_so(folder: Path, tmp_path: Path) -> None:
    cut(discs(2)).to_json(folder / "dune1.json")
    out = tmp_path / "dune.pdf"
    done = run("report", folder / "dune1.json", "--image", folder / "dune1.png", "--out", out, "--title", "Dune")
    assert done.exit_code == 0, done.output
    assert out.read_bytes().startswith(b"%PDF-")


@pytest.mark.usefixtures("blank_charts")
def test_without_image_and_bucket_the_report_says_so(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "r.html"
    assert run("report", folder / "dune1.json", "--out", out, "--no-edge-correction").exit_code == 0
    page = Page(out.read_text(encoding="utf-8"))
    assert "no image was given, and GRAINSERVE_BUCKET names no bucket" in page.words
    assert "Edge correction is off" in page.words
    assert "Grain sizes (equivalent diameters), not corrected for the frame." in page.words


@pytest.mark.usefixtures("blank_charts")
def test_the_image_comes_from_the_bucket_where_there_is_one(
    folder: Path, tmp_path: Path, bucket_name: str, torchserve: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    from grainserve.client import Client  # noqa: PLC0415

    monkeypatch.setenv("GRAINSERVE_BUCKET", bucket_name)
    with Client(dispatch=False) as client:
        image_id = client.submit(folder / "dune1.png")
    cut(discs(1, imageId=image_id)).to_json(tmp_path / "stored.json")
    cut(discs(1)).to_json(tmp_path / "lost.json")
    out = tmp_path / "r.html"
    assert run("report", tmp_path / "stored.json", "--out", out).exit_code == 0
    assert "Without the image" not in out.read_text(encoding="utf-8")
    assert run("report", tmp_path / "lost.json", "--out", out).exit_code == 0
    assert "Without the image where no image" in out.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["report", "dune/dune1.json", "--out", "r.docx"], 2, "neither .html nor .pdf"),
        (["report", "dune", "--image", "dune/dune1.png"], 2, "--image is for one result, not 2"),
        (["report", "dune/dune1.json", "--image", "small.png"], 1, "the image is 8 × 8 px, the one measured was 400"),
        (["report", "dune/dune1.coco.json"], 1, "dune/dune1.coco.json: this is not a result"),
        (["report", "empty"], 1, "empty has no results"),
        (["report", "nowhere.json"], 1, "No such file"),
        (["compare", "dune"], 2, "two samples or more"),
        (["compare", "dune", "--sample", "dune=dune/*.json"], 2, "several samples are called dune"),
        (["compare", "dune", "--sample", "beach"], 2, "is not NAME=GLOB"),
        (["compare", "dune", "--sample", "beach=b*.json"], 2, "no file matches b*.json"),
        (["compare", "dune", "unscaled.json"], 1, "have no scale"),
    ],
)
def test_mistakes_are_told(
    arguments: list[str], code: int, said: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parent)
    (folder.parent / "empty").mkdir()
    Image.new("RGB", (8, 8)).save("small.png")
    discs(30, um_per_px=None).to_json("unscaled.json")
    done = run(*arguments)
    assert done.exit_code == code, done.output
    assert said in words(done.stderr)


def test_compare_writes_a_pdf(folder: Path, tmp_path: Path) -> None:
    done = run("compare", folder / "dune1.json", folder / "dune2.json", "--out", tmp_path / "c.pdf")
    assert done.exit_code == 0, done.output
    assert (tmp_path / "c.pdf").read_bytes().startswith(b"%PDF-")


@pytest.mark.usefixtures("blank_charts")
def test_compare_has_a_column_with_intervals_for_each_sample(folder: Path, tmp_path: Path) -> None:
    beach = discs(70, seed=7)
    beach.to_json(tmp_path / "beach.json")
    out = tmp_path / "c.html"
    done = run("compare", tmp_path / "beach.json", "--sample", f"Dune={folder}/dune?.json", "--out", out)
    assert done.exit_code == 0, done.output
    page = Page(out.read_text(encoding="utf-8"))
    dune = [discs(30, seed=seed) for seed in (1, 2)]
    expected = [text(summarise(Sample.of(each)).number.percentiles[50]) for each in ([beach], dune)]
    assert page.rows[""] == ["beach", "Dune"]
    assert page.rows["D50 (µm)"] == expected
    assert "Grain sizes by number, corrected for the frame." in page.words
    assert page.rows["grains"] == ["70", "60"]
    assert len(page.pictures) == 2
    assert "2 samples · 3 images · 130 grains" in page.words
