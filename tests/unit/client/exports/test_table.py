from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from grainserve.errors import InvalidOption
from grainserve.exports import table
from grainserve.exports.formats import FORMATS, FormatName
from grainserve.result import Result
from tests.unit.client.exports.scenes import SCALE, hard_result
from tests.unit.client.made import make_result


@pytest.mark.parametrize("um_per_px", [None, SCALE])
def test_parquet_reads_back_to_the_same_table_with_its_types(um_per_px: float | None, tmp_path: Path) -> None:
    result = hard_result(um_per_px)
    result.export(tmp_path / "grains.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "grains.parquet"), result.to_dataframe())


def test_parquet_without_grains_keeps_columns_and_types(tmp_path: Path) -> None:
    empty = Result(make_result(masks=[]))
    empty.export(tmp_path / "grains.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "grains.parquet"), empty.to_dataframe())


def test_parquet_says_the_units_of_its_columns_and_where_they_come_from(tmp_path: Path) -> None:
    hard_result().export(tmp_path / "grains.parquet")
    schema = pq.read_schema(tmp_path / "grains.parquet")
    units = {field.name: (field.metadata or {}).get(b"unit", b"").decode() for field in schema}
    assert {name: units[name] for name in ("area", "feretMax", "centroid_x", "boundingBox_width")} == {
        "area": "px²",
        "feretMax": "px",
        "centroid_x": "px",
        "boundingBox_width": "px",
    }
    assert {name: unit for name, unit in units.items() if "_um" in name} == {
        name: "µm²" if "_um2" in name else "µm" for name in units if "_um" in name
    }
    assert {"centroid_um_x", "centroid_um_y"} <= units.keys()
    assert (units["area_um2"], units["feretMax_um"], units["feretAngle"]) == ("µm²", "µm", "degree")
    assert not any(units[name] for name in ("id", "class", "score", "circularity", "touchesEdge", "meanIntensity_r"))
    assert {name: unit for name, unit in units.items() if "_um" in name} == {
        name: "µm²" if "_um2" in name else "µm" for name in units if "_um" in name
    }
    assert {"centroid_um_x", "centroid_um_y"} <= set(units)
    assert f'"umPerPx": {SCALE}'.encode() in schema.metadata[b"grainserve"]


@pytest.mark.parametrize("scales", [(SCALE, SCALE), (None, SCALE), (SCALE, None), (None, None)])
def test_tables_together_are_the_tables_one_below_the_other(scales: tuple[float | None, ...], tmp_path: Path) -> None:
    results = [hard_result(scale, letter * 32) for scale, letter in zip(scales, "ab", strict=True)]
    frame = table.pooled(results, ["one.png", "two.png"])
    assert list(frame.columns[:3]) == ["image", "imageId", "id"]
    for result, name in zip(results, ["one.png", "two.png"], strict=True):
        own = frame[frame["image"] == name].reset_index(drop=True)
        assert set(own["imageId"]) == {result.image_id}
        expected = result.to_dataframe()
        pd.testing.assert_frame_equal(own[expected.columns.tolist()], expected)
        assert own.drop(columns=["image", "imageId", *expected.columns]).isna().all(axis=None)
    for form, read in ((FormatName.CSV, pd.read_csv), (FormatName.PARQUET, pd.read_parquet)):
        path = tmp_path / f"grains{FORMATS[form].ending}"
        write = FORMATS[form].write_together
        assert write is not None
        write(results, ["one.png", "two.png"], path)
        pd.testing.assert_frame_equal(read(path), frame)


def test_a_european_excel_s_csv_reads_back_to_the_same_table(tmp_path: Path) -> None:
    result = hard_result()
    result.export(tmp_path / "eu.csv", csv_dialect="excel-eu")
    written = (tmp_path / "eu.csv").read_bytes()
    assert written.startswith(b"\xef\xbb\xbf")
    assert b"." not in written.replace(b"e-0", b"")
    read = pd.read_csv(tmp_path / "eu.csv", sep=";", decimal=",", encoding="utf-8-sig")
    pd.testing.assert_frame_equal(read, result.to_dataframe())


def test_the_table_of_corners_has_every_dialect(tmp_path: Path) -> None:
    disc = np.hypot(*np.mgrid[-40:41, -40:41]) <= 30
    result = Result(make_result(masks=[disc], um_per_px=2.5))
    result.export(tmp_path / "x_wadell.csv")
    result.export(tmp_path / "eu.csv", "wadell", csv_dialect="excel-eu")
    plain = pd.read_csv(tmp_path / "x_wadell.csv")
    pd.testing.assert_frame_equal(plain, result.wadell())
    pd.testing.assert_frame_equal(plain, pd.read_csv(tmp_path / "eu.csv", sep=";", decimal=",", encoding="utf-8-sig"))


def test_a_dialect_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidOption, match="'french': there are excel, excel-eu"):
        hard_result().to_csv(tmp_path / "grains.csv", "french")


def labelled(*labels: str) -> Result:
    """Makes a result whose grains have these labels."""
    data = make_result()
    for grain, label in zip(data["segmentedObjects"], labels, strict=True):
        grain["class"] = label
    return Result(data)


@pytest.mark.parametrize("dialect", ["excel", "excel-eu"])
def test_texts_that_a_spreadsheet_runs_are_neutralised(dialect: str, tmp_path: Path) -> None:
    result = labelled("=HYPERLINK(A1)", "@sum", "quartz", "a;=1+1;b")
    table.write_pooled_csv([result], ["-2+3.png"], tmp_path / "grains.csv", dialect)
    read = pd.read_csv(tmp_path / "grains.csv", sep=None, engine="python", encoding="utf-8-sig")
    assert read["class"].tolist() == ["'=HYPERLINK(A1)", "'@sum", "quartz", "a;'=1+1;b"]
    assert set(read["image"]) == {"'-2+3.png"}
    # The table itself is as it was.
    assert result.to_dataframe()["class"][1] == "@sum"


def test_a_raw_table_keeps_every_text(tmp_path: Path) -> None:
    result = labelled("=1+1", "@sum", "\tx", "'-a")
    result.export(tmp_path / "grains.csv", csv_dialect="raw")
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "grains.csv"), result.to_dataframe())


def test_an_image_without_grains_takes_nothing_from_a_table_of_several() -> None:
    full, empty = hard_result(), Result(make_result("b" * 32, um_per_px=SCALE, masks=[]))
    frame = table.pooled([empty, full], ["empty", "full"])
    assert frame.dtypes.to_dict() == table.pooled([full], ["full"]).dtypes.to_dict()
