"""The page's samples: from dropped files to a report, the gateway's numbers, files, comparisons."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Page, expect

from tests.browser import browsing, needs_chromium
from tests.unit.client.made import make_image
from tests.unit.gateway.conftest import Gateway, Start
from tests.unit.gateway.paged import (
    act,
    choose,
    copies,
    expect_accessible,
    expect_measured,
    history,
)

pytestmark = needs_chromium


def measured(gateway: Gateway, picture: Path, *names: str, **options: str) -> list[str]:
    """Uploads the picture under several names; returns the ids of the images once they are measured."""
    ids = [gateway.upload(picture.read_bytes(), params={"name": name, **options}) for name in names]
    for image_id in ids:
        gateway.until_done(image_id)
    return ids


def make_sample(gateway: Gateway, name: str, ids: list[str]) -> str:
    answer = gateway.ask("POST", "/samples", json={"name": name, "imageIds": ids})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["sampleId"])


def figure(page: Page, name: str) -> str:
    """Returns one of the figures that a sample's view begins with."""
    text: str = page.locator(".key-figures div").filter(has_text=name).locator("dd").inner_text()
    return text.split("\n", maxsplit=1)[0]


def test_three_tiffs_become_a_report_in_six_clicks(start: Start, tmp_path: Path) -> None:
    files = [tmp_path / f"dune_{index}.tif" for index in range(3)]
    for path in files:
        make_image().save(path)
    clicks = 0
    with browsing(start(dispatch=True).url) as page:
        page.fill("#um_per_px", "2,5 µm/px")
        choose(page, *files)
        page.get_by_role("button", name="Make a sample of these 3 images").click()
        clicks += 1
        expect(page.locator("main h1")).to_have_text("dune")
        expect(page.locator(".key-figures")).to_be_visible()
        page.get_by_role("button", name="Report").click()
        clicks += 1
        with page.expect_download() as download:
            page.get_by_role("menuitem", name="PDF").click()
            clicks += 1
        assert download.value.suggested_filename == "dune.pdf"
        assert Path(download.value.path()).read_bytes().startswith(b"%PDF")
        assert clicks <= 6
        expect(page.locator("#together")).to_be_hidden()


def test_a_samples_figures_are_the_gateways(start: Start, picture: Path) -> None:
    gateway = start(dispatch=True)
    sample = make_sample(gateway, "dune", measured(gateway, picture, "a.png", "b.png", um_per_px="2"))
    told = gateway.ask("GET", f"/samples/{sample}/statistics").json()
    with browsing(gateway.url) as page:
        page.goto(f"{page.url}#/sample/{sample}")
        expect(page.locator(".key-figures")).to_be_visible()
        for percent in ("10", "50", "90"):
            size = told["number"]["percentiles"][percent]["value"]
            assert figure(page, f"D{percent}") == f"{size:.3g} µm"
        assert figure(page, "Grains") == str(told["grains"])
        flags = page.locator(".flags .flag")
        expect(flags).to_have_count(len(told["flags"]))
        expect(flags.first).to_contain_text(told["flags"][0]["words"])
        expect(page.locator("polyline.curve")).to_have_count(2)
        rows = page.locator(".per-image tbody tr")
        expect(rows).to_have_count(2)
        expect(rows.first).to_contain_text(f"{told['images'][0]['d50Number']:.3g}")
        expect(page.locator(".astm tbody tr")).to_have_count(6)
        expect_accessible(page)
        page.get_by_label("Language").select_option("de")
        size = told["number"]["percentiles"]["50"]["value"]
        expect(page.locator(".key-figures")).to_contain_text(f"{size:.3g} µm".replace(".", ","))
        expect_accessible(page)


def test_every_file_of_a_sample_is_in_one_menu(start: Start, picture: Path) -> None:
    gateway = start(dispatch=True)
    sample = make_sample(gateway, "dune: <north>", measured(gateway, picture, "a.png", "b.png"))
    with browsing(gateway.url) as page:
        page.goto(f"{page.url}#/sample/{sample}")
        expect(page.locator(".key-figures")).to_be_visible()
        for label, name in (
            ("Everything (ZIP)", "dune_ _north_.zip"),
            ("Table of all grains (CSV)", "dune_ _north_.csv"),
            ("Statistics (JSON)", "dune_ _north__statistics.json"),
            ("Pictures with outlines", "dune_ _north__overlay.zip"),
        ):
            page.get_by_role("button", name="Save as").click()
            with page.expect_download() as download:
                page.get_by_role("menuitem", name=label).click()
            assert download.value.suggested_filename == name
        page.get_by_role("button", name="Save as").click()
        expect(page.get_by_role("menuitem")).to_have_count(15)
        expect_accessible(page)


