from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from grainserve.errors import ExtraMissing, InvalidOption, MasksMissing, NoGrains
from grainserve.exports import formats
from grainserve.exports.formats import FORMATS, FormatName, format_of
from grainserve.result import Result
from tests.unit.client.exports.scenes import hard_result
from tests.unit.client.made import make_image, make_result


@pytest.mark.parametrize("name", FormatName)
def test_what_a_format_writes_is_known_by_its_ending(name: FormatName) -> None:
    assert format_of(f"sand.2{FORMATS[name].ending}") is name


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("x.tif", FormatName.LABELS),
        ("rois.zip", FormatName.ROI),
        ("x.ome.tif", FormatName.LABELS),
        ("X.CSV", FormatName.CSV),
        ("coco.json", FormatName.JSON),
        ("map.geojson", FormatName.GEOJSON),
    ],
)
def test_other_names_are_known_where_their_ending_is_of_one_format(file: str, name: FormatName) -> None:
    assert format_of(Path("out") / file) is name


@pytest.mark.parametrize(
    ("file", "told"), [("x.png", "overlay or sizes"), ("x.xlsx", "no known kind"), ("x", "no known kind")]
)
def test_endings_that_do_not_say_which_are_told(file: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidOption, match=told):
        hard_result().export(tmp_path / file)
    assert not list(tmp_path.iterdir())


def test_a_format_that_is_none_is_told_with_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(InvalidOption, match="'xlsx': there are json, csv"):
        hard_result().export(tmp_path / "x", "xlsx")


@pytest.mark.parametrize("name", [name for name in FormatName if name is not FormatName.OVERLAY])
def test_only_formats_made_of_masks_want_masks(name: FormatName, tmp_path: Path) -> None:
    result = Result(make_result(mask_format="none"))
    if FORMATS[name].needs_masks:
        with pytest.raises(MasksMissing):
            result.export(tmp_path / "x", name)
    else:
        result.export(tmp_path / "x", name)
    empty = Result(make_result(masks=[]))
    if name is FormatName.STATISTICS:
        with pytest.raises(NoGrains):
            empty.export(tmp_path / "empty", name)
    else:
        empty.export(tmp_path / "empty", name)  # no grains are no masks missing


def test_an_overlay_is_drawn_on_the_image_given(tmp_path: Path) -> None:
    Result(make_result()).export(tmp_path / "x.png", "overlay", np.asarray(make_image()))
    with Image.open(tmp_path / "x.png") as overlay:
        assert overlay.width % make_image().width == 0


def test_a_library_that_is_not_installed_is_told_with_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(formats, "find_spec", lambda _: None)
    with pytest.raises(ExtraMissing, match=r"pyarrow is not installed: pip install 'grainserve\[exports\]'"):
        hard_result().export(tmp_path / "x.parquet")
    hard_result().export(tmp_path / "x.csv")
