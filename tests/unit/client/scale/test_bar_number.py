from __future__ import annotations

import pytest

from grainserve.scale import bar_number as number
from grainserve.scale.bar import find_bars, scale_bar
from grainserve.scale.units import length_text, lengths_um
from tests.unit.client.scale.pictures import texture, with_bar, written

needs_ocr = pytest.mark.skipif(
    not number.can_read(), reason="no OCR engine: `apt-get install tesseract-ocr` and pytesseract read numbers"
)


@pytest.mark.parametrize(
    ("text", "um"),
    [
        ("500 µm", [500.0]),
        ("100um", [100.0]),
        ("50 μm", [50.0]),  # the Greek letter, not the micro sign
        ("0.5 mm", [500.0]),
        ("0,5 mm", [500.0]),
        ("1 cm", [10_000.0]),
        ("200 nm", [0.2]),
        ("x 200, bar 400.0 µm, WD 10 mm", [400.0, 10_000.0]),
        ("500", []),
        ("20 kV", []),
        ("5 mmol", []),
        ("1.2.3 mm", []),
        ("1,000 µm", []),  # a thousand or one
        ("0,500 mm", [500.0]),
    ],
)
def test_lengths_in_a_text(text: str, um: list[float]) -> None:
    assert lengths_um(text) == pytest.approx(um)


@pytest.mark.parametrize(("um", "text"), [(500, "500 µm"), (0.25, "250 nm"), (1500, "1.5 mm"), (100_000, "10 cm")])
def test_a_length_as_it_is_said(um: float, text: str) -> None:
    assert length_text(um) == text
    assert lengths_um(text) == [pytest.approx(um)]


@needs_ocr
@pytest.mark.parametrize(("text", "um"), [("500 µm", 500.0), ("0.5 mm", 500.0)])
def test_the_number_beside_a_bar_is_read(text: str, um: float) -> None:
    pixels = written(with_bar(texture(30, 5), 150, 4, (255, 255, 255)), text, (90, 145), (255, 255, 255))
    assert number.read_length(pixels, scale_bar(find_bars(pixels))) == um


@needs_ocr
def test_no_number_is_made_up() -> None:
    pixels = written(with_bar(texture(30, 5), 150, 4, (255, 255, 255)), "quartz", (90, 145), (255, 255, 255))
    assert number.read_length(pixels, scale_bar(find_bars(pixels))) is None


@pytest.mark.parametrize(
    ("texts", "um"),
    [
        (["500 um"] * 4, 500.0),
        (["", "500 um", "500 um", "", "500 pm"], 500.0),
        (["500 um", "500 um"], None),
        (["2400.0 jm", "400 um", "400 um", "400 um"], 400.0),
        (["50 um", "50 um", "500 um", "500 um", "500 um"], None),
        (["0 um"] * 8, None),
    ],
)
def test_a_majority_of_readings_decides(monkeypatch: pytest.MonkeyPatch, texts: list[str], um: float | None) -> None:
    pytesseract = pytest.importorskip("pytesseract")
    monkeypatch.setattr(pytesseract, "image_to_string", lambda *_, **__: "\f".join(texts))
    pixels = with_bar(texture(30, 0), 150, 4, (255, 255, 0))
    assert number.read_length(pixels, scale_bar(find_bars(pixels))) == um
