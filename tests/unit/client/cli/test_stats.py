from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from openpyxl import load_workbook
from typer.testing import CliRunner

from grainserve import Result
from grainserve.cli.application import app
from grainserve.stats import Sample, summarise
from tests.unit.client.cli.test_application import words
from tests.unit.client.made import make_result


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Makes results of two images of one sample."""
    paths = [tmp_path / "north.json", tmp_path / "south.json"]
    for path in paths:
        Result(make_result(path.stem, um_per_px=100.0)).to_json(path)
    return paths


def run(*arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["stats", *map(str, arguments)])
    return done.exit_code, words(done.output)


def test_files_are_pooled_as_one_sample_and_written_as_json(files: list[Path], tmp_path: Path) -> None:
    code, text = run(*files, "--name", "sand", "--json", tmp_path / "sand.txt", "--resamples", 50)
    assert code == 0, text
    for part in (
        "sand: 8 grains in 2 images pooled",
        "the 2 at the frame are left out",
        "by number (µm) φ by area (µm) φ",
        "intervals of the places imaged: bootstrap, 50 resamples by grain",
        "an interval of the sample wants 5 images or more",
        "sorting σ (φ)",
        "well sorted",
        "very coarse sand",
        "north",
        "orientation: mean 120° from +x (95%: 120° to 120°)",
    ):
        assert part in text, part
    written = json.loads((tmp_path / "sand.txt").read_text())
    assert (written["name"], written["grains"], written["resampling"]["resamples"]) == ("sand", 8, 50)


def test_a_sample_is_called_by_what_was_given_and_other_exports_are_left_out(files: list[Path], tmp_path: Path) -> None:
    other = tmp_path / "south_coco.json"
    other.write_text("{}")
    code, text = run(*files, other, "--resamples", 0)
    assert code == 0, text
    assert f"{files[0].stem}, {files[1].stem}: 8 grains in 2 images" in text
    assert "south_coco.json is another export" in text
    assert "repeat an image" not in text


def test_an_image_that_is_given_twice_is_told(files: list[Path]) -> None:
    code, text = run(*files, files[0], "--resamples", 0)
    assert code == 0, text
    assert "1 of 3 results repeat an image" in text


def test_one_weighting_without_correction_nor_intervals(files: list[Path]) -> None:
    code, text = run(files[0], "--weighting", "area", "--no-edge-correction", "--resamples", 0)
    assert code == 0, text
    assert "no edge correction" in text
    assert "by area" in text
    assert "by number" not in text
    assert "resamples" not in text


def test_gradistat_s_figures_are_shown_when_asked_for(files: list[Path], tmp_path: Path) -> None:
    code, text = run(*files, "--gradistat", "--resamples", 50, "--json", tmp_path / "sand.txt")
    assert code == 0, text
    for part in (
        "moments, arithmetic: mean (µm)",
        "moments, φ: sorting (φ)",
        "Folk & Ward, geometric: skewness",
        "D90/D10",
        "modes (µm), highest first",
        "textural group",
        "very coarse sand",
    ):
        assert part in text, part
    written = json.loads((tmp_path / "sand.txt").read_text())["area"]["gradistat"]
    assert written["texture"]["group"] in text
    assert written["geometric"]["sortingClass"] in text
    assert set(written["geometric"]["mean"]) == {"value", "low", "high", "reason"}
    assert written["modes"]["peaks"][0]["height"] == 1
    assert "GRADISTAT" not in run(*files, "--resamples", 0)[1]


def test_grains_and_statistics_are_written_as_a_workbook(files: list[Path], tmp_path: Path) -> None:
    code, text = run(*files, "--name", "=sand", "--to", "xlsx", "--out", tmp_path / "sand.xlsx", "--resamples", 0)
    assert code == 0, text
    assert "all of it is in" in text
    book = load_workbook(tmp_path / "sand.xlsx")
    assert [row[0].value for row in book["grains"]][:2] == ["image", "north"]
    assert book["sample"]["B2"].value == "'=sand"


@pytest.mark.parametrize("option", [("--to", "xlsx"), ("--out", "sand.xlsx")])
def test_a_workbook_needs_both_options(option: tuple[str, str], files: list[Path]) -> None:
    code, text = run(*files, *option)
    assert code == 2
    assert "--to xlsx --out FILE" in text


def test_sections_unfolded_and_stresses(files: list[Path], tmp_path: Path) -> None:
    wanted = ("--unfold", 5, "--piezometer", "quartz:Holyoke", "--piezometer", "calcite:Barnhoorn")
    code, text = run(*files, *wanted, "--resamples", 0, "--json", tmp_path / "rock.txt")
    assert code == 0, text
    for part in ("Saltykov: diameter (µm)", "two-step method: ", "quartz:Holyoke RMS ", "calcite:Barnhoorn mean "):
        assert part in text, part
    written = json.loads((tmp_path / "rock.txt").read_text())
    assert len(written["unfolding"]["saltykov"]["shares"]) == 5
    assert written["stresses"][0]["piezometer"]["name"] == "Holyoke"
    assert written["stresses"][0]["stress"]["value"] > 0
    code, text = run(*files, "--piezometer", "quartz:Nobody")
    assert (code, "no piezometer 'quartz:Nobody'" in text) == (2, True)
    assert run(*files, "--grid", "auto", "--unfold", 5)[0] == 2


def test_b_axes_under_a_grid(files: list[Path], tmp_path: Path) -> None:
    code, text = run(*files, "--size", "b-axis", "--grid", "300", "--resamples", 0, "--json", tmp_path / "sand.txt")
    assert code == 0, text
    assert "grid by number" in text
    assert "b-axis by number (µm)" in text
    assert "by area (µm)" not in text.partition("log-normal")[0]
    written = json.loads((tmp_path / "sand.txt").read_text())
    assert (written["size"], written["grid"], written["edgeCorrection"]) == ("b-axis", True, False)
    assert run(*files, "--grid", "auto", "--resamples", 0)[0] == 0
    code, text = run(*files, "--grid", "wide")
    assert (code, "--grid is 'wide'" in text) == (2, True)


def test_percentiles_of_one_s_own_choice(files: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "all.json"
    code, text = run(*files, "--percentiles", "60, 10,2.5", "--resamples", 0, "--json", out)
    assert code == 0, text
    assert re.findall(r"\bD[\d.]+", text.split("log-normal")[0]) == ["D2.5", "D10", "D60"]
    written = json.loads(out.read_text("utf-8"))
    sizes, usual = written["number"], summarise(Sample.of(map(Result.from_json, files)), resamples=0).number
    assert list(sizes["percentiles"]) == list(sizes["phi"]) == ["2.5", "10", "60"]
    assert sizes["percentiles"]["10"]["value"] == usual.percentiles[10].value
    assert usual.folk_ward is not None
    assert sizes["folkWard"]["sorting"]["value"] == usual.folk_ward.sorting.value


@pytest.mark.parametrize("asked", ["", "0,50", "50,100", "10,10", "ten", "10;50", "nan", "inf", "-5", "1_0"])
def test_percentiles_that_are_none_are_told(files: list[Path], asked: str) -> None:
    code, text = run(*files, f"--percentiles={asked}", "--resamples", 0)
    assert code == 2
    assert "percentiles" in text


def test_grain_sizes_of_astm(files: list[Path]) -> None:
    code, text = run(files[0], files[1], "--astm", "mean-area", "--astm", "intercept-lines", "--resamples", 0)
    assert code == 0, text
    for part in ("mean-area", "intercept-lines", "%RA", "largest grain (ASTM E930): G", "grains cover 22%"):
        assert part in text, part
    for title in ("over fields", "counted", "95 %", "%RA", "more"):  # a narrow terminal breaks them
        assert title in text, title
    assert "gaps up to 3 px closed" in text
    code, text = run(files[0], "--astm", "hilliard")
    assert (code, "there is no method 'hilliard'" in text) == (2, True)


def test_grain_sizes_of_astm_are_in_the_json_with_all_that_e112_asks_for(files: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "all.json"
    code, text = run(*files, "--astm", "intercept-lines", "--astm-gaps", 0, "--resamples", 0, "--json", out)
    assert code == 0, text
    assert "no gaps closed" in text
    (found,) = json.loads(out.read_text("utf-8"))["grainSizeNumbers"]
    assert (found["fields"], found["gapsClosedPx"]) == (2, 0)
    # Both images are the same, so fields do not differ.
    assert (found["standardDeviation"], found["ci95"], found["relativeAccuracy"], found["moreFields"]) == (0, 0, 0, 0)


def test_unscaled_results_have_no_phi(tmp_path: Path) -> None:
    Result(make_result()).to_json(tmp_path / "sand.json")
    code, text = run(tmp_path / "sand.json", "--resamples", 0)
    assert code == 0, text
    assert "by number (px)" in text
    assert "φ" not in text
    code, text = run(tmp_path / "sand.json", "--astm", "all")
    assert (code, "has no scale" in text) == (1, True)


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    code, text = run(tmp_path / "none.json")
    assert code == 1
    assert text.startswith("error:")


def test_percentiles_of_one_s_own_choice_are_shown(files: list[Path], tmp_path: Path) -> None:
    code, text = run(*files, "--percentiles", "60,10,2.5", "--resamples", 20, "--json", tmp_path / "all.out")
    assert code == 0, text
    for part in ("D2.5", "D10", "D60", "well sorted"):
        assert part in text
    assert "D84" not in text
    written = json.loads((tmp_path / "all.out").read_text())
    for weighting in ("number", "area"):
        assert list(written[weighting]["percentiles"]) == ["2.5", "10", "60"]
        assert list(written[weighting]["phi"]) == ["2.5", "10", "60"]


@pytest.mark.parametrize("text", ["", "0,50", "50,100", "50,50", "ten", "10;30", "nan", "-5"])
def test_percentiles_that_there_are_not(files: list[Path], text: str) -> None:
    code, said = run(*files, f"--percentiles={text}", "--resamples", 0)
    assert code == 2
    assert "percentiles" in said


def test_errors_of_scale_and_outlines_are_told_with_their_parts(files: list[Path], tmp_path: Path) -> None:
    code, text = run(files[0], "--weighting", "number", "--resamples", 50)
    assert code == 0, text
    assert "intervals include: scale taken as exact" in text
    assert "half of" not in text
    options = ("--scale-error", "2 %", "--outline-error", 0.5, "--json", tmp_path / "sand.txt")
    code, text = run(files[0], "--weighting", "number", "--resamples", 50, *options)
    assert code == 0, text
    # The headings are broken in a narrow terminal.
    for part in ("intervals include: scale ± 2 %, outlines ± 0.5 px", "half of", "sampling", "outline"):
        assert part in text, part
    said = json.loads((tmp_path / "sand.txt").read_text())
    assert said["errors"] == {"scale": 0.02, "outline": 0.5}
    assert set(said["number"]["percentiles"]["50"]["parts"]) == {"sampling", "scale", "outline"}


@pytest.mark.parametrize("error", ["2", "%", "two%", "200%"])
def test_an_error_of_the_scale_is_a_percentage(files: list[Path], error: str) -> None:
    code, text = run(files[0], "--scale-error", error)
    assert code != 0
    assert "scale" in text
    assert "error" in text
