from __future__ import annotations

import io
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from grainserve.errors import InvalidOption
from grainserve.images import display_pixels
from grainserve.scale.databar import databar_rows, with_databar

FONT = Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf"
WIDTH, HEIGHT = 640, 480
SHARED = Path(__file__).parents[5] / "shared" / "data"
STYLES = {"text on black": 0, "text on white": 255, "text on grey": 60, "fields in a frame": 0}


def specimen(seed: int = 0) -> Image.Image:
    """Draws bright grains on a dark ground with noise, so that no row is uniform."""
    rng = np.random.default_rng(seed)
    picture = Image.new("L", (WIDTH, HEIGHT), 50)
    pen = ImageDraw.Draw(picture)
    for x, y, radius in zip(
        rng.uniform(0, WIDTH, 90), rng.uniform(0, HEIGHT, 90), rng.uniform(10, 40, 90), strict=True
    ):
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=int(rng.integers(90, 220)))
    noisy = np.asarray(picture) + rng.normal(0, 14, (HEIGHT, WIDTH))
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


def databar(height: int, style: str) -> Image.Image:
    """Draws a databar like a microscope's: settings in small letters and a scale bar."""
    ground = STYLES[style]
    ink = 255 if ground < 128 else 0
    picture = Image.new("L", (WIDTH, height), ground)
    pen, font = ImageDraw.Draw(picture), ImageFont.truetype(str(FONT), max(9, height // 3))
    if style == "fields in a frame":
        pen.rectangle((0, 0, WIDTH - 1, height - 1), outline=255)
        for column, said in enumerate(["HV 20 kV", "5 000 x", "10.1 mm", "ETD", "50 µm"]):
            pen.line((column * WIDTH // 5, 0, column * WIDTH // 5, height), fill=255)
            pen.text((column * WIDTH // 5 + 4, height // 3), said, font=font, fill=ink)
    else:
        pen.text((12, height // 6), "S-4800 10.0kV 8.1mm x5.00k SE(M)", font=font, fill=ink)
        pen.text((12, height // 2), "EHT = 20 kV  WD = 9.1", font=font, fill=ink)
        pen.rectangle((450, height // 2, 570, height // 2 + 3), fill=ink)
        pen.text((470, 1), "10 µm", font=font, fill=ink)
    return picture


def with_bar(height: int, style: str, *, jpeg: bool = False) -> NDArray[np.uint8]:
    whole = Image.new("L", (WIDTH, HEIGHT + height))
    whole.paste(specimen(), (0, 0))
    whole.paste(databar(height, style), (0, HEIGHT))
    if jpeg:
        buffer = io.BytesIO()
        whole.save(buffer, "JPEG", quality=85)
        whole = Image.open(buffer)
    return np.asarray(whole.convert("RGB"))


@pytest.mark.parametrize("jpeg", [False, True])
@pytest.mark.parametrize("height", [24, 40, 63])
@pytest.mark.parametrize("style", STYLES)
def test_a_databar_is_found_to_a_pixel_or_two(style: str, height: int, jpeg: bool) -> None:
    found = databar_rows(with_bar(height, style, jpeg=jpeg))
    assert abs(found - height) <= (2 if jpeg else 0)


@pytest.mark.parametrize(
    "pixels",
    [
        np.asarray(specimen(1).convert("RGB")),
        np.zeros((480, 640, 3), np.uint8),
        np.full((480, 640, 3), 255, np.uint8),
        np.zeros((5, 5, 3), np.uint8),
        np.concatenate([np.asarray(specimen(2).convert("RGB")), np.zeros((40, WIDTH, 3), np.uint8)]),
    ],
    ids=["grains", "black", "white", "a few pixels", "a plain strip without text"],
)
def test_nothing_else_is_taken_for_one(pixels: NDArray[np.uint8]) -> None:
    assert databar_rows(pixels) == 0


@pytest.mark.skipif(not SHARED.is_dir(), reason="../shared/data is not there")
@pytest.mark.parametrize("folder", ["grains", "unlabelled/ampis_powder_unl", "unlabelled/ti64_sem", "defects"])
def test_real_images_without_a_databar_are_left_whole(folder: str) -> None:
    names = [path for path in sorted((SHARED / folder).iterdir()) if path.suffix in (".jpg", ".png")]
    pictures = [path for path in names if not path.stem.endswith(("_labels", "_classes"))][:4]
    assert pictures
    assert {path.name: databar_rows(display_pixels(path)) for path in pictures} == {path.name: 0 for path in pictures}


def test_options_say_what_was_found() -> None:
    found = with_databar(with_bar(40, "text on black"), {"min_area": 5}, find=True)
    assert found == {"min_area": 5, "ignore_bottom": 40, "crop_source": "a databar of 40 px was found at the bottom"}
    nothing = with_databar(np.asarray(specimen()), {}, find=True)
    assert nothing == {"ignore_bottom": 0, "crop_source": "no databar was found"}
    assert with_databar(np.asarray(specimen()), {"min_area": 5}, find=False) == {"min_area": 5}


@pytest.mark.parametrize("name", ["ignore_bottom", "crop_source"])
def test_a_databar_is_given_or_found(name: str) -> None:
    with pytest.raises(InvalidOption, match="known"):
        with_databar(np.asarray(specimen()), {name: 3}, find=True)
