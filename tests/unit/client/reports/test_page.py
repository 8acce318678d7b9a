"""A report in a real browser."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import expect

from grainserve.reports.document import Report, Section, Table
from grainserve.reports.html import to_html
from grainserve.reports.sample import sample_report
from tests.browser import browsing, needs_chromium
from tests.unit.client.reports.grains import discs, measured

pytestmark = needs_chromium

PAPER = 680
"""Width between the margins of A4, px."""


def test_a_page_shows_its_pictures_and_fits_its_window_and_a_sheet_of_paper(tmp_path: Path) -> None:
    images = [measured(discs(60, seed=seed), f"dune{seed}.png") for seed in range(2)]
    file = tmp_path / "dune.html"
    file.write_text(to_html(sample_report(images, title="Dune")), encoding="utf-8")
    with browsing(file.as_uri()) as page:
        expect(page.locator("h1")).to_have_text("Dune")
        sizes = page.eval_on_selector_all("img", "all => all.map(each => [each.naturalWidth, each.width, each.alt])")
        assert len(sizes) == 5
        assert all(natural > 0 and shown > 0 and words for natural, shown, words in sizes)
        for width in (400, 1200):
            page.set_viewport_size({"width": width, "height": 800})
            assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.pdf(prefer_css_page_size=True).startswith(b"%PDF-")
        page.set_content(to_html(_of_many_samples(10)))
        page.set_viewport_size({"width": PAPER, "height": 800})
        page.emulate_media(media="print")
        assert page.evaluate("document.documentElement.scrollWidth") <= PAPER, "paper does not scroll"


def _of_many_samples(count: int) -> Report:
    head, row = ("", *(f"sample {index}" for index in range(count))), ("D50 (µm)", *["104.4 [101.0, 108.0]"] * count)
    return Report("Sands", "", (Section("Sizes", (Table("Sizes.", head, (row,)),)),), "")
