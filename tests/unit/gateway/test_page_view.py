"""The page's view of one image: its picture, table, numbers, scale and files."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from grainserve import Result
from grainserve.exports.formats import FORMATS
from grainserve.gateway.keys import Caller
from grainserve.jobs.markers import Ticket
from grainserve.jobs.store import Claim
from grainserve.results.edge_correction import inclusion, stands_for
from tests.browser import browsing, needs_chromium
from tests.unit.client.made import make_result
from tests.unit.gateway.conftest import Start, png
from tests.unit.gateway.paged import expect_accessible, known_keys
from tests.unit.gateway.sampled import discs, measured, sample
from tests.unit.gateway.viewed import (
    camera,
    colour,
    expect_painted,
    expect_pinned,
    middle,
    open_view,
    place,
    row,
    viewing,
)

pytestmark = needs_chromium


def cut(result: dict[str, Any], *, whether: bool = True) -> int:
    """Returns the first grain that the frame cuts, or the first that it does not."""
    found = (each["id"] for each in result["segmentedObjects"] if each["properties"]["touchesEdge"] is whether)
    return int(next(found))


# Picture -------------------------------------------------------------------------------------------------------------


def test_a_grain_under_the_pointer_is_told_and_its_row_marked(start: Start) -> None:
    gateway, result = start(), discs(3)
    with viewing(gateway, measured(gateway, result)) as page:
        before = colour(page, *middle(result, 13))
        page.mouse.move(*place(page, *middle(result, 13)))
        tip = page.locator("#tip")
        size = result["segmentedObjects"][12]["properties"]["equivalentDiameter_um"]
        expect(tip).to_contain_text("Grain 13")
        expect(tip).to_contain_text(f"Diameter {size:.1f} µm")
        expect(row(page, 13)).to_have_class("marked")
        assert list(colour(page, *middle(result, 13))) != list(before), "the grain under the pointer is filled"
        page.mouse.move(*place(page, 1, 1))
        expect(tip).to_be_hidden()
        expect(page.locator("#grains tr.marked")).to_have_count(0)


def test_a_click_pins_a_grain_in_picture_table_and_address(start: Start) -> None:
    gateway, result = start(), discs(3)
    image_id = measured(gateway, result)
    with viewing(gateway, image_id) as page:
        page.mouse.click(*place(page, *middle(result, 23)))
        expect_pinned(page, 23)
        expect(row(page, 23)).to_be_in_viewport()
        assert page.url.endswith(f"#/image/{image_id}/grain/23")
        page.mouse.click(*place(page, 1, 1))
        expect_pinned(page, None)
        assert page.url.endswith(f"#/image/{image_id}")
        page.mouse.click(*place(page, *middle(result, 13)))
        page.keyboard.press("Escape")
        expect_pinned(page, None)


def test_an_address_opens_with_its_grain(start: Start) -> None:
    gateway, result = start(), discs(3)
    with viewing(gateway, measured(gateway, result), grain=24) as page:
        expect_pinned(page, 24)
        expect(row(page, 24).locator("button")).to_be_attached()


def test_rows_are_pointed_at_and_chosen_like_grains(start: Start) -> None:
    gateway, result = start(), discs(3)
    image_id = measured(gateway, result)
    with viewing(gateway, image_id) as page:
        page.set_viewport_size({"width": 1700, "height": 1000})
        plain = colour(page, *middle(result, 8))
        row(page, 8).hover()
        hovered = colour(page, *middle(result, 8))
        assert list(hovered) != list(plain)
        row(page, 8).locator("td").first.click()
        expect_pinned(page, 8)
        assert page.url.endswith("/grain/8")


def test_the_wheel_enlarges_about_the_pointer(start: Start) -> None:
    gateway, result = start(), discs(3)
    with viewing(gateway, measured(gateway, result)) as page:
        fitted, (left, top) = camera(page), place(page, 60, 140)
        page.mouse.move(left, top)
        page.mouse.wheel(0, -240)
        page.wait_for_function("scale => +picture.dataset.view.split(' ')[0] > scale", arg=fitted.scale)
        assert place(page, 60, 140) == pytest.approx((left, top), abs=0.5)
        assert page.evaluate("document.querySelector('main').scrollTop") == 0, "the page stays where it is"
        page.mouse.dblclick(left, top)
        page.mouse.wheel(0, 2000)
        page.click("[data-act=fit]")
        assert camera(page) == fitted


def test_a_double_click_enlarges_twice(start: Start) -> None:
    gateway, result = start(), discs(3)
    with viewing(gateway, measured(gateway, result)) as page:
        before, (left, top) = camera(page), place(page, 60, 140)
        page.mouse.dblclick(left, top)
        assert camera(page).scale == pytest.approx(2 * before.scale, rel=1e-4)
        assert place(page, 60, 140) == pytest.approx((left, top), abs=0.5)


def test_dragging_moves_the_picture_and_pins_nothing(start: Start) -> None:
    gateway, result = start(), discs(3)
    with viewing(gateway, measured(gateway, result)) as page:
        page.click("[data-act=in]")
        page.click("[data-act=in]")
        left, top = place(page, *middle(result, 13))
        page.mouse.move(left, top)
        page.mouse.down()
        page.mouse.move(left + 40, top + 30, steps=4)
        page.mouse.up()
        assert place(page, *middle(result, 13)) == pytest.approx((left + 40, top + 30), abs=0.5)
        expect_pinned(page, None)


class Fingers:
    """Fingers on a page."""

    def __init__(self, page: Page) -> None:
        self._session = page.context.new_cdp_session(page)

    def do(self, kind: str, *places: tuple[float, float]) -> None:
        """Lets fingers be at these places: `touchStart`, `touchMove` or, with none, `touchEnd`."""
        points = [{"x": x, "y": y, "id": number} for number, (x, y) in enumerate(places)]
        self._session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})


def test_two_fingers_enlarge_one_moves_and_a_tap_pins(start: Start) -> None:
    gateway, result = start(), discs(3)
    with viewing(gateway, measured(gateway, result)) as page:
        before, (left, top), fingers = camera(page), place(page, *middle(result, 13)), Fingers(page)
        fingers.do("touchStart", (left - 40, top))
        fingers.do("touchStart", (left - 40, top), (left + 40, top))
        for apart in (60, 80, 100):
            fingers.do("touchMove", (left - apart, top), (left + apart, top))
        fingers.do("touchEnd")
        assert camera(page).scale == pytest.approx(2.5 * before.scale, rel=0.01)
        assert place(page, *middle(result, 13)) == pytest.approx((left, top), abs=1)
        expect_pinned(page, None)

        fingers.do("touchStart", (left, top))
        for far in (10, 20, 30):
            fingers.do("touchMove", (left + far, top + far))
        fingers.do("touchEnd")
        moved = place(page, *middle(result, 13))
        assert moved == pytest.approx((left + 30, top + 30), abs=1)
        fingers.do("touchStart", moved)
        fingers.do("touchEnd")
        expect_pinned(page, 13)


def test_keys_do_all_that_the_mouse_does(start: Start) -> None:
    gateway, result = start(), discs(3)
    with viewing(gateway, measured(gateway, result)) as page:
        fitted = camera(page)
        page.focus("#picture")
        for key, factor in (("+", 1.4), ("-", 1 / 1.4)):
            before = camera(page).scale
            page.keyboard.press(key)
            assert camera(page).scale == pytest.approx(factor * before, rel=1e-4)
        page.keyboard.press("0")
        assert camera(page) == fitted
        for _ in range(4):
            page.keyboard.press("+")
        for key, moved in (("ArrowLeft", (-60, 0)), ("ArrowDown", (0, 60))):
            before_move = camera(page)
            page.keyboard.press(key)
            after = camera(page)
            shift = ((after.x - before_move.x) * after.scale, (after.y - before_move.y) * after.scale)
            assert shift == pytest.approx(moved, abs=0.5)
        page.keyboard.press("0")
        page.keyboard.press("Enter")
        expect_pinned(page, 13)
        for key, grain in (("n", 14), ("n", 15), ("p", 14), ("N", 15)):
            page.keyboard.press(key)
            expect_pinned(page, grain)
        expect(page.locator("#tip")).to_contain_text("Grain 15")
        page.keyboard.press("Escape")
        expect_pinned(page, None)
        expect(page.locator("#picture-help")).to_contain_text("Escape lets go")


def test_outlines_lie_on_the_masks_and_can_be_hidden(start: Start) -> None:
    """Rings around all pixels of a mask and no others: the even-odd rule gives the mask back, from every format."""
    mask = np.random.default_rng(7).random((30, 40)) < 0.5
    mask[5:20, 8:25] = True
    mask[9:12, 12:15] = False
    with browsing(start().url) as page:
        for mask_format in ("rle", "png", "polygon"):
            result = make_result(masks=[mask], mask_format=mask_format)
            found = page.evaluate(
                """async ([result, width, height]) => { const { shapesOf, holds } = await import("/page/masks.js");
                const [shape] = await shapesOf(result), rows = [];
                for (let y = 0; y < height; y++)
                  rows.push(Array.from({ length: width }, (_, x) => holds(shape, x + 0.5, y + 0.5)));
                return rows; }""",
                [result, 40, 30],
            )
            assert (np.array(found) == mask).all(), mask_format


def test_outlines_can_be_hidden(start: Start) -> None:
    gateway, result = start(), discs(3)
    with viewing(gateway, measured(gateway, result)) as page:
        box = result["segmentedObjects"][12]["properties"]["boundingBox"]
        edge = box["x"] + box["width"] / 2, box["y"] + 0.02
        outlined = colour(page, *edge)
        page.locator("#outlines").uncheck()
        expect_painted(page)
        assert list(colour(page, *edge)) != list(outlined)


def test_cut_grains_are_marked_and_explained(start: Start) -> None:
    gateway, result = start(), discs(3)
    with viewing(gateway, measured(gateway, result)) as page:
        expect(page.locator(".meaning")).to_contain_text("cut by the frame: counts in no size")
        expect(row(page, cut(result)).locator("abbr")).to_have_attribute(
            "title", "Cut by the frame: sizes are taken without it"
        )
        expect(row(page, cut(result, whether=False)).locator("abbr")).to_have_count(0)
        page.mouse.move(*place(page, *middle(result, cut(result))))
        expect(page.locator("#tip")).to_contain_text("counts in no size")


def test_the_marks_are_those_of_the_correction(start: Start) -> None:
    """Grains that the page marks as left out, of random results, and those that Python leaves out."""
    rng = np.random.default_rng(20)
    results = [random_result(rng) for _ in range(100)]
    with browsing(start().url) as page:
        found = page.evaluate(
            """async (results) => { const { frameOf, leftOut } = await import("/page/measures.js");
            const left = (result) => result.segmentedObjects.map((grain) => leftOut(grain, frameOf(result)));
            return results.map(left); }""",
            results,
        )
    expected = []
    for data in results:
        result, table = Result(data), Result(data).to_dataframe()
        frame = result.metadata.get("frame") or result.metadata["image"]
        boxes = [each["properties"]["boundingBox"] for each in data["segmentedObjects"]]
        chance = inclusion(
            np.array([[box["width"], box["height"]] for box in boxes], float),
            np.array([[frame["width"], frame["height"]]] * len(boxes), float),
        )
        edge = np.array([each["properties"]["touchesEdge"] for each in data["segmentedObjects"]])
        counts = stands_for(np.ones(len(table)), edge, chance, edge_correction=True)
        expected.append((counts == 0).tolist())
    assert found == expected
    assert any(map(any, expected))
    assert not all(map(all, expected))


def random_result(rng: np.random.Generator) -> dict[str, Any]:
    """One to eight rectangles in a frame of 40 × 30 px, which cuts some."""
    masks = []
    for x, y, width, height in rng.integers((0, 0, 1, 1), (40, 30, 30, 20), (rng.integers(1, 9), 4)):
        mask = np.zeros((50, 60), bool)
        mask[y : min(y + height, 30), x : min(x + width, 40)] = True
        masks.append(mask)
    data = make_result(masks=masks)
    if rng.random() < 0.3:
        return data
    data["metadata"]["frame"] = {"x": 0, "y": 0, "width": 40, "height": 30}
    for grain in data["segmentedObjects"]:
        box = grain["properties"]["boundingBox"]
        ends = box["x"] + box["width"], box["y"] + box["height"]
        grain["properties"]["touchesEdge"] |= ends[0] == 40 or ends[1] == 30
    return data


def test_grains_are_coloured_by_a_measure_with_a_legend(start: Start) -> None:
    gateway, result = start(), discs(3)
    for number, each in enumerate(result["segmentedObjects"]):
        each["class"] = ("feldspar", "quartz")[number % 2]
        each["score"] = 0.5 + number / 50
    sizes = sorted(each["properties"]["equivalentDiameter_um"] for each in result["segmentedObjects"])
    with viewing(gateway, measured(gateway, result)) as page:
        plain = colour(page, *middle(result, 13))
        legend = {
            "size": [f"{sizes[0]:.3g}", f"{sizes[-1]:.3g}"],
            "class": ["feldspar", "quartz"],
            "score": ["0.5", "0.98"],
            "orientation": ["0°", "90°", "180°"],
        }
        seen = {tuple(plain)}
        for way, texts in legend.items():
            page.select_option("#colour", way)
            for text in texts:
                expect(page.locator(".meaning")).to_contain_text(text)
            expect_painted(page)
            seen.add(tuple(colour(page, *middle(result, 13))))
        assert len(seen) == 5
        page.select_option("#colour", "orientation")
        expect_accessible(page)
        page.get_by_label("Language").select_option("de")
        page.select_option("#colour", "score")
        expect(page.locator(".meaning")).to_contain_text("0,98")


def test_a_frame_smaller_than_the_image_is_shown(start: Start) -> None:
    gateway, result = start(), discs(3)
    result["metadata"]["frame"] = {"x": 0, "y": 0, "width": 200, "height": 170}
    result["metadata"]["warnings"] = ["the lowest 30 rows are a databar"]
    with viewing(gateway, measured(gateway, result)) as page:
        expect(page.locator(".meaning")).to_contain_text("only this part was measured")
        expect(page.locator(".figures")).to_contain_text("the lowest 30 rows are a databar")


def test_closer_looks_fetch_sharper_parts(start: Start) -> None:
    gateway = start()
    mask = np.zeros((300, 2600), bool)
    mask[100:200, 2500:2560] = True
    store, result = gateway.service.store, make_result(masks=[mask])
    submitter = store.job(measured(gateway, discs(3))).submitter
    image_id = store.submit(png(2600, 300), model="sam_tiny", version=None, options={}, submitter=submitter)
    claim = store.claim(Ticket(submitter, image_id), "test")
    assert isinstance(claim, Claim)
    result["metadata"]["imageId"] = image_id
    store.finish(claim, result)
    with viewing(gateway, image_id) as page:
        page.wait_for_load_state("networkidle")
        with page.expect_response(lambda answer: "/tiles/" in answer.url) as answer:
            page.mouse.move(*place(page, 2530, 150))
            for _ in range(6):
                page.mouse.wheel(0, -240)
        assert answer.value.ok
        expect(page.locator("#tip")).to_contain_text("Grain 1")


# Table ---------------------------------------------------------------------------------------------------------------


def shown_ids(page: Page) -> list[int]:
    return [
        int(each) for each in page.locator("#grains tbody tr").evaluate_all("rows => rows.map(row => row.dataset.id)")
    ]


def test_the_table_sorts_by_every_column(start: Start) -> None:
    gateway, result = start(), discs(3)
    objects = result["segmentedObjects"]
    with viewing(gateway, measured(gateway, result)) as page:
        expect(page.locator("#grains thead th").nth(1)).to_have_text("Diameter (µm)")
        header = page.get_by_role("columnheader", name="Diameter")
        header.get_by_role("button").click()
        expect(header).to_have_attribute("aria-sort", "descending")
        by_size = sorted(objects, key=lambda each: (-each["properties"]["equivalentDiameter"], each["id"]))
        assert shown_ids(page)[:10] == [each["id"] for each in by_size[:10]]
        header.get_by_role("button").click()
        expect(header).to_have_attribute("aria-sort", "ascending")
        assert shown_ids(page)[0] == min(objects, key=lambda each: each["properties"]["equivalentDiameter"])["id"]
        page.get_by_role("columnheader", name="No.").get_by_role("button").click()
        assert shown_ids(page)[:3] == [1, 2, 3]


def test_the_table_filters_by_value_class_and_frame(start: Start) -> None:
    gateway, result = start(), discs(3)
    objects = result["segmentedObjects"]
    for number, each in enumerate(objects):
        each["class"] = ("feldspar", "quartz")[number % 2]
    with viewing(gateway, measured(gateway, result)) as page:
        status = page.locator(".filters [role=status]")
        expect(status).to_have_text("25 grains")
        page.fill("[name=least]", "40,5")
        large = [each["id"] for each in objects if each["properties"]["equivalentDiameter_um"] >= 40.5]
        expect(status).to_have_text(f"{len(large)} of 25 grains")
        assert set(shown_ids(page)) <= set(large)
        small = next(each["id"] for each in objects if each["id"] not in large)
        page.mouse.move(*place(page, *middle(result, small)))
        expect(page.locator("#tip")).to_be_hidden()
        page.fill("[name=least]", "forty")
        expect(page.locator("[name=least]")).to_have_attribute("aria-invalid", "true")
        expect(status).to_have_text("25 grains")
        page.fill("[name=least]", "")
        page.get_by_label("only whole grains").check()
        whole = [each["id"] for each in objects if not each["properties"]["touchesEdge"]]
        expect(status).to_have_text(f"{len(whole)} of 25 grains")
        page.get_by_label("Class", exact=True).select_option("quartz")
        both = [each["id"] for each in objects if each["id"] in whole and each["class"] == "quartz"]
        expect(status).to_have_text(f"{len(both)} of 25 grains")
        page.fill("[name=most]", "0")
        expect(page.locator(".none")).to_have_text("No grain fits these filters.")
        expect_accessible(page)


def test_thousands_of_rows_are_few_elements(start: Start) -> None:
    gateway = start()
    result = make_result(um_per_px=2.0)
    first = result["segmentedObjects"][0] | {"mask": None}
    result["segmentedObjects"] = [json.loads(json.dumps(first)) | {"id": number} for number in range(1, 3001)]
    with viewing(gateway, measured(gateway, result)) as page:
        rows = page.locator("#grains tbody tr")
        assert rows.count() < 60
        expect(page.locator("#grains")).to_have_attribute("aria-rowcount", "3001")
        page.locator(".table.grains").evaluate("scroller => scroller.scrollTop = scroller.scrollHeight")
        expect(row(page, 3000)).to_be_visible()
        expect(row(page, 3000)).to_have_attribute("aria-rowindex", "3001")
        assert rows.count() < 60


def test_keys_go_through_the_rows(start: Start) -> None:
    gateway, result = start(), discs(3)
    with viewing(gateway, measured(gateway, result)) as page:
        row(page, 1).locator("button").focus()
        page.keyboard.press("ArrowDown")
        expect(row(page, 2).locator("button")).to_be_focused()
        page.keyboard.press("End")
        expect(row(page, 25).locator("button")).to_be_focused()
        page.keyboard.press("Enter")
        expect_pinned(page, 25)
        page.keyboard.press("Escape")
        expect_pinned(page, None)


# Numbers -------------------------------------------------------------------------------------------------------------


def test_the_numbers_are_the_gateways(start: Start) -> None:
    gateway, result = start(), discs(3)
    image_id = measured(gateway, result)
    told = gateway.ask("GET", f"/image-analysis?imageId={image_id}&format=statistics").json()
    own = Result(result)
    with viewing(gateway, image_id) as page:
        for number, percent in enumerate((10, 50, 90)):
            assert told["number"]["percentiles"][str(percent)]["value"] == pytest.approx(own.percentile(percent))
            expect(page.locator("#figures dd").nth(number)).to_contain_text(f"{own.percentile(percent):.3g} µm")
        expect(page.locator("#figures dd").nth(3)).to_contain_text("25")
        expect(page.locator("#figures dd").nth(3)).to_contain_text(f"sizes from {told['used']}, {told['atEdge']} cut")
        expect(page.locator(".curve-of polyline")).to_have_count(2)
        expect(page.locator("#percentiles")).to_contain_text("Miles–Lantuéjoul")
        expect_accessible(page)


# Scale ---------------------------------------------------------------------------------------------------------------


def open_scale(page: Page) -> None:
    page.locator(".scale summary").click()


def test_a_scale_is_typed_and_everything_follows(start: Start) -> None:
    gateway, result = start(), discs(3, um_per_px=None)
    image_id = measured(gateway, result)
    with viewing(gateway, image_id) as page:
        expect(page.locator("#grains thead th").nth(1)).to_have_text("Diameter (px)")
        bar = colour(page, 191, 192)
        open_scale(page)
        page.get_by_label("Another scale").fill("2,5 µm/px")
        page.keyboard.press("Enter")
        expect(page.locator(".scale .echo").first).to_have_text("Understood: 1 px is 2.5 µm. All numbers follow.")
        expect(page.locator(".scale summary")).to_contain_text("1 px is 2.5 µm · typed")
        expect(page.locator("#grains thead th").nth(1)).to_have_text("Diameter (µm)")
        size = 2.5 * result["segmentedObjects"][0]["properties"]["equivalentDiameter"]
        expect(row(page, 1).locator("td").first).to_have_text(f"{size:.1f}")
        expect(page.locator("#figures dd").nth(1)).to_contain_text(f"{2.5 * Result(result).percentile(50):.3g} µm")
        assert list(colour(page, 191, 192)) != list(bar), "the picture has a scale bar"

        page.get_by_label("Another scale").fill("much")
        page.keyboard.press("Enter")
        expect(page.locator(".scale .echo").first).to_contain_text("µm/px")
        expect(page.locator(".scale .echo").first).to_have_class("echo bad")
        expect(page.locator(".scale summary")).to_contain_text("1 px is 2.5 µm")
        expect_accessible(page)
        page.get_by_role("button", name="No scale").click()
        expect(page.locator("#grains thead th").nth(1)).to_have_text("Diameter (px)")
        expect(page.locator(".revisions li").nth(1)).to_contain_text("taken away")
        expect(page.locator(".revisions li").nth(2)).to_contain_text("2.5 µm/px, typed")


def test_a_known_length_is_drawn(start: Start) -> None:
    gateway, result = start(), discs(3, um_per_px=None)
    image_id = measured(gateway, result)
    with viewing(gateway, image_id) as page:
        open_scale(page)
        page.get_by_role("button", name="Draw a known length").click()
        page.locator("#picture").scroll_into_view_if_needed()
        page.mouse.move(*place(page, 20, 50))
        page.mouse.down()
        page.mouse.move(*place(page, 120, 50), steps=3)
        page.mouse.up()
        field = page.locator("#line-length")
        expect(field).to_be_focused()
        expect(page.locator("label[for=line-length]")).to_contain_text("This line of")
        field.fill("250 µm")
        page.keyboard.press("Enter")
        expect(page.locator("#grains thead th").nth(1)).to_have_text("Diameter (µm)")
        expect(page.locator(".scale summary")).to_contain_text("from a line of known length")
        expect_pinned(page, None)
        scale = gateway.ask("GET", f"/images/{image_id}/scale").json()
        assert scale["umPerPx"] == pytest.approx(2.5, rel=0.02)
        assert scale["line"]["x2"] - scale["line"]["x1"] == pytest.approx(100, rel=0.02)
        page.get_by_role("button", name="Draw a known length").click()
        page.keyboard.press("Escape")
        expect(field).to_be_hidden()


def test_a_scale_is_copied_to_a_sample(start: Start) -> None:
    gateway = start()
    first, second = (measured(gateway, discs(seed, um_per_px=None)) for seed in (3, 4))
    sample(gateway, [first, second], name="<b>dune</b>")
    with viewing(gateway, first) as page:
        open_scale(page)
        page.get_by_label("Another scale").fill("0.4 px/µm")
        page.keyboard.press("Enter")
        expect(page.locator("#scale-sample option")).to_have_text("<b>dune</b>: 1 other image")
        page.get_by_role("button", name="Copy").click()
        expect(page.locator("#toasts")).to_contain_text("1 image has this scale now.")
        open_view(page, second)
        expect(page.locator(".scale summary")).to_contain_text("1 px is 2.5 µm · copied from another image")


def test_who_may_only_look_changes_no_scale(start: Start) -> None:
    known, (writer, reader) = known_keys(Caller("lab"), Caller("lab", read_only=True))
    gateway = start(keys=known)
    image_id = measured(gateway, discs(3), writer)
    with browsing(gateway.url) as page:
        page.evaluate("key => sessionStorage.setItem('grainserve-key', key)", reader)
        page.reload()
        open_view(page, image_id)
        open_scale(page)
        expect(page.locator("#scale-text")).to_be_hidden()
        expect(page.locator("#grains tbody tr").first).to_be_visible()


# States --------------------------------------------------------------------------------------------------------------


def test_a_result_without_masks_has_boxes(start: Start) -> None:
    gateway, result = start(), discs(3, mask_format="none")
    with viewing(gateway, measured(gateway, result)) as page:
        expect(page.locator(".meaning")).to_contain_text("boxes stand for outlines")
        page.mouse.move(*place(page, *middle(result, 13)))
        expect(page.locator("#tip")).to_contain_text("Grain 13")


def test_an_image_without_grains_is_calm(start: Start) -> None:
    gateway, result = start(), discs(3)
    result["segmentedObjects"] = []
    with viewing(gateway, measured(gateway, result)) as page:
        expect(page.locator(".figures")).to_have_text("No grain was found in this image.")
        expect(page.locator(".filters [role=status]")).to_have_text("0 grains")
        expect(page.locator("#alerts")).to_be_empty()
        page.focus("#picture")
        page.keyboard.press("n")
        page.keyboard.press("Enter")
        expect_accessible(page)


def test_an_image_whose_grains_are_all_cut_is_calm(start: Start) -> None:
    gateway, result = start(), discs(3)
    for each in result["segmentedObjects"]:
        each["properties"]["touchesEdge"] = True
    with viewing(gateway, measured(gateway, result)) as page:
        expect(page.locator(".figures")).to_contain_text("The frame cuts all 25 grains")
        expect(page.locator(".curve-of svg")).to_have_count(0)
        expect(page.locator("#grains tbody tr").first).to_be_visible()


def test_a_picture_that_cannot_be_shown_is_said(start: Start) -> None:
    gateway, result = start(), discs(3)
    image_id = measured(gateway, result)
    with browsing(gateway.url) as page:
        refusal = {"status": 415, "json": {"error": {"code": "unsupported_format", "message": "not read"}}}
        page.route("**/preview*", lambda route: route.fulfill(**refusal))
        open_view(page, image_id)
        expect(page.locator(".picture-of [role=status]").first).to_contain_text("The picture cannot be shown here")
        page.mouse.move(*place(page, *middle(result, 13)))
        expect(page.locator("#tip")).to_contain_text("Grain 13")
        expect_accessible(page)


# Files ---------------------------------------------------------------------------------------------------------------


def test_every_format_can_be_saved(start: Start, tmp_path: Path) -> None:
    gateway, result = start(), discs(3)
    image_id = measured(gateway, result)
    gateway.ask("PATCH", f"/images/{image_id}", json={"name": "dune 7.tif"})
    with viewing(gateway, image_id) as page:
        with page.expect_download() as download:
            page.get_by_role("button", name="Table (CSV)").click()
        assert download.value.suggested_filename == "dune 7.csv"
        download.value.save_as(tmp_path / "dune.csv")
        with (tmp_path / "dune.csv").open() as file:
            assert len(list(csv.DictReader(file))) == 25
        page.get_by_role("button", name="Save as").click()
        expect(page.get_by_role("menuitem")).to_have_count(len(FORMATS) + 3)
        expect_accessible(page)
        with page.expect_download() as download:
            page.get_by_role("menuitem", name="Statistics").click()
        assert download.value.suggested_filename == "dune 7_statistics.json"
        with page.expect_download() as download:
            page.get_by_role("button", name="Report (PDF)").click()
        assert download.value.suggested_filename == "dune 7.pdf"


def test_the_menu_names_every_format_with_its_ending(start: Start) -> None:
    text = (Path(__file__).parents[3] / "client/grainserve/gateway/page/downloads.js").read_text(encoding="utf-8")
    for name, form in FORMATS.items():
        assert f'["{name}", "{form.ending}"]' in text