def test_a_selection_becomes_a_sample_that_changes(start: Start, picture: Path) -> None:
    with browsing(start(dispatch=True).url) as page:
        choose(page, *copies(picture, "dune 1.png", "dune 2.png", "dune 3.png"))
        expect_measured(page, 3)
        page.get_by_role("button", name="Not now").click()
        for name in ("dune 1.png", "dune 2.png"):
            page.get_by_role("checkbox", name=f"Select {name}").check()
        page.locator("#selection").get_by_role("button", name="Make a sample").click()
        dialog = page.get_by_role("dialog")
        expect(dialog.get_by_label("Name of the sample")).to_have_value("dune")
        page.keyboard.press("Enter")
        expect(page.locator("main h1")).to_have_text("dune")
        expect(page.locator("#samples li")).to_contain_text(["dune"])
        expect(page.locator("#selection")).to_be_hidden()

        page.get_by_role("button", name="Take dune 2.png out of the sample").click()
        expect(page.locator(".per-image tbody tr")).to_have_count(1)
        page.get_by_role("button", name="Change").click()
        page.get_by_role("menuitem", name="Rename").click()
        dialog.get_by_label("Name of the sample").fill("<b>north</b>")
        page.keyboard.press("Enter")
        expect(page.locator("main h1")).to_have_text("<b>north</b>")
        expect(page.locator("#samples .name")).to_have_text("<b>north</b>")
        page.get_by_role("button", name="Change").click()
        page.get_by_role("menuitem", name="Delete the sample").click()
        expect(dialog).to_contain_text("Its images and their results stay.")
        dialog.get_by_role("button", name="Delete the sample").click()
        expect(page.locator("#samples")).to_be_hidden()
        expect(history(page)).to_have_count(3)


def test_a_sample_waits_for_its_images(start: Start, picture: Path) -> None:
    waiting, working = start(), start(dispatch=True)
    ids = [waiting.upload(picture.read_bytes(), params={"name": name}) for name in ("a.png", "b.png")]
    for image_id in ids:
        working.until_done(image_id)
    sample = make_sample(waiting, "dune", ids)
    with browsing(waiting.url) as page:
        page.goto(f"{page.url}#/sample/{sample}")
        expect(page.locator(".key-figures")).to_be_visible()


def test_images_of_different_scales_are_told(start: Start, picture: Path) -> None:
    gateway = start(dispatch=True)
    ids = measured(gateway, picture, "a.png") + measured(gateway, picture, "b.png", um_per_px="2")
    sample = make_sample(gateway, "mixed", ids)
    with browsing(gateway.url) as page:
        page.goto(f"{page.url}#/sample/{sample}")
        expect(page.locator("main .flag")).to_contain_text("scale")
        expect(page.locator(".left-out li").filter(has_text="a.png")).to_contain_text("no scale")
        expect(page.locator(".left-out li").filter(has_text="b.png")).to_contain_text("2 µm/px")
        expect_accessible(page)


def test_samples_are_compared(start: Start, picture: Path) -> None:
    gateway = start(dispatch=True)
    ids = measured(gateway, picture, "a.png", "b.png", "c.png", um_per_px="2")
    make_sample(gateway, "dune", ids[:2])
    make_sample(gateway, "beach", ids[1:])
    with browsing(gateway.url) as page:
        for name in ("dune", "beach"):
            page.get_by_role("checkbox", name=f"Select {name} to compare").check()
        page.get_by_role("button", name="Compare 2 samples").click()
        expect(page.locator("main h1")).to_have_text("Comparison of 2 samples")
        expect(page.locator("polyline.curve")).to_have_count(4)
        expect(page.locator("main th[scope=col]")).to_have_text(["dune", "beach"])
        expect_accessible(page)
        page.get_by_role("button", name="Report").click()
        with page.expect_download() as download:
            page.get_by_role("menuitem", name="HTML").click()
        assert download.value.suggested_filename == "comparison.html"
        assert b"dune" in Path(download.value.path()).read_bytes()


def test_a_deleted_image_leaves_its_sample(start: Start, picture: Path) -> None:
    gateway = start(dispatch=True)
    sample = make_sample(gateway, "dune", measured(gateway, picture, "a.png", "b.png"))
    with browsing(gateway.url) as page:
        page.goto(f"{page.url}#/sample/{sample}")
        expect(page.locator(".per-image tbody tr")).to_have_count(2)
        act(page, "a.png", "Delete")
        page.get_by_role("dialog").get_by_role("button", name="Delete").click()
        expect(history(page)).to_have_count(1)
        expect(page.locator(".per-image tbody tr")).to_have_count(1)
