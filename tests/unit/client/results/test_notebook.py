from __future__ import annotations

import io
import re
from base64 import b64decode
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from grainserve.errors import GrainNotFound, StorageUnreachable
from grainserve.result import Result
from tests.browser import browsing, needs_chromium
from tests.unit.client.made import HEIGHT, WIDTH, make_image, make_result


def html(result: Any) -> str:
    text: str = result._repr_html_()
    return text


def tags(text: str) -> list[str]:
    found: list[str] = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attrs: found.append(tag)  # type: ignore[method-assign]
    parser.feed(text)
    return found


def pictures(text: str) -> list[Image.Image]:
    return [Image.open(io.BytesIO(b64decode(data))) for data in re.findall(r'src="data:[^,]*,([^"]*)"', text)]


def large(data: dict[str, Any]) -> Result:
    return Result(data, lambda: np.asarray(make_image()))


def test_a_result_is_as_long_as_its_grains_and_goes_through_them() -> None:
    result = Result(make_result())
    assert len(result) == 4
    assert list(result) == result.grains


def test_a_grain_is_found_by_its_id_and_not_by_its_place() -> None:
    data = make_result()
    data["segmentedObjects"][0]["id"] = 58
    result = Result(data)
    assert result[58] is result.grains[0]
    with pytest.raises(GrainNotFound, match="has no grain 0"):
        result[0]


def test_a_result_without_grains_is_still_a_result() -> None:
    data = make_result()
    data["segmentedObjects"] = []
    result = large(data)
    assert (bool(result), len(result), list(result)) == (True, 0, [])
    assert "table" not in tags(html(result))


def test_a_grain_is_shown_in_one_line_that_steers_no_terminal() -> None:
    data = make_result()
    data["segmentedObjects"][0]["class"] = "a\x1b[31m\nb"
    shown = repr(Result(data).grains[0])
    assert shown.isprintable()
    assert len(shown) < 80


def test_the_page_shows_outlines_sizes_and_the_largest_grains() -> None:
    result = large(make_result(um_per_px=2.5))
    text = html(result)
    overlay, figure = pictures(text)
    assert overlay.width / overlay.height == WIDTH / HEIGHT
    assert figure.width > 800
    ids = [int(each) for each in re.findall(r"<tr><td>(\d+)</td>", text)]
    assert ids == sorted(ids, key=lambda number: -result[number].properties["equivalentDiameter_um"])
    assert "diameter (µm)" in text


def test_of_many_grains_the_table_has_the_largest() -> None:
    data = make_result()
    data["segmentedObjects"] = [data["segmentedObjects"][0] | {"id": number} for number in range(1, 31)]
    assert html(large(data)).count("<tr><td>") == 10


def test_what_files_and_labels_say_is_no_markup() -> None:
    data = make_result()
    data["segmentedObjects"][0]["class"] = "<script>alert(1)</script>"
    data["metadata"]["warnings"] = ["<img src=x onerror=alert(1)>"]
    text = html(large(data))
    assert "script" not in tags(text)
    assert tags(text).count("img") == 2
    assert "&lt;script&gt;" in text


def test_without_the_image_the_outlines_are_drawn_alone_and_the_page_says_why() -> None:
    def away() -> bytes:
        raise StorageUnreachable("no <connection>")

    text = html(Result(make_result(), away))
    assert len(pictures(text)) == 2
    assert "The outlines alone: no &lt;connection&gt;." in text


def test_without_masks_the_page_says_so() -> None:
    text = html(large(make_result(mask_format="none")))
    assert len(pictures(text)) == 1
    assert "No outlines: this result holds no masks" in text


def test_a_mosaic_is_reduced_and_keeps_its_scale() -> None:
    data = make_result(um_per_px=1.0)
    data["metadata"]["image"] = {"width": 4000, "height": 3001}
    data["metadata"].pop("frame", None)
    data["segmentedObjects"] = []
    overlay, _ = pictures(html(Result(data, lambda: np.zeros((3001, 4000, 3), np.uint8))))
    assert overlay.size == (1000, 751)


def test_the_figure_is_a_picture_for_notebooks() -> None:
    figure: Any = Result(make_result()).plot()
    with Image.open(io.BytesIO(figure._repr_png_())) as picture:
        assert picture.format == "PNG"
    assert [axes.get_ylabel() for axes in figure.axes] == ["Share of grains (%)", "Finer (%)"]


@needs_chromium
def test_a_browser_shows_every_part(tmp_path: Path) -> None:
    page_file = tmp_path / "result.html"
    page_file.write_text(html(large(make_result(um_per_px=2.5))), encoding="utf-8")
    with browsing(page_file.as_uri()) as page:
        widths = page.eval_on_selector_all("img", "images => images.map(image => image.naturalWidth)")
        assert all(widths)
        assert len(widths) == 2
        assert page.locator("tbody tr").count() == 4
        page.screenshot(path=tmp_path / "result.png", full_page=True)
