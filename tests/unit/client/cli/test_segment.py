from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from grainserve import Result
from grainserve.cli import terminal
from grainserve.images import display_pixels
from grainserve.prompts import image as prompted
from tests.unit.client.cli.test_application import run, words
from tests.unit.client.fake_torchserve import BUSY, FakeTorchServe
from tests.unit.client.made import disc_masks


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal.console, "width", 160)  # COLUMNS would be read only once
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GRAINSERVE_BUCKET", raising=False)  # nothing is stored
    monkeypatch.setattr(prompted, "SHORTEST_PAUSE", 0.001)


def test_points_and_box_describe_one_object(torchserve: FakeTorchServe, picture: Path) -> None:
    asked = ("--point", "50,30", "--point", "50,35", "--not", "50,20", "--box", "35,15,65,45")
    done = run("segment", picture, *asked, "--um-per-px", 2.0)
    assert done.exit_code == 0, done.output
    path, body = torchserve.requests[0]
    assert path == "/predictions/sam_tiny-prompt"
    assert body["prompts"] == [{"points": [[50, 30], [50, 35], [50, 20]], "labels": [1, 1, 0], "box": [35, 15, 65, 45]}]
    assert body["um_per_px"] == 2.0
    text = words(done.output)
    for part in ("1 object, sam_tiny 1.0", "scale 2 µm per px (given)", "area (µm²)", "predicted IoU", "sand_segments"):
        assert part in text
    with Image.open("sand_segments.png") as drawn:
        assert drawn.size == (80 * 15, 60 * 15)


def test_several_objects_are_asked_together_and_what_is_not_there_is_told(
    torchserve: FakeTorchServe, picture: Path
) -> None:
    objects = ("--object", "20,15", "--object", "2,2 not 3,3", "--object", "35,15,65,45 50,30")
    done = run("segment", picture, *objects, "--out", "out.png", "--json", "out.json", "--prompt-model", "sam_vit_b")
    assert done.exit_code == 0, done.output
    (path, body), *others = torchserve.requests
    assert (path, others) == ("/predictions/sam_vit_b", [])
    assert body["prompts"] == [
        {"points": [[20, 15]], "labels": [1]},
        {"points": [[2, 2], [3, 3]], "labels": [1, 0]},
        {"points": [[50, 30]], "labels": [1], "box": [35, 15, 65, 45]},
    ]
    discs = disc_masks()
    text = words(done.output)
    for part in ("3 objects", "2 nothing found", f"1 {discs[0].sum()}", f"3 {discs[1].sum()}", "out.png", "out.json"):
        assert part in text
    result = Result.from_json("out.json")
    assert [[grain.id for grain in answer] for answer in result.answers] == [[1], [], [2]]
    assert [window.area for window in result.windows] == [discs[0].sum(), discs[1].sum()]


def test_the_picture_has_the_mask_the_points_and_the_box(torchserve: FakeTorchServe, picture: Path) -> None:
    run("segment", picture, "--point", "50,30", "--not", "5,5", "--box", "35,15,65,45", "--out", "out.png")
    with Image.open("out.png") as opened:
        drawn = np.asarray(opened).astype(int)
    factor = drawn.shape[1] // 80
    places = {"point": (50, 30), "outside": (5, 5), "mask": (50, 38), "background": (40, 55)}
    at = {name: drawn[int((y + 0.5) * factor), int((x + 0.5) * factor)] for name, (x, y) in places.items()}
    assert at["point"].argmax() == 1
    assert at["outside"].argmax() == 0
    assert (drawn[20 * factor, 35 * factor] == 255).all()  # the box's left edge
    plain = display_pixels(picture).astype(int)
    assert np.abs(at["mask"] - plain[38, 50]).max() > 20
    assert np.abs(at["background"] - plain[55, 40]).max() <= 2


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ((), "nothing is pointed at: give --point"),
        (("--point", "50"), "'50' is not a point X,Y"),
        (("--point", "50,x"), "'50,x' is not a point X,Y"),
        (("--box", "1,2,3"), "'1,2,3' is not a box"),
        (("--object", "50,30 not"), "--object is '50,30 not'; it must be points and a box"),
        (("--object", ""), "--object is ''"),
        (("--object", "1,2,3,4 5,6,7,8"), "'5,6,7,8' is not a point"),
        (("--point", "50,30", "--bar-um", "5"), "bar_um is for a scale bar"),
    ],
)
def test_what_cannot_be_read_is_told_before_anything_is_sent(
    torchserve: FakeTorchServe, picture: Path, asked: tuple[str, ...], why: str
) -> None:
    done = run("segment", picture, *asked)
    assert done.exit_code == 2
    assert why in words(done.output)
    assert torchserve.requests == []


def test_an_image_that_is_too_large_and_a_refused_prompt_are_told(torchserve: FakeTorchServe, picture: Path) -> None:
    Image.new("L", (1200, 10)).save("wide.png")
    done = run("segment", "wide.png", "--point", "5,5")
    assert done.exit_code == 1
    assert "cut out the part around the object" in words(done.output)
    refused = {"error": {"code": "point_outside", "message": "prompts[0].points[0] is not in the image"}}
    torchserve.script = [BUSY, (422, json.dumps(refused).encode())]
    done = run("segment", picture, "--point", "500,30")
    assert done.exit_code == 1
    assert "prompts[0].points[0] is not in the image" in words(done.output)
    assert not Path("sand_segments.png").exists()
