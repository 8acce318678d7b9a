"""The page, in a real browser."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from grainserve import Result
from tests.browser import browsing, needs_chromium
from tests.unit.client.fake_torchserve import BUSY, TOO_LARGE, FakeTorchServe
from tests.unit.client.made import DISCS, WIDTH, make_result
from tests.unit.gateway.conftest import Start
from tests.unit.gateway.test_jobs import keys

pytestmark = needs_chromium


def drop(page: Page, picture: Path) -> None:
    page.set_input_files("#file", picture)


def test_an_image_is_dropped_and_its_grains_are_seen(start: Start, picture: Path, tmp_path: Path) -> None:
    with browsing(start(dispatch=True).url) as page:
        page.fill("[name=um_per_px]", "2")
        drop(page, picture)
        expect(page.locator("#images em")).to_have_text(f"{len(DISCS)} grains")
        expect(page.locator("#grains tbody tr")).to_have_count(len(DISCS))
        expect(page.locator("#grains th").nth(2)).to_have_text("diameter (µm)")
        d50 = f"{Result(make_result(um_per_px=2.0)).percentile(50):.3g}"
        expect(page.locator("#percentiles")).to_contain_text("By number, corrected for the frame (3 whole grains of 4")
        expect(page.locator("#percentiles")).to_contain_text(f"D50 {d50} µm")
        assert page.locator("#curve polyline.number").get_attribute("points")

        x, y, radius = DISCS[1]
        box = page.locator("#marked").bounding_box()
        assert box is not None
        scale = box["width"] / WIDTH
        page.mouse.move(box["x"] + x * scale, box["y"] + y * scale)
        tip = page.locator("#tip")
        expect(tip).to_be_visible()
        marked = page.locator("#grains tr.marked td")
        assert float(marked.nth(2).inner_text()) == pytest.approx(2 * 2 * radius, rel=0.03), "µm, at 2 µm per px"
        expect(tip).to_contain_text(f"grain {marked.nth(0).inner_text()}")
        colour = page.evaluate(
            """([x, y]) => { const canvas = document.querySelector("#marked");
            return [...canvas.getContext("2d").getImageData(x * canvas.width, y * canvas.height, 1, 1).data]; }""",
            [x / WIDTH, y * scale / box["height"]],
        )
        assert colour[3] > 0, "the grain under the pointer is filled"
        page.mouse.move(box["x"] + 1, box["y"] + 1)
        expect(tip).to_be_hidden()

        with page.expect_download() as download:
            page.click("[data-format=csv]")
        assert download.value.suggested_filename == "sand.csv"
        download.value.save_as(tmp_path / "sand.csv")
        with (tmp_path / "sand.csv").open() as file:
            assert len(list(csv.DictReader(file))) == len(DISCS)
        for name, kind in (("json", "sand.json"), ("overlay", "sand.overlay.png"), ("sizes", "sand.sizes.png")):
            with page.expect_download() as download:
                page.click(f"[data-format={name}]")
            assert download.value.suggested_filename == kind

        page.reload()
        expect(page.locator("#images em")).to_have_text(f"{len(DISCS)} grains")
        page.click("#images li")
        expect(page.locator("#grains tbody tr")).to_have_count(len(DISCS))

        page.click("header a")
        expect(page.locator("h2").first).to_have_text("POST /upload")


def test_the_pages_sizes_are_pythons(start: Start) -> None:
    """A page's D_p of random results, some of a part of their image, and those of `Result`."""
    rng = np.random.default_rng(20)
    results = [random_result(rng) for _ in range(100)]
    percents = [1, 5, 10, 37.5, 50, 84, 90, 99]
    with browsing(start().url) as page:
        found = page.evaluate(
            """async ([results, percents]) => {
            const { percentile, sizeCurve, standsFor } = await import("/page/curve.js");
            return results.map(({ metadata, segmentedObjects }) =>
              [() => 1, (grain) => grain.properties.area].map((weight) => {
                const frame = metadata.frame ?? metadata.image, size = (grain) => grain.properties.equivalentDiameter;
                const counts = (grain) => standsFor(grain.properties, frame) * weight(grain);
                const curve = sizeCurve(segmentedObjects, size, counts);
                return percents.map((percent) => curve.length ? percentile(curve, percent / 100) : null);
              }));
            }""",
            [results, percents],
        )
    assert sum(found[index] == [[None] * len(percents)] * 2 for index in range(100)) > 1, "the frame cuts every grain"
    for result, (number, area) in zip(map(Result, results), found, strict=True):
        for weighting, values in (("number", number), ("area", area)):
            expected = result.size_curve(weighting).percentiles(percents)  # type: ignore[arg-type]
            assert [np.nan if value is None else value for value in values] == pytest.approx(expected, nan_ok=True)


