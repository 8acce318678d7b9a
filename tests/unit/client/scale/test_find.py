from __future__ import annotations

import contextlib
import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from grainserve.cli.application import app
from grainserve.errors import GrainserveError, InvalidOption, ScaleConflict, ScaleNotFound, ScaleNumberMissing
from grainserve.scale import bar_number as number
from grainserve.scale import find_scale, with_scale
from tests.unit.client.scale.pictures import DATA, saved, texture, with_bar

BAR = with_bar(texture(40, 5), 200, 4, (255, 255, 255))
PLAIN = texture(40, 5)


@pytest.fixture(autouse=True)
def reader(monkeypatch: pytest.MonkeyPatch) -> dict[str, float | None]:
    """An OCR engine that returns a test's text."""
    reads: dict[str, float | None] = {"um": None}
    monkeypatch.setattr(number, "can_read", lambda: True)
    monkeypatch.setattr(number, "read_length", lambda *_: reads["um"])
    return reads


def test_the_file_says_it() -> None:
    found = find_scale(saved(PLAIN, dpi=(25_400, 25_400)), "file")
    assert found.um_per_px == pytest.approx(1.0, rel=1e-4)
    assert found.source == "PNG resolution tags"


@pytest.mark.parametrize("mode", ["file", "auto"])
def test_nothing_says_it(mode: Any) -> None:
    with pytest.raises(ScaleNotFound, match="give um_per_px"):
        find_scale(PLAIN, mode)


def test_a_resolution_in_print_is_named_where_it_is_not_taken() -> None:
    with pytest.raises(ScaleNotFound, match="300 dpi are taken for a resolution in print"):
        find_scale(saved(PLAIN, dpi=(300, 300)), "file")


def test_a_bar_whose_length_is_given() -> None:
    found = find_scale(BAR, bar_um=500)
    assert (found.um_per_px, found.source) == (2.5, "scale bar, 200 px = 500 µm")


def test_a_bar_whose_length_is_read(reader: dict[str, float | None]) -> None:
    reader["um"] = 1000.0
    found = find_scale(BAR)
    assert (found.um_per_px, found.source) == (5.0, "scale bar, 200 px = 1 mm")


def test_a_bar_whose_length_nobody_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ScaleNumberMissing, match=r"200\.0 px at x 60, y 180.*could not be read.*--bar-um 500"):
        find_scale(BAR)
    monkeypatch.setattr(number, "can_read", lambda: False)
    with pytest.raises(ScaleNumberMissing, match="no OCR engine"):
        find_scale(BAR)


@pytest.mark.parametrize(("bar_um", "agrees"), [(200, True), (205, True), (215, False), (20, False)])
@pytest.mark.parametrize("given", [True, False])
def test_file_and_bar_must_agree(reader: dict[str, float | None], bar_um: float, agrees: bool, given: bool) -> None:
    data = saved(BAR, dpi=(25_400, 25_400))
    reader["um"] = None if given else bar_um
    if agrees:
        source = find_scale(data, bar_um=bar_um if given else None).source
        assert source == "PNG resolution tags" + (", ± 2.5% by its bar" if bar_um == 205 else "")
    else:
        with pytest.raises(ScaleConflict, match=r"the file says 1 µm per px .* its scale bar"):
            find_scale(data, bar_um=bar_um if given else None)


def test_a_file_that_says_it_needs_no_bar() -> None:
    for pixels in (PLAIN, with_bar(BAR, 100, 4, (255, 255, 255), y=40)):
        assert find_scale(saved(pixels, dpi=(25_400, 25_400))).source == "PNG resolution tags"


@pytest.mark.parametrize("engine", [True, False])
def test_a_bar_that_could_not_be_read_is_no_agreement_with_or_without_an_engine(
    monkeypatch: pytest.MonkeyPatch, engine: bool
) -> None:
    monkeypatch.setattr(number, "can_read", lambda: engine)
    data = saved(BAR, dpi=(25_400, 25_400))
    with pytest.raises(ScaleNumberMissing, match=r"the file says 1 µm per px .*200\.0 px .*200 µm long .*--scale file"):
        find_scale(data)
    assert find_scale(data, "file").um_per_px == pytest.approx(1, rel=1e-4)
    assert find_scale(data, bar_um=200).source == "PNG resolution tags"
    with pytest.raises(ScaleConflict):
        find_scale(data, bar_um=500)


