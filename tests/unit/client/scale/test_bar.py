from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from grainserve.errors import ScaleConflict, ScaleNotFound
from grainserve.images import display_pixels
from grainserve.scale.bar import find_bars, scale_bar
from tests.unit.client.scale.pictures import DATA, card, saved, texture, with_bar, with_interrupted_bar, written
from training import synthetic
from training.synthetic import FAMILIES, synthesize

WHITE, BLACK, RED = (255, 255, 255), (0, 0, 0), (230, 20, 20)


@settings(max_examples=40, deadline=None)
@given(
    length=st.integers(40, 300),
    thickness=st.integers(2, 8),
    x=st.integers(6, 90),
    bar=st.sampled_from([(WHITE, 60), (BLACK, 190), (RED, 60), (RED, 200), ((255, 255, 0), 110)]),
)
def test_a_plain_bar_is_as_long_as_drawn(length: int, thickness: int, x: int, bar: tuple[tuple[int, ...], int]) -> None:
    colour, level = bar
    (found,) = find_bars(with_bar(texture(level, 0), length, thickness, colour, x=x))
    assert found.length == length
    assert (found.x, found.y, found.width, found.height) == (x, 180, length, thickness)
    assert (found.segments, found.colour) == (1, colour)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("colour", [WHITE, BLACK, RED])
def test_a_bar_on_a_texture(colour: tuple[int, ...], seed: int) -> None:
    found = scale_bar(find_bars(with_bar(texture(128, 18, seed=seed), 150, 4, colour)))
    assert found.length == pytest.approx(150, abs=0.8)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("tick", [0, 1])
@pytest.mark.parametrize(("colour", "level"), [(WHITE, 60), (WHITE, 128), (BLACK, 190)])
def test_a_bar_of_one_pixel_s_thickness(colour: tuple[int, ...], level: int, tick: int, kind: str) -> None:
    drawn = with_bar(texture(level, 15), 150, 1, colour, tick=tick)
    found = scale_bar(find_bars(display_pixels(saved(drawn, kind))))
    assert found.length == pytest.approx(150, abs=0.5)
    assert found.height == 1


@pytest.mark.parametrize(("level", "differs"), [(65, 0), (130, 60)])
def test_a_blurred_or_uneven_line_of_one_pixel_is_no_bar(level: int, differs: int) -> None:
    pixels = texture(level, 0)
    pixels[180, 60:210] = np.linspace(0, differs, 150)[:, None]
    assert find_bars(pixels) == []


@pytest.mark.parametrize("length", [60, 151, 300])
@pytest.mark.parametrize("tick", [1, 2, 3])
def test_a_bar_with_ticks_is_measured_between_their_middles(length: int, tick: int) -> None:
    (found,) = find_bars(with_bar(texture(60, 4), length, 3, WHITE, tick=tick))
    assert found.length == pytest.approx(length - tick, abs=0.1)


INTERRUPTED = [(WHITE, 40), (BLACK, 200), (RED, 60), ((255, 255, 0), 110)]


@settings(max_examples=25, deadline=None)
@given(
    drawing=st.fixed_dictionaries(
        {
            "length": st.integers(190, 320),
            "thickness": st.integers(2, 6),
            "x": st.integers(10, 60),
            "text": st.sampled_from(["50 µm", "1 µm", "500 nm", "100 µm", "2 mm", "20.0um"]),
            "tick": st.sampled_from([0, 1, 2, 3]),
            "size": st.integers(16, 26),
        }
    ),
    colours=st.sampled_from(INTERRUPTED),
)
def test_a_bar_with_its_number_in_the_line_is_measured_from_outer_edge_to_outer_edge(
    drawing: dict[str, Any], colours: tuple[tuple[int, ...], int]
) -> None:
    colour, level = colours
    found = scale_bar(find_bars(with_interrupted_bar(texture(level, 4), colour=colour, **drawing)))
    assert found.interrupted
    assert found.length == pytest.approx(drawing["length"], abs=0.6)


