"""Tables that can be learnt from, and the errors for those that cannot."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from grainserve.classifier.labelled import FEATURES, read_labelled
from grainserve.errors import LabelledTableError
from grainserve.exports.table import write_csv
from grainserve.result import Result
from tests.unit.client.made import make_result
from tests.unit.labelled import make_table

COUNTS = {"quartz": 12, "biotite": 12}


def table() -> pd.DataFrame:
    return make_table(np.random.default_rng(0), COUNTS)


def write(folder: Path, frame: pd.DataFrame, name: str = "grains.csv") -> Path:
    frame.to_csv(folder / name, index=False)
    return folder / name


def test_features_are_columns_of_the_table_of_a_result() -> None:
    assert set(FEATURES) <= set(Result(make_result()).to_dataframe().columns)


def test_tables_are_read_one_after_the_other(tmp_path: Path) -> None:
    first, second = table(), table().iloc[::-1]
    data = read_labelled([write(tmp_path, first), write(tmp_path, second, "more.csv")])
    assert data.values == pytest.approx(pd.concat([first, second])[list(FEATURES)].to_numpy())
    assert data.classes.tolist() == [*first["class"], *second["class"]]
    assert data.tables.tolist() == [0] * 24 + [1] * 24


@pytest.mark.parametrize("label", ["", "grain", "unknown", "  "])
def test_rows_without_a_class_are_left_out(tmp_path: Path, label: str) -> None:
    frame = table()
    unlabelled = frame.head(5).assign(solidity=np.nan).assign(**{"class": label})
    data = read_labelled([write(tmp_path, pd.concat([frame, unlabelled]))])
    assert (len(data.classes), data.left_out) == (24, 5)


def test_an_image_without_grains_does_not_matter(tmp_path: Path) -> None:
    first, none = write(tmp_path, table()), write(tmp_path, table().head(0), "none.csv")
    data = read_labelled([none, first])
    assert data.values == pytest.approx(read_labelled([first]).values)
    assert data.tables.tolist() == [1] * 24


def test_a_table_in_another_encoding_says_how_to_save_it(tmp_path: Path) -> None:
    frame = table().replace({"class": {"quartz": "Glümmer"}})
    frame.to_csv(tmp_path / "windows.csv", index=False, encoding="cp1252")
    with pytest.raises(LabelledTableError, match=r"windows\.csv is no CSV table in UTF-8: save it as `CSV UTF-8`"):
        read_labelled([tmp_path / "windows.csv"])


@pytest.mark.parametrize(("separator", "decimal"), [(";", ","), (";", "."), ("\t", ","), ("\t", "."), (",", ".")])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_tables_of_spreadsheets_of_any_country(tmp_path: Path, separator: str, decimal: str, encoding: str) -> None:
    path = tmp_path / "grains.csv"
    table().to_csv(path, index=False, sep=separator, decimal=decimal, encoding=encoding)
    data = read_labelled([path])
    assert data.values == pytest.approx(table()[list(FEATURES)].to_numpy())
    assert data.classes.tolist() == table()["class"].tolist()


def test_what_is_exported_for_a_european_excel_is_read(tmp_path: Path) -> None:
    write_csv(table(), tmp_path / "eu.csv", "excel-eu")
    assert read_labelled([tmp_path / "eu.csv"]).values == pytest.approx(table()[list(FEATURES)].to_numpy())


@pytest.mark.parametrize("dialect", ["excel", "excel-eu", "raw"])
def test_a_class_that_was_neutralised_on_export_is_read_as_it_was(tmp_path: Path, dialect: str) -> None:
    frame = table().replace({"class": {"quartz": "=quartz", "biotite": "-b;+"}})
    write_csv(frame, tmp_path / "grains.csv", dialect)
    assert read_labelled([tmp_path / "grains.csv"]).classes.tolist() == frame["class"].tolist()


def test_a_class_with_a_comma_and_digits_is_no_decimal(tmp_path: Path) -> None:
    frame = table().replace({"class": {"quartz": "quartz, type 1,5"}})
    frame.to_csv(tmp_path / "grains.csv", index=False, sep=";")
    assert set(read_labelled([tmp_path / "grains.csv"]).classes) == {"quartz, type 1,5", "biotite"}


def test_a_class_may_look_like_no_value_or_a_number(tmp_path: Path) -> None:
    frame = table().replace({"class": {"quartz": "NA", "biotite": "7"}})
    assert set(read_labelled([write(tmp_path, frame)]).classes) == {"NA", "7"}


def test_the_column_may_have_another_name(tmp_path: Path) -> None:
    frame = table().rename(columns={"class": "mineral"}).assign(**{"class": "grain"})
    assert set(read_labelled([write(tmp_path, frame)], column="mineral").classes) == set(COUNTS)


def test_size_is_learnt_in_micrometres_where_it_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(LabelledTableError, match="no sizes in µm: analyze it with a scale"):
        read_labelled([write(tmp_path, table())], with_size=True)
    data = read_labelled([write(tmp_path, table().assign(equivalentDiameter_um=7.5))], with_size=True)
    assert data.features == (*FEATURES, "equivalentDiameter_um")
    assert set(data.values[:, -1]) == {7.5}


Break = Callable[[pd.DataFrame], pd.DataFrame]


@pytest.mark.parametrize(
    ("broken", "fault"),
    [
        (lambda t: t.drop(columns=["solidity", "texture_entropy"]), "no column solidity, texture_entropy: give tables"),
        (lambda t: t.drop(columns="class"), "no column class"),
        (lambda t: t[t["class"] == "quartz"], "two classes or more in column 'class', and there is only 'quartz'"),
        (lambda t: t.assign(**{"class": ""}), "and there is none"),
        (lambda t: t.drop(index=range(5)), r"10 grains or more.* too few of 'quartz' \(7\)"),
        (lambda t: t.assign(solidity=t["solidity"].where(t.index != 3)), "row 5 has a class but no solidity"),
        (lambda t: t.assign(solidity=t["solidity"].where(t.index != 3, np.inf)), "row 5 has a class but no solidity"),
        (lambda t: t.assign(solidity="0,9"), "column solidity holds text; give numbers with a point"),
        (lambda t: t.replace({"class": {"quartz": "q" * 65}}), "row 2: a class is up to 64 printable characters"),
        (lambda t: t.replace({"class": {"quartz": "a\x07b"}}), "row 2: a class is up to 64 printable characters"),
    ],
)
def test_what_cannot_be_learnt_from_says_why(tmp_path: Path, broken: Break, fault: str) -> None:
    with pytest.raises(LabelledTableError, match=fault):
        read_labelled([write(tmp_path, broken(table()))])


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00\x01", b'class,"a\nb,c,d\n1,2,3,4,5'])
def test_what_is_no_table(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "grains.csv"
    path.write_bytes(content)
    with pytest.raises(LabelledTableError, match=r"grains\.csv"):
        read_labelled([path])
