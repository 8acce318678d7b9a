"""The frame that was measured counts, wherever it lies in its image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from grainserve import Result
from grainserve.contract import validate_result
from grainserve.errors import InvalidResult
from grainserve.jobs.store import JobStore
from grainserve.reports import qc
from grainserve.stats import Sample
from grainserve.stats.astm import METHODS, grain_size_numbers
from tests.unit.client.cli.test_application import run, words
from tests.unit.client.made import HEIGHT, WIDTH, disc_masks, encode, make_result
from tests.unit.client.scale.test_databar import with_bar

X, Y, WIDE, HIGH = 15, 9, 140, 100


def placed(data: dict[str, Any]) -> dict[str, Any]:
    """The same grains, as a crop of a larger image has them."""
    whole = make_result(um_per_px=0.5)
    whole["metadata"] |= {"frame": {"x": X, "y": Y, "width": WIDTH, "height": HEIGHT}}
    whole["metadata"]["image"] |= {"width": WIDE, "height": HIGH}
    margins = ((Y, HIGH - HEIGHT - Y), (X, WIDE - WIDTH - X))
    for grain, mask, before in zip(whole["segmentedObjects"], disc_masks(), data["segmentedObjects"], strict=True):
        grain["mask"] = encode(np.pad(mask, margins), "rle")
        box = before["properties"]["boundingBox"]
        grain["properties"]["boundingBox"] = box | {"x": box["x"] + X, "y": box["y"] + Y}
    return whole


@pytest.fixture
def pair() -> tuple[Result, Result]:
    alone = make_result(um_per_px=0.5)
    framed = placed(alone)
    validate_result(framed)
    return Result(alone), Result(framed)


def test_statistics_are_those_of_the_frame(pair: tuple[Result, Result]) -> None:
    alone, framed = (Sample.of([each]) for each in pair)
    assert framed.frames.tolist() == alone.frames.tolist() == [[WIDTH / 2, HEIGHT / 2]]
    assert framed.inclusion.tolist() == alone.inclusion.tolist()
    assert framed.coverage == alone.coverage


def test_astm_grain_sizes_are_those_of_the_frame(pair: tuple[Result, Result]) -> None:
    alone, framed = (grain_size_numbers(Sample.of([each]), tuple(METHODS)) for each in pair)
    assert framed == alone


def test_quality_flags_are_those_of_the_frame(pair: tuple[Result, Result]) -> None:
    alone, framed = pair
    assert qc.coverage(framed) == qc.coverage(alone)
    assert qc.detection_limit(framed) == qc.detection_limit(alone)
    assert qc.quality_flags([framed]) == qc.quality_flags([alone])


def test_a_frame_that_is_none_is_no_result() -> None:
    data = make_result()
    data["metadata"]["frame"] = {"x": 1}
    with pytest.raises(InvalidResult):
        Result(data)


def test_the_command_line_crops_and_finds_a_databar(bucket_name: str, store: JobStore, tmp_path: Path) -> None:
    micrograph = tmp_path / "sem.png"
    Image.fromarray(with_bar(40, "text on black")).save(micrograph)
    done = run("submit", micrograph, "--crop", "0,0,600,400", "--find-databar")
    assert done.exit_code == 0, done.output
    assert store.job(done.stdout.strip()).options == {
        "crop": "0,0,600,400",
        "ignore_bottom": 40,
        "crop_source": "a databar of 40 px was found at the bottom",
    }
    wrong = run("submit", micrograph, "--crop", "0,0,600")
    assert wrong.exit_code == 2
    assert "crop is '0,0,600'; it must be a text like '0,0,1024,690'" in words(wrong.output)