@pytest.mark.parametrize("tick", [0, 3])
@pytest.mark.parametrize("length", [110, 150, 380])
@pytest.mark.parametrize("side", [(700, 1024), (1000, 1280)])
def test_short_pieces_of_a_large_picture(side: tuple[int, int], length: int, tick: int) -> None:
    drawn = with_interrupted_bar(texture(40, 4, *side), length, 2, WHITE, "50 µm", x=600, y=660, tick=tick, size=18)
    assert scale_bar(find_bars(drawn)).length == pytest.approx(length, abs=0.6)


@pytest.mark.parametrize("quality", [75, 90])
def test_jpeg_does_not_move_the_ends_of_an_interrupted_bar(quality: int) -> None:
    drawn = with_interrupted_bar(texture(40, 8), 250, 4, WHITE, "50 µm", tick=3)
    assert scale_bar(find_bars(display_pixels(saved(drawn, "JPEG", quality=quality)))).length == pytest.approx(
        250, rel=0.01
    )


@pytest.mark.parametrize(("one", "other"), [(100, 100), (100, 40), (60, 100)])
def test_a_bar_that_may_be_a_piece_of_a_longer_one_is_a_conflict(one: int, other: int) -> None:
    pixels = with_bar(texture(40, 4), one, 4, WHITE, x=40)
    pixels = with_bar(pixels, other, 4, WHITE, x=40 + one + 60)  # nothing is written between the ends
    with pytest.raises(ScaleConflict, match=r"outer edge to outer edge|2 things"):
        scale_bar(find_bars(pixels))


@pytest.mark.parametrize("seed", [8, 9])  # in which the noise hides some rows of a piece
def test_noise_around_its_pieces_makes_none_of_them_the_whole(seed: int) -> None:
    noise = np.random.default_rng(seed).normal(128, 30, (480, 480, 1)).repeat(3, axis=2).clip(0, 255).astype(np.uint8)
    drawn = with_interrupted_bar(noise, 340, 6, WHITE, "50 µm", y=240, tick=2)
    with pytest.raises(ScaleConflict, match="one piece of a longer one"):
        scale_bar(find_bars(drawn))


def test_a_number_in_another_colour_in_the_line_is_a_conflict_and_no_half() -> None:
    pixels = with_bar(with_bar(texture(40, 4), 90, 4, WHITE, x=40), 90, 4, WHITE, x=220)
    pixels = written(pixels, "50 µm", (140, 170), (200, 60, 60), 20)
    with pytest.raises(ScaleConflict, match="one piece of a longer one"):
        scale_bar(find_bars(pixels))


def test_pieces_that_letters_touch_are_not_taken_for_the_whole() -> None:
    drawn = with_interrupted_bar(texture(40, 4), 250, 4, WHITE, "50 µm", margin=-2)
    try:
        found = scale_bar(find_bars(drawn)).length
    except (ScaleConflict, ScaleNotFound):
        return
    assert found == pytest.approx(250, abs=1)


@pytest.mark.parametrize("at", [(220, 170), (20, 140)])
def test_a_number_beside_or_above_a_bar_is_no_piece_of_it(at: tuple[int, int]) -> None:
    pixels = written(with_bar(texture(40, 4), 150, 4, WHITE), "— 400 µm 4 kV", at, WHITE, 20)
    found = scale_bar(find_bars(pixels))
    assert (found.length, found.interrupted) == (150, False)


@pytest.mark.parametrize(("name", "length"), [("bar_gap.png", 340), ("bar_gap_long.png", 560)])
def test_the_shared_bars_with_their_number_in_the_line(name: str, length: int) -> None:
    assert scale_bar(find_bars(display_pixels(image_of(f"inputs/{name}")))).length == pytest.approx(length, abs=0.5)


def test_pixels_that_a_bar_covers_in_part_count_in_part() -> None:
    pixels = with_bar(texture(0, 0), 100, 5, WHITE)
    pixels[180:185, 59], pixels[180:185, 160] = 102, 153  # 0.4 and 0.6 of white
    assert scale_bar(find_bars(pixels)).length == pytest.approx(101.0, abs=0.01)


