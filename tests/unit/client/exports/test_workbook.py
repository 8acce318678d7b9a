"""The workbook, opened again as in a lab."""

from __future__ import annotations

import dataclasses
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from openpyxl import load_workbook

from grainserve.errors import ExtraMissing, InvalidOption
from grainserve.exports import workbook
from grainserve.exports.workbook import write_workbook
from grainserve.result import Result
from grainserve.stats import Sample, Summary, summarise
from grainserve.stats.interval import REASONS
from tests.unit.client.made import make_result
from tests.unit.client.stats.samples import make_sample

NAMES = ["north", '=HYPERLINK("http://example.org")']


def written(path: Path, um_per_px: float | None = 100.0) -> tuple[Summary, list[Result], Any]:
    """A summary, its results, and their workbook, read again with the stored values."""
    made = [make_result(letter * 32, um_per_px=um_per_px) for letter in "ab"]
    made[1]["segmentedObjects"][0]["properties"]["class"] = "@SUM(A1)\x1b[31m"
    results = [Result(each) for each in made]
    summary = summarise(Sample.of(results, "=sand", NAMES), resamples=50)
    write_workbook(summary, results, NAMES, path / "sand.xlsx")
    return summary, results, load_workbook(path / "sand.xlsx")


def rows(sheet: Any) -> list[dict[str, Any]]:
    head, *below = sheet.iter_rows(values_only=True)
    return [dict(zip(head, row, strict=True)) for row in below]


def stored(values: Any) -> Any:
    """Rounds numbers as a workbook does, to 16 digits."""
    return pytest.approx(values, rel=1e-14)


def test_it_has_a_sheet_for_each_subject(tmp_path: Path) -> None:
    _, _, book = written(tmp_path)
    assert book.sheetnames == ["sample", "grains", "sizes", "classes", "parameters"]


def test_every_grain_is_there_with_its_numbers_as_numbers(tmp_path: Path) -> None:
    _, results, book = written(tmp_path)
    found = rows(book["grains"])
    assert len(found) == 8
    first, own = found[0], results[0].to_dataframe().iloc[0]
    assert (first["image"], first["imageId"]) == ("north", "a" * 32)
    assert first["equivalentDiameter_um"] == stored(own["equivalentDiameter_um"])
    assert (first["area"], first["touchesEdge"]) == (own["area"], False)
    assert type(first["area"]) is int
    assert type(first["touchesEdge"]) is bool


def test_no_text_is_a_formula_or_steers_a_terminal(tmp_path: Path) -> None:
    _, _, book = written(tmp_path)
    cells = [cell for sheet in book for row in sheet.iter_rows() for cell in row if cell.value is not None]
    assert {cell.data_type for cell in cells} == {"s", "n", "b"}  # "f" is a formula
    texts = {cell.value for cell in cells if cell.data_type == "s"}
    assert {"'=sand", "'" + NAMES[1], "'@SUM(A1)\\x1b[31m"} <= texts
    assert not any(text.startswith(("=", "@", "+", "-")) for text in texts)


def test_sizes_are_those_of_the_summary(tmp_path: Path) -> None:
    summary, _, book = written(tmp_path)
    found = {row["finer than D, %"]: row for row in rows(book["sizes"])}
    assert list(found) == list(summary.area.percentiles)
    d84 = summary.area.percentiles[84]
    assert found[84]["D (µm) by area"] == stored(d84.value)
    assert (found[84]["low by area"], found[84]["high by area"]) == (None, None), "of eight grains"
    assert found[84]["no interval by area"] == "too few coarser"
    d50 = summary.number.percentiles[50]
    assert (found[50]["low by number"], found[50]["high by number"]) == stored((d50.low, d50.high))
    assert found[50]["no interval by number"] is None
    assert summary.number.phi is not None
    assert found[50]["φ of D by number"] == stored(summary.number.phi[50].value)


def test_classes_of_each_scheme_add_up_to_one(tmp_path: Path) -> None:
    summary, _, book = written(tmp_path)
    found = rows(book["classes"])
    for scheme in ("Blott & Pye (2001)", "Wentworth (1922)", "Folk (1954)"):
        own = [row for row in found if row["scheme"] == scheme]
        for share in ("share by number", "share by area"):
            assert sum(row[share] for row in own) == pytest.approx(1)
        for coarse, fine in pairwise(own):
            assert (coarse["from (mm)"], coarse["to (φ)"]) == (fine["to (mm)"], fine["from (φ)"])
    assert summary.area.gradistat.texture is not None
    (granules,) = (row for row in found if row["class"] == "very fine gravel")
    assert (granules["from (mm)"], granules["to (mm)"], granules["from (φ)"], granules["to (φ)"]) == (2, 4, -2, -1)
    assert granules["share by area"] == stored(summary.area.gradistat.texture.classes["very fine gravel"])


def test_parameters_have_value_interval_and_words(tmp_path: Path) -> None:
    summary, _, book = written(tmp_path)
    found = {row["parameter"]: row for row in rows(book["parameters"])}
    sorting = summary.area.gradistat.geometric.sorting
    row = found["moments, geometric: sorting"]
    assert row["by area"] == stored(sorting.value)
    assert (row["low, by area"], row["high, by area"]) == (None, None), "of eight grains"
    assert row["no interval, by area"] == REASONS["large_grains_dominate"]
    assert row["in words, by area"] == summary.area.gradistat.geometric.sorting_class
    assert found["mode 1"]["by number"] == stored(summary.number.gradistat.modes.peaks[0].size)
    assert found["mode 3"]["by number"] is None
    assert found["textural group (Folk 1954)"]["in words, by number"] == "sandy gravel"
    assert found["moments, arithmetic: sorting"]["unit"] == "µm"
    assert found["moments, φ: mean"]["unit"] == "φ"


def test_an_interval_stands_beside_its_parameter(tmp_path: Path) -> None:
    _, results, _ = written(tmp_path)
    summary = summarise(make_sample(range(20, 80)), resamples=50)
    write_workbook(summary, results, NAMES, tmp_path / "many.xlsx")
    found = {row["parameter"]: row for row in rows(load_workbook(tmp_path / "many.xlsx")["parameters"])}["mean"]
    mean = summary.number.mean
    assert (found["low, by number"], found["high, by number"]) == stored((mean.low, mean.high))
    assert found["no interval, by number"] is None


def test_without_a_scale_the_sheets_that_need_one_are_empty(tmp_path: Path) -> None:
    _, _, book = written(tmp_path, um_per_px=None)
    assert rows(book["classes"]) == []
    assert not any("φ" in row["parameter"] for row in rows(book["parameters"]))
    assert "D (px) by number" in rows(book["sizes"])[0]


def test_a_sheet_that_would_overflow_is_refused(tmp_path: Path) -> None:
    summary, results, _ = written(tmp_path)
    many = dataclasses.replace(summary, grains=workbook.MOST_ROWS)
    with pytest.raises(InvalidOption, match="rows of a sheet"):
        write_workbook(many, results, NAMES, tmp_path / "many.xlsx")
    assert not (tmp_path / "many.xlsx").exists()


def test_a_library_that_is_not_installed_is_told_with_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workbook, "find_spec", lambda _: None)
    with pytest.raises(ExtraMissing, match=r"openpyxl is not installed: pip install 'grainserve\[exports\]'"):
        workbook.check_library()
