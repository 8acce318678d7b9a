from __future__ import annotations

import re
from base64 import b64decode
from datetime import UTC, datetime
from functools import cache
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from grainserve.cli.measure import analyze
from grainserve.reports.document import Report
from grainserve.reports.html import to_html
from grainserve.reports.overlays import MOST_BYTES, SizeColours, size_overlay
from grainserve.reports.pdf import MOST_COLUMNS, column_parts, to_pdf
from grainserve.reports.sample import sample_report
from grainserve.reports.sources import MOST_OVERLAYS, Measured
from grainserve.reports.tables import text
from grainserve.result import Result
from grainserve.stats import Sample, summarise
from grainserve.stats.astm import METHODS
from tests.unit.client.made import make_result
from tests.unit.client.reports.grains import PITCH, SIDE, cut, discs, grey, measured

DOCS = Path(__file__).parents[4] / "docs" / "reports.md"
MADE = datetime(2026, 11, 22, 5, 0, tzinfo=UTC)


class Page(HTMLParser):
    """A parsed page: rows of its tables by their first cell, its flags, its pictures, its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.rows: dict[str, list[str]] = {}
        self.flags: list[str] = []
        self.pictures: list[str] = []
        self.words = ""
        self.tags: set[str] = set()
        self._cells: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.add(tag)
        if tag == "tr":
            self._cells = []
        elif tag in {"td", "th"}:
            self._cells.append("")
        elif tag == "img":
            self.pictures.append(given["src"] or "")
        elif tag == "li":
            self.flags += [name] if (name := given.get("data-flag")) else []

    def handle_data(self, data: str) -> None:
        self.words += data
        if self._cells:
            self._cells[-1] += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "tr":
            self.rows.setdefault(self._cells[0], self._cells[1:])
            self._cells = []


def report(*images: Measured, title: str = "Dune") -> Report:
    return sample_report(images, title=title, made=MADE)


@cache
def drawn(count: int, um_per_px: float | None) -> str:
    """Makes a page with its charts."""
    return to_html(report(measured(discs(count, um_per_px=um_per_px))))


@pytest.mark.parametrize(("count", "um_per_px"), [(5, 2.0), (80, None)])
def test_the_page_has_the_numbers_of_the_summary(count: int, um_per_px: float | None) -> None:
    result = discs(count, um_per_px=um_per_px)
    page = Page(drawn(count, um_per_px))
    summary = summarise(Sample.of([result]))
    unit = "px" if um_per_px is None else "µm"
    for percent in (5, 50, 95):
        both = [text(each.percentiles[percent]) for each in (summary.number, summary.area)]
        assert page.rows[f"D{percent} ({unit})"] == both
    assert page.rows[f"mean ({unit})"] == [text(summary.number.mean), text(summary.area.mean)]
    assert ("sorting σI (φ)" in page.rows) == (um_per_px is not None)
    assert ("no_scale" in page.flags) == (um_per_px is None)
    assert ("few_grains" in page.flags) == (count < 50)
    assert len(page.pictures) == 4, "overlay, its colours, sizes, shapes"


def test_a_page_without_grains_says_so_and_how_it_was_measured() -> None:
    page = Page(to_html(report(measured(discs(0)))))
    assert page.flags == ["no_grains"]
    assert page.pictures == []
    assert page.rows["checkpoint generation"] == ["17"]


@pytest.mark.usefixtures("blank_charts")
def test_where_the_frame_cuts_every_grain_the_page_says_what_to_do() -> None:
    page = Page(to_html(report(measured(cut(discs(5))))))
    assert page.flags[0] == "no_sizes"
    assert "leave the edge correction off" in page.words


@pytest.mark.usefixtures("blank_charts")
def test_images_of_a_sample_are_pooled_and_shown_up_to_a_dozen() -> None:
    images = [measured(discs(6, seed=seed), f"dune{seed}.png") for seed in range(MOST_OVERLAYS + 2)]
    page = Page(to_html(report(*images)))
    assert f"{6 * len(images)} grains in {len(images)} images" in page.words
    assert f"{MOST_OVERLAYS} of {len(images)} images are shown" in page.words
    assert sum(picture.startswith("data:image/jpeg") for picture in page.pictures) == MOST_OVERLAYS
    assert page.rows["dune3.png"][3] == "6"
    summary = summarise(Sample.of([image.result for image in images]))
    assert page.rows["D50 (µm)"][0] == text(summary.number.percentiles[50])
    assert "by area · corrected for the frame" in page.words
    assert "Grain sizes (equivalent diameters), corrected for the frame." in page.words


def test_the_page_fetches_nothing() -> None:
    page = Page(html := drawn(5, 2.0))
    assert not re.search(r"""(src|href)=(?!"data:)|url\(|@import""", html)
    assert not page.tags & {"script", "link", "iframe", "object"}
    assert "default-src 'none'" in html
    assert all(len(b64decode(picture.partition(",")[2])) <= MOST_BYTES for picture in page.pictures)


def test_what_a_result_says_is_no_markup() -> None:
    data = discs(0, warnings=["<script>alert(1)</script>"]).to_dict()
    data["metadata"]["options"]["label"] = "<b>quartz</b>"
    html = to_html(report(measured(Result(data), "<img src=x>.png"), title="<script>"))
    assert not Page(html).tags & {"script", "u"}
    assert "<script" not in html
    assert "<img src=x>" not in html
    assert "&lt;b&gt;quartz&lt;/b&gt;" in html