def test_an_upright_bar() -> None:
    pixels = with_bar(texture(60, 4), 150, 4, WHITE).transpose(1, 0, 2)
    found = scale_bar(find_bars(pixels))
    assert (found.length, found.width, found.height) == (150, 4, 150)


@pytest.mark.parametrize(("segments", "side"), [(10, 37), (4, 90), (5, 40)])
def test_a_card_s_segments_are_counted(segments: int, side: int) -> None:
    found = scale_bar(find_bars(card(segments, side)))
    assert found.segments == segments
    assert found.length == pytest.approx(segments * side, rel=0.01)


@pytest.mark.parametrize("quality", [60, 90])
def test_jpeg_does_not_move_a_bar_s_ends(quality: int) -> None:
    pixels = display_pixels(saved(with_bar(texture(70, 15), 150, 4, WHITE), "JPEG", quality=quality))
    assert scale_bar(find_bars(pixels)).length == pytest.approx(150, rel=0.01)


def test_bars_that_agree_are_one_and_bars_that_do_not_are_listed() -> None:
    one = with_bar(texture(60, 4), 150, 4, WHITE)
    assert scale_bar(find_bars(with_bar(one, 150, 4, WHITE, y=40))).length == 150
    with pytest.raises(ScaleConflict, match=r"2 things .*120\.0 px at x 60.*150\.0 px at x 60"):
        scale_bar(find_bars(with_bar(one, 120, 4, WHITE, y=40)))


@pytest.mark.parametrize("family", FAMILIES)
def test_grains_are_no_bars(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthetic, "add_scale", lambda _, pixels, labels: (pixels, labels))  # some have a real bar
    for seed in range(2):
        assert find_bars(synthesize(np.random.default_rng(seed), family, 256, 256).image) == []


@pytest.mark.parametrize("shape", ["empty", "square", "short", "frame", "slope"])
def test_what_is_no_bar(shape: str) -> None:
    pixels = texture(60, 4)
    if shape == "square":
        pixels[100:115, 100:115] = 255
    elif shape == "short":
        pixels[100:103, 100:118] = 255
    elif shape == "frame":
        pixels[100:104] = 255
    elif shape == "slope":
        for step in range(150):
            pixels[40 + step // 2 : 44 + step // 2, 100 + step] = 255
    with pytest.raises(ScaleNotFound, match="no scale bar"):
        scale_bar(find_bars(pixels))


def image_of(name: str) -> Path:
    path = DATA / name
    if not path.exists():
        pytest.skip(f"{path} is not here: the shared images are not part of the repository")
    return path


# Measured by eye on enlarged pixels.
@pytest.mark.parametrize(
    ("name", "px", "segments"),
    [
        ("thin_sections/OffshoreMiocene.jpg", 80, 1),
        ("thin_sections/OffshoreMiocene_xpl.jpg", 80, 1),
        ("thin_sections/Zircon.jpg", 179, 1),
    ],
)
def test_bars_in_real_images(name: str, px: float, segments: int) -> None:
    found = scale_bar(find_bars(display_pixels(image_of(name))))
    assert found.length == pytest.approx(px, rel=0.02)
    assert found.segments == segments


@pytest.mark.parametrize("name", ["thin_sections/Ooid.jpg", "grains/2346.jpg", "e112/steel_raw.tif"])
def test_real_images_without_a_bar(name: str) -> None:
    assert find_bars(display_pixels(image_of(name))) == []


def test_the_centimetres_of_a_scale_card() -> None:
    path = image_of("grains/barton_creek.jpg")
    with Image.open(path) as opened:
        half = opened.reduce(2)
    found = scale_bar(find_bars(np.asarray(half)))
    assert found.segments == 10
    # The 1856.6 px/m in the image's json belong to a copy of half the size: at full size the card's 10 cm are 373 px.
    assert found.length / 0.1 == pytest.approx(1856.6, rel=0.02)