def test_what_the_file_says_without_sense_is_named_where_there_is_no_bar_either() -> None:
    with pytest.raises(ScaleNotFound, match="4000 dpi are taken for a scanner's"):
        find_scale(saved(PLAIN, dpi=(4000, 4000)))


def test_a_picture_lying_on_its_side_has_its_scale(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    found = find_scale(saved(BAR, "JPEG", exif=exif, quality=95), bar_um=500)
    assert found.um_per_px == pytest.approx(2.5, rel=0.005)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"mode": "guess"}, "'auto' or 'file'"),
        ({"bar_um": 0}, "over 0"),
        ({"bar_um": float("nan")}, "over 0"),
        ({"mode": "file", "bar_um": 5}, "scale 'auto'"),
    ],
)
def test_what_is_not_asked_rightly(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidOption, match=said):
        find_scale(BAR, **arguments)


def test_options_get_the_scale_and_its_source() -> None:
    assert with_scale(BAR, {"min_area": 5}, None, None) == {"min_area": 5}
    found = with_scale(BAR, {"min_area": 5}, "auto", 500)
    assert found == {"min_area": 5, "um_per_px": 2.5, "scale_source": "scale bar, 200 px = 500 µm"}


@pytest.mark.parametrize(
    ("options", "mode", "bar_um"),
    [({"um_per_px": 2}, "auto", None), ({"scale_source": "me"}, "file", None), ({}, None, 500)],
)
def test_a_scale_is_given_or_found(options: dict[str, Any], mode: Any, bar_um: float | None) -> None:
    with pytest.raises(InvalidOption):
        with_scale(BAR, options, mode, bar_um)


@pytest.mark.parametrize(("name", "bar_um", "um_per_px"), [("bar_gap", 50, 0.14706), ("bar_gap_long", 200, 0.35714)])
def test_the_shared_bars_with_their_number_in_the_line(name: str, bar_um: float, um_per_px: float) -> None:
    found = find_scale(shared(f"{name}.png"), bar_um=bar_um)
    assert found.um_per_px == pytest.approx(um_per_px, rel=1e-4)


def test_a_shared_resolution_without_sense_is_named() -> None:
    with pytest.raises(ScaleNotFound, match="TIFF resolution tags say 4294967295 dpi, which makes no sense"):
        find_scale(shared("absurd_res.tif"))


def shared(name: str) -> Path:
    path = DATA / "inputs" / name
    if not path.exists():
        pytest.skip(f"{path} is not here: the shared inputs are not part of the repository")
    return path


def broken_animations() -> dict[str, bytes]:
    """Makes animated PNGs, each with one damaged chunk of the animation and a right checksum."""
    buffer = io.BytesIO()
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(buffer, "PNG", save_all=True, append_images=frames[1:])
    whole = buffer.getvalue()

    def with_chunk(name: bytes, change: Callable[[bytes], bytes]) -> bytes:
        written, place = whole[:8], 8
        while place < len(whole):
            (count,) = struct.unpack_from(">I", whole, place)
            kind, body = whole[place + 4 : place + 8], whole[place + 8 : place + 8 + count]
            body = change(body) if kind == name else body
            written += struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
            place += 12 + count
        return written

    return {
        "whole": whole,
        "short acTL": with_chunk(b"acTL", lambda body: body[:4]),
        "short fcTL": with_chunk(b"fcTL", lambda body: body[:10]),
        "fcTL out of turn": with_chunk(b"fcTL", lambda body: struct.pack(">I", 7) + body[4:]),
        "fcTL over the frame": with_chunk(b"fcTL", lambda body: body[:4] + struct.pack(">II", 99, 99) + body[12:]),
        "short fdAT": with_chunk(b"fdAT", lambda body: body[:2]),
        "cut": whole[:70],
    }