def random_result(rng: np.random.Generator) -> dict[str, Any]:
    """One to eight rectangles in a frame of 40 × 30 px, which cuts some."""
    masks = []
    for x, y, width, height in rng.integers((0, 0, 1, 1), (40, 30, 30, 20), (rng.integers(1, 9), 4)):
        mask = np.zeros((50, 60), bool)
        mask[y : min(y + height, 30), x : min(x + width, 40)] = True
        masks.append(mask)
    data = make_result(masks=masks)
    data["metadata"]["frame"] = {"x": 0, "y": 0, "width": 40, "height": 30}
    if rng.random() < 0.3:
        del data["metadata"]["frame"]
    else:
        for grain in data["segmentedObjects"]:
            box = grain["properties"]["boundingBox"]
            ends = box["x"] + box["width"], box["y"] + box["height"]
            grain["properties"]["touchesEdge"] |= ends[0] == 40 or ends[1] == 30
    return data


def test_what_is_wrong_is_said(start: Start, picture: Path, tmp_path: Path, torchserve: FakeTorchServe) -> None:
    torchserve.script = [BUSY, TOO_LARGE]
    text = tmp_path / "notes.png"
    text.write_text("no image")
    with browsing(start(dispatch=True).url) as page:
        drop(page, text)
        expect(page.locator("#message")).to_contain_text("notes.png: this is not an image")
        drop(page, picture)
        expect(page.locator("#message")).to_contain_text("sand.png: the image is 4000 px wide")
        expect(page.locator("#images em").first).to_have_text("failed")


def test_a_key_is_asked_for_where_one_is_needed(start: Start, picture: Path) -> None:
    known, (key,) = keys()
    with browsing(start(dispatch=True, keys=known).url) as page:
        expect(page.locator("#key")).to_be_hidden()
        drop(page, picture)
        expect(page.locator("#message")).to_contain_text("no valid API key")
        page.fill("[name=key]", key)
        drop(page, picture)
        expect(page.locator("#grains tbody tr")).to_have_count(len(DISCS))


def test_a_decimal_comma_is_one_and_what_is_no_number_is_told(
    start: Start, picture: Path, torchserve: FakeTorchServe
) -> None:
    with browsing(start(dispatch=True).url) as page:
        page.fill("[name=um_per_px]", "2,5")
        drop(page, picture)
        expect(page.locator("#images em")).to_have_text(f"{len(DISCS)} grains")
        assert torchserve.requests[0][1]["um_per_px"] == 2.5
        page.fill("[name=um_per_px]", "2,5 µm")
        drop(page, picture)
        expect(page.locator("#message")).to_contain_text("the scale is “2,5 µm”")
        assert len(torchserve.requests) == 1


def test_two_tabs_share_one_list(start: Start, picture: Path, tmp_path: Path) -> None:
    other = tmp_path / "gravel.png"
    other.write_bytes(picture.read_bytes())
    with browsing(start(dispatch=True).url) as page:
        with page.expect_popup() as opened:
            page.evaluate("window.open(location.href)")
        second = opened.value
        drop(page, picture)
        expect(page.locator("#images em")).to_have_text(f"{len(DISCS)} grains")
        expect(second.locator("#images li")).to_have_count(1)
        drop(second, other)
        for tab in (second, page):
            expect(tab.locator("#images em")).to_have_text([f"{len(DISCS)} grains"] * 2)
        page.reload()
        expect(page.locator("#images span")).to_have_text(["gravel.png", "sand.png"])


def test_the_reason_of_a_failure_stays_while_others_are_polled(
    start: Start, picture: Path, tmp_path: Path, torchserve: FakeTorchServe
) -> None:
    text = tmp_path / "notes.png"
    text.write_text("no image")
    running = start(dispatch=False)
    with browsing(running.url) as page:
        drop(page, picture)
        expect(page.locator("#images em").first).to_contain_text("queued")
        drop(page, text)
        expect(page.locator("#message")).to_contain_text("notes.png: this is not an image")
        with page.expect_response("**/image-analysis*"):
            pass
        with page.expect_response("**/image-analysis*"):
            pass
        expect(page.locator("#message")).to_contain_text("notes.png: this is not an image")


@pytest.mark.parametrize("kept", ["{", "null", "3", '{"a": 1}', '[null, 3, {"imageId": 5}]'])
def test_a_list_that_is_none_does_no_harm(start: Start, picture: Path, kept: str) -> None:
    with browsing(start(dispatch=True).url) as page:
        page.evaluate("kept => localStorage.setItem('grainserve-images', kept)", kept)
        page.reload()
        drop(page, picture)
        expect(page.locator("#images em")).to_have_text(f"{len(DISCS)} grains")