def test_the_command_repeats_every_option_and_is_one_that_analyze_takes() -> None:
    page = to_html(report(measured(discs(0), "my sand.png")))
    (line,) = re.findall(r"<pre>(.*?)</pre>", page, re.DOTALL)
    assert line.startswith("grainserve analyze &#39;my sand.png&#39; --model sam_tiny --version 1.0")
    known = {f"--{name.replace('_', '-')}" for name in analyze.__annotations__}
    given = re.findall(r"--[a-z-]+", line)
    assert set(given) <= known
    options = discs(0).metadata["options"]
    assert {name for name, value in options.items() if value is not None} <= {
        name[2:].replace("-", "_") for name in given
    }


def test_ways_of_measuring_stand_beside_each_other_and_have_a_command_each() -> None:
    other = discs(0, seed=2, checkpoint={"uri": "gs://weights/new.pth", "generation": "99", "crc32c": "BBBBBB=="})
    page = Page(html := to_html(report(measured(discs(0), "one.png"), measured(other, "two.png"))))
    assert page.rows["parameter"] == ["one.png", "two.png"]
    assert page.rows["checkpoint generation"] == ["17", "99"]
    assert html.count("<pre>") == 2
    assert "different_models" in page.flags


def test_metadata_that_later_versions_add_is_shown() -> None:
    classifier = {
        "uri": "gs://w/m.skops",
        "generation": "3",
        "crc32c": "CCCCCC==",
        "classes": ["a", "b"],
        "threshold": 0,
    }
    tiles = {"count": 4, "overlap": 128, "imageIds": ["a"], "boxes": [{"x": 0, "y": 0, "width": 300, "height": 300}],
             "agreement": 1.0, "sharedPixels": 0}  # fmt: skip
    data = discs(0, classifier=classifier, tiles=tiles).to_dict()
    data["metadata"]["units"]["scaleSource"] = "OME-XML PhysicalSizeX"
    page = Page(html := to_html(report(measured(Result(data)))))
    assert page.rows["classifier classes"] == ["a, b"]
    assert page.rows["overlap of tiles, px"] == ["128"]
    assert page.rows["sand.png"][2] == "OME-XML PhysicalSizeX"
    assert "--largest-grain 64" in html


@pytest.mark.usefixtures("blank_charts")
def test_without_a_picture_or_masks_the_page_says_why() -> None:
    assert "Without the image where it was lost." in to_html(report(measured(cut(discs(1)), picture=False)))
    bare = Page(to_html(report(measured(cut(Result(make_result(mask_format="none")))))))
    assert "1 result without masks" in bare.words
    assert bare.pictures == []


def test_an_overlay_colours_grains_by_size_and_leaves_the_rest_grey() -> None:
    result = discs(80)
    colours = SizeColours.of(result.sizes)
    picture = size_overlay(result, grey(), colours, side=SIDE)
    with Image.open(BytesIO(picture.data)) as image:
        pixels = np.asarray(image.convert("RGB"), dtype=float)
    order = np.argsort(result.sizes)
    for index in (order[0], order[40], order[-1]):
        y, x = (PITCH * place + PITCH // 2 for place in divmod(int(index), SIDE // PITCH))
        expected = 0.55 * 120 + 0.45 * 255 * colours(result.sizes[[index]])[0]
        assert np.abs(pixels[y, x] - expected).max() < 12, "JPEG"
    assert np.abs(pixels[0, 0] - 120).max() < 15, "JPEG"


def test_a_table_of_many_columns_goes_on_below_in_a_pdf() -> None:
    assert column_parts(MOST_COLUMNS) == [slice(1, MOST_COLUMNS + 1)]
    assert column_parts(1) == [slice(1, 2)]
    assert column_parts(10) == [slice(1, 6), slice(6, 11)]
    for count in range(1, 40):
        parts = [range(1, count + 1)[part.start - 1 : part.stop - 1] for part in column_parts(count)]
        assert [column for part in parts for column in part] == list(range(1, count + 1))
        assert max(map(len, parts)) <= MOST_COLUMNS


@pytest.mark.usefixtures("blank_charts")
def test_grain_sizes_of_astm_are_those_counted_with_halves_and_flagged_where_grains_do_not_fill_the_frame() -> None:
    result = discs(80)
    made = sample_report([measured(result, picture=False)], title="Steel", astm=METHODS)
    page = Page(to_html(made))
    for each in summarise(Sample.of([result]), resamples=0, astm=METHODS).grain_size_numbers:
        cells = page.rows[each.method]
        assert (cells[0], float(cells[2])) == (text(each.g), each.count)
    assert "not_filled" in page.flags
    assert "Largest grain (ASTM E930)" in page.words


def test_a_pdf_without_grains_is_one_as_well() -> None:
    assert to_pdf(report(measured(discs(0)))).startswith(b"%PDF-")


def test_the_examples_for_python_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GRAINSERVE_BUCKET", raising=False)
    Path("results").mkdir()
    for seed in (1, 2):
        discs(20, seed=seed).to_json(f"results/dune{seed}.json")
    for block in re.findall(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL):
        exec(compile(block, DOCS.name, "exec"), {})
    assert "warning few_grains {'grains': 20" in capsys.readouterr().out
    assert "40 grains in 2 images" in Path("dune.html").read_text(encoding="utf-8")
    assert len(re.findall(rb"/Type /Page\b", Path("dune.pdf").read_bytes())) >= 3


def test_a_report_says_what_intervals_hold_for_and_what_they_include() -> None:
    plain = to_html(report(measured(discs(60))))
    assert "They hold for the places imaged" in plain
    assert "They include: scale taken as exact" in plain
    assert "Parts of the intervals" not in plain
    found = sample_report([measured(discs(60))], title="Dune", scale_error=0.02, outline_error=0.5, made=MADE)
    page = to_html(found)
    assert "They include: scale ± 2 %, outlines ± 0.5 px" in page
    assert "Parts of the intervals" in page
    assert "and hold for the places imaged" in page, "beside the figure"