@pytest.mark.parametrize("mode", ["auto", "file"])
@pytest.mark.parametrize("case", broken_animations())
def test_a_broken_animation_is_one_line(tmp_path: Path, case: str, mode: str) -> None:
    image = tmp_path / "moving.png"
    image.write_bytes(broken_animations()[case])
    for more in ([], ["--out", str(tmp_path / "drawn.png")]):
        answer = CliRunner().invoke(app, ["scale", str(image), "--scale", mode, *more])
        assert answer.exit_code == 1
        assert isinstance(answer.exception, SystemExit)
        assert answer.stderr.startswith("error:")
        assert answer.stderr.count("\n") == 1


def test_the_command_says_and_shows(tmp_path: Path) -> None:
    image, out = tmp_path / "bar.png", tmp_path / "found.png"
    image.write_bytes(saved(BAR))
    answer = CliRunner().invoke(app, ["scale", str(image), "--bar-um", "500", "--out", str(out)])
    assert answer.exit_code == 0, answer.output
    assert answer.stdout.startswith("2.5 µm per px  scale bar, 200 px = 500 µm")
    drawn = np.asarray(Image.open(out))
    assert drawn.shape == BAR.shape
    changed = np.argwhere((drawn != BAR).any(axis=2))
    assert changed[:, 1].min() < 60
    assert changed[:, 1].max() > 260
    np.testing.assert_array_equal(drawn[180:184, 60:260], BAR[180:184, 60:260])


def test_the_command_goes_on_after_an_image_without_scale(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(saved(PLAIN))
    (tmp_path / "b.png").write_bytes(saved(PLAIN, dpi=(25_400, 25_400)))
    answer = CliRunner().invoke(app, ["scale", str(tmp_path / "a.png"), str(tmp_path / "b.png")])
    assert answer.exit_code == 1
    assert "a.png" in answer.stderr
    assert "no scale bar was found" in answer.stderr
    assert "PNG resolution tags" in answer.stdout


def animated() -> bytes:
    """Makes an APNG of three frames."""
    first, *others = (Image.fromarray(texture(40, 20, 24, 24, seed)) for seed in range(3))
    buffer = io.BytesIO()
    first.save(buffer, "PNG", save_all=True, append_images=others)
    return buffer.getvalue()


WHOLE = {"APNG": animated()} | {kind: saved(PLAIN[:24, :24], kind) for kind in ("PNG", "JPEG", "TIFF", "BMP", "WEBP")}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", WHOLE)
def test_a_damaged_image_is_an_error_of_ours_and_no_traceback(tmp_path: Path, kind: str) -> None:
    whole = WHOLE[kind]
    rng = np.random.default_rng(0)
    damaged = [whole[:length] for length in range(8, len(whole), max(1, len(whole) // 20))]
    damaged += [
        whole[:place] + bytes([rng.choice([0, 1, 7, 255])]) + whole[place + 1 :]
        for place in rng.integers(8, len(whole), 60)
    ]
    for data in damaged:
        for mode in ("auto", "file"):
            with contextlib.suppress(GrainserveError):
                find_scale(data, mode)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("chunk", [b"acTL", b"fcTL", b"fdAT"])
def test_a_broken_apng_is_told_in_one_line(tmp_path: Path, chunk: bytes) -> None:
    whole = animated()
    image = tmp_path / "broken.png"
    at = whole.index(chunk)
    for broken in (whole[:at] + chunk + b"\xff" * 12 + whole[at + 16 :], whole[: at + 6]):
        image.write_bytes(broken)
        for out in ([], ["--out", str(tmp_path / "found.png")]):
            answer = CliRunner().invoke(app, ["scale", str(image), *out])
            assert answer.exit_code == 1
            assert isinstance(answer.exception, SystemExit), answer.exception
            assert answer.stderr.startswith("error: ")
