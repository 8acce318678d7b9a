from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image
from pycocotools.coco import COCO
from typer.testing import CliRunner, Result

from grainserve.cli.application import app
from tests.unit.client.made import DISCS, make_image, make_result


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["export", *map(str, arguments)])


@pytest.fixture
def results(tmp_path: Path) -> list[Path]:
    """Makes two results, and their images in a folder `scans`."""
    (tmp_path / "scans").mkdir()
    paths = [tmp_path / "sand.json", tmp_path / "gravel.json"]
    for number, path in enumerate(paths):
        path.write_text(json.dumps(make_result(str(number) * 32)))
        make_image().save(tmp_path / "scans" / f"{path.stem}.png")
    return paths


def test_export_writes_each_format_for_each_result_and_says_where(results: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = run(*results, "--to", "geojson", "--to", "roi", "--out", out)
    assert done.exit_code == 0, done.output
    names = {f"{name}{ending}" for name in ("sand", "gravel") for ending in (".geojson", "_rois.zip")}
    assert {path.name for path in out.iterdir()} == names
    assert {Path(line).name for line in done.stdout.split()} == names


@pytest.mark.parametrize(("flags", "corrected"), [([], True), (["--no-edge-correction"], False)])
def test_statistics_are_corrected_for_the_frame_unless_asked_otherwise(
    results: list[Path], tmp_path: Path, flags: list[str], corrected: bool
) -> None:
    done = run(results[0], "--to", "statistics", "--out", tmp_path, *flags)
    assert done.exit_code == 0, done.output
    assert json.loads((tmp_path / "sand_statistics.json").read_text())["edgeCorrection"] == corrected


def test_together_makes_one_file_of_all_results(results: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = run(*results, "--together", "--to", "csv", "--to", "coco", "--out", out, "--images", tmp_path / "scans")
    assert done.exit_code == 0, done.output
    assert {path.name for path in out.iterdir()} == {"grains.csv", "grains_coco.json"}
    assert pd.read_csv(out / "grains.csv")["image"].value_counts().to_dict() == dict.fromkeys(
        ("sand.png", "gravel.png"), len(DISCS)
    )
    images = COCO(out / "grains_coco.json").dataset["images"]
    assert [image["file_name"] for image in images] == ["sand.png", "gravel.png"]


@pytest.mark.parametrize("together", [False, True])
def test_a_dialect_holds_for_every_csv(together: bool, results: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = run(*results, "--to", "csv", "--csv-dialect", "excel-eu", "--out", out, *["--together"] * together)
    assert done.exit_code == 0, done.output
    for path in out.iterdir():
        assert len(pd.read_csv(path, sep=";", decimal=",")["centroid_x"]) == len(DISCS) * (1 + together)


@pytest.mark.parametrize(("dialect", "told"), [("excel", "'=1+1"), ("raw", "=1+1")])
@pytest.mark.parametrize("together", [False, True])
def test_texts_are_neutralised_unless_raw_ones_are_asked_for(
    together: bool, dialect: str, told: str, results: list[Path], tmp_path: Path
) -> None:
    data = make_result()
    for grain in data["segmentedObjects"]:
        grain["class"] = "=1+1"
    results[0].write_text(json.dumps(data))
    out = tmp_path / "out"
    done = run(results[0], "--to", "csv", "--csv-dialect", dialect, "--out", out, *["--together"] * together)
    assert done.exit_code == 0, done.output
    (file,) = out.iterdir()
    assert set(pd.read_csv(file)["class"]) == {told}


def test_together_is_refused_for_what_has_a_file_a_result(results: list[Path], tmp_path: Path) -> None:
    done = run(*results, "--together", "--to", "labels", "--out", tmp_path / "out")
    assert done.exit_code == 2
    assert "csv, parquet, coco" in done.output


def test_overlays_are_drawn_on_images_of_the_folder(results: list[Path], tmp_path: Path) -> None:
    done = run(*results, "--to", "overlay", "--out", tmp_path, "--images", tmp_path / "scans")
    assert done.exit_code == 0, done.output
    with Image.open(tmp_path / "gravel_overlay.png") as overlay:
        overlay.load()


@pytest.mark.parametrize("more", ["sand.jpg", None], ids=["two", "none"])
def test_an_image_that_is_not_one_is_told(more: str | None, results: list[Path], tmp_path: Path) -> None:
    if more:
        make_image().save(tmp_path / "scans" / more)
    else:
        (tmp_path / "scans" / "sand.png").unlink()
    done = run(*results, "--to", "overlay", "--out", tmp_path / "out", "--images", tmp_path / "scans")
    assert done.exit_code == 1
    assert ("sand.jpg and sand.png" if more else "no image named sand") in done.output


def test_what_is_no_result_is_named_and_other_exports_are_left_out(results: list[Path], tmp_path: Path) -> None:
    assert run(results[0], "--to", "coco", "--out", tmp_path).exit_code == 0
    done = run(*sorted(tmp_path.glob("*.json")), "--to", "csv", "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert "sand_coco.json is another export" in " ".join(done.output.split())
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"sand.csv", "gravel.csv"}
    (tmp_path / "notes.json").write_text("{}")
    done = run(results[0], tmp_path / "notes.json", "--to", "csv", "--out", tmp_path / "out")
    assert done.exit_code == 1
    assert "notes.json: this is not a result" in " ".join(done.output.split())


def test_a_result_without_masks_is_told_for_formats_made_of_them(tmp_path: Path) -> None:
    path = tmp_path / "sand.json"
    path.write_text(json.dumps(make_result(mask_format="none")))
    assert run(path, "--to", "csv", "--out", tmp_path).exit_code == 0
    done = run(path, "--to", "roi", "--out", tmp_path)
    assert done.exit_code == 1
    assert "mask_format" in done.output
