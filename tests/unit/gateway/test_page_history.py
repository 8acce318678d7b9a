"""The page's list of images is the gateway's: the same in every tab, searched, named, tagged, deleted; and keys."""

from __future__ import annotations

import re
from pathlib import Path

from playwright.sync_api import expect

from grainserve.gateway.keys import Caller
from tests.browser import browsing, needs_chromium
from tests.unit.client.fake_torchserve import TOO_LARGE, FakeTorchServe
from tests.unit.gateway.conftest import Start, png
from tests.unit.gateway.paged import (
    MEASURED,
    act,
    choose,
    copies,
    expect_accessible,
    expect_measured,
    history,
    known_keys,
    uploads,
)

pytestmark = needs_chromium


def test_a_reload_in_the_middle_loses_nothing(start: Start, picture: Path) -> None:
    with browsing(start().url) as page:
        choose(page, *copies(picture, "a.png", "b.png"))
        expect(uploads(page).locator(".state").filter(has_text="in the queue")).to_have_count(2)
        page.reload()
        expect(history(page).locator(".state").filter(has_text="queue")).to_have_count(2)
        start(dispatch=True)  # another gateway of the same bucket begins to work on jobs
        expect_measured(page, 2)


def test_two_tabs_show_one_list(start: Start, picture: Path) -> None:
    first, second = copies(picture, "sand.png", "gravel.png")
    with browsing(start(dispatch=True).url) as page:
        other = page.context.new_page()
        other.goto(page.url)
        choose(page, first)
        expect_measured(other, 1)
        choose(other, second)
        for tab in (other, page):
            expect(history(tab).locator(".name")).to_have_text(["gravel.png", "sand.png"])
            expect_measured(tab, 2)
        act(page, "sand.png", "Delete")
        page.get_by_role("dialog").get_by_role("button", name="Delete").click()
        expect(history(other).locator(".name")).to_have_text(["gravel.png"])


def test_images_are_renamed_tagged_found_and_deleted(start: Start, picture: Path) -> None:
    with browsing(start(dispatch=True).url) as page:
        choose(page, *copies(picture, "a.png", "b.png"))
        expect_measured(page, 2)
        act(page, "a.png", "Rename")
        dialog = page.get_by_role("dialog")
        expect_accessible(page)
        dialog.get_by_label("Name").fill("<i>Quarz</i> süd.png")
        page.keyboard.press("Enter")
        expect(history(page).filter(has_text="<i>Quarz</i> süd.png")).to_have_count(1)
        act(page, "b.png", "Tags")
        dialog.get_by_label("Tags").fill("dune, 2026")
        dialog.get_by_role("button", name="Save").click()
        expect(history(page).locator(".tags button")).to_have_text(["dune", "2026"])
        expect_accessible(page)

        page.fill("#search", "quarz")
        expect(history(page)).to_have_count(1)
        page.fill("#search", "nothing like it")
        expect(page.locator("#history-empty")).to_contain_text("No image is found")
        page.fill("#search", "")
        expect(history(page)).to_have_count(2)
        history(page).get_by_role("button", name="dune").click()
        expect(page.locator("#search")).to_have_value("#dune")
        expect(history(page).locator(".name")).to_have_text(["b.png"])

        act(page, "b.png", "Delete")
        expect(dialog).to_contain_text("Delete b.png?")
        page.keyboard.press("Escape")
        expect(history(page)).to_have_count(1)
        act(page, "b.png", "Delete")
        dialog.get_by_role("button", name="Delete").click()
        expect(history(page)).to_have_count(0)
        page.fill("#search", "")
        expect(history(page)).to_have_count(1)
        assert page.locator("i").count() == 0


def test_a_deleted_image_leaves_the_view(start: Start, picture: Path) -> None:
    with browsing(start(dispatch=True).url) as page:
        choose(page, picture)
        expect_measured(page, 1)
        expect(page.locator("main h1")).to_have_text("sand.png")
        act(page, "sand.png", "Delete")
        page.get_by_role("dialog").get_by_role("button", name="Delete").click()
        expect(page.locator("main h1")).to_have_text("Measure the grains of your images")


def test_long_lists_come_in_pages(start: Start) -> None:
    gateway = start()
    for index in range(53):
        gateway.upload(png(8, 8), params={"name": f"{index:02}.png"})
    with browsing(gateway.url) as page:
        expect(history(page)).to_have_count(50)
        page.locator("#history").get_by_role("button", name="Show more").click()
        expect(history(page)).to_have_count(53)
        expect(page.locator("#history").get_by_role("button", name="Show more")).to_be_hidden()
        page.fill("#search", "07")
        expect(history(page).locator(".name")).to_have_text(["07.png"])


def test_a_selection_is_tagged_and_deleted_together(start: Start, picture: Path) -> None:
    with browsing(start(dispatch=True).url) as page:
        choose(page, *copies(picture, "a.png", "b.png", "c.png"))
        expect_measured(page, 3)
        for name in ("a.png", "b.png"):
            page.get_by_role("checkbox", name=f"Select {name}").check()
        bar = page.locator("#selection")
        expect(bar).to_contain_text("2 images selected")
        expect_accessible(page)
        bar.get_by_role("button", name="Tags").click()
        page.get_by_role("dialog").get_by_label("Tags").fill("north")
        page.keyboard.press("Enter")
        expect(history(page).filter(has_text="north")).to_have_count(2)
        bar.get_by_role("button", name="Delete").click()
        page.get_by_role("dialog").get_by_role("button", name="Delete").click()
        expect(history(page).locator(".name")).to_have_text(["c.png"])
        expect(bar).to_be_hidden()


def test_a_failure_is_told_after_a_reload_and_measured_again(
    start: Start, picture: Path, torchserve: FakeTorchServe
) -> None:
    torchserve.script = [TOO_LARGE]
    with browsing(start(dispatch=True).url) as page:
        choose(page, picture)
        expect(uploads(page).locator(".reason")).to_be_visible()
        page.reload()
        expect(history(page).locator(".reason")).to_contain_text("the image is 4000 px wide")
        expect_accessible(page)
        history(page).get_by_role("button", name="Try again").click()
        expect(history(page).locator(".state")).to_contain_text([MEASURED])
        expect(history(page)).to_have_count(1)


def test_the_menu_of_an_image_works_with_the_keyboard(start: Start, picture: Path) -> None:
    with browsing(start(dispatch=True).url) as page:
        choose(page, picture)
        expect_measured(page, 1)
        button = page.get_by_role("button", name="Actions for sand.png")
        button.focus()
        page.keyboard.press("Enter")
        expect(page.get_by_role("menuitem").first).to_be_focused()
        page.keyboard.press("ArrowUp")
        expect(page.get_by_role("menuitem", name="Delete")).to_be_focused()
        page.keyboard.press("Escape")
        expect(button).to_be_focused()
        expect(page.get_by_role("menu")).to_have_count(0)
        page.keyboard.press("Enter")
        expect_accessible(page)


# Keys ----------------------------------------------------------------------------------------------------------------


def test_a_key_is_asked_for_and_a_wrong_one_is_said(start: Start, picture: Path) -> None:
    known, (key,) = known_keys(Caller("lab"))
    with browsing(start(dispatch=True, keys=known).url) as page:
        dialog = page.get_by_role("dialog")
        expect(dialog).to_contain_text("asks for an API key")
        expect_accessible(page)
        dialog.get_by_label("API key").fill("wrong")
        page.keyboard.press("Enter")
        expect(dialog).to_contain_text("does not know this key")
        dialog.get_by_label("API key").fill(key)
        page.keyboard.press("Enter")
        expect(page.locator("#key")).to_have_text("lab")
        choose(page, picture)
        expect_measured(page, 1)
        page.reload()
        expect_measured(page, 1)
        assert page.evaluate("localStorage.length === 0 && !document.cookie"), "kept for the session only"


def test_who_gives_no_key_may_give_one_later(start: Start) -> None:
    known, (key,) = known_keys(Caller("lab"))
    gateway = start(keys=known)
    gateway.upload(png(), key, params={"name": "kept.png"})
    with browsing(gateway.url) as page:
        page.get_by_role("dialog").wait_for()
        page.keyboard.press("Escape")
        page.get_by_role("button", name="Your key").click()
        page.get_by_label("API key").fill(key)
        page.keyboard.press("Enter")
        expect(history(page)).to_contain_text(["kept.png"])
        expect(page.locator("#key")).to_have_text("lab")


def test_files_that_were_chosen_wait_for_the_key(start: Start, picture: Path) -> None:
    known, (key,) = known_keys(Caller("lab"))
    with browsing(start(dispatch=True, keys=known).url) as page:
        dialog = page.get_by_role("dialog")
        expect(dialog).to_be_visible()
        page.keyboard.press("Escape")
        expect(page.locator("#drop")).to_be_visible()
        page.fill("#um_per_px", "2")
        choose(page, picture)
        dialog.get_by_label("API key").fill(key)
        page.keyboard.press("Enter")
        expect_measured(page, 1)
        expect(history(page).locator(".state")).to_contain_text("2 µm/px")


def test_two_keys_have_two_lists(start: Start, picture: Path) -> None:
    known, (one, other) = known_keys(Caller("lab-a"), Caller("lab-b"))
    with browsing(start(dispatch=True, keys=known).url) as page:
        dialog = page.get_by_role("dialog")
        dialog.get_by_label("API key").fill(one)
        page.keyboard.press("Enter")
        choose(page, picture)
        expect_measured(page, 1)
        page.get_by_role("link", name="grainserve").click()
        page.locator("#key").click()
        dialog.get_by_label("API key").fill(other)
        page.keyboard.press("Enter")
        expect(page.locator("#key")).to_have_text("lab-b")
        expect(history(page)).to_have_count(0)
        page.locator("#key").click()
        dialog.get_by_label("API key").fill("wrong")
        page.keyboard.press("Enter")
        expect(dialog).to_contain_text("does not know this key")
        page.keyboard.press("Escape")
        expect(page.locator("#key")).to_have_text("lab-b")
        tab = page.context.new_page()
        tab.goto(page.url)
        expect(tab.get_by_role("dialog")).to_be_visible()  # another tab may be another person's


def test_a_key_that_only_reads_offers_nothing_else(start: Start, picture: Path) -> None:
    known, (key, reading) = known_keys(Caller("lab"), Caller("guest", submitter="lab", read_only=True))
    gateway = start(dispatch=True, keys=known)
    gateway.until_done(gateway.upload(picture.read_bytes(), key, params={"name": "sand.png"}), key)
    with browsing(gateway.url) as page:
        page.get_by_role("dialog").get_by_label("API key").fill(reading)
        page.keyboard.press("Enter")
        expect(page.locator("#read-only")).to_contain_text("may only look")
        expect_measured(page, 1)
        expect(page.locator("#drop")).to_be_hidden()
        page.get_by_role("checkbox", name="Select sand.png").check()
        expect(page.locator("#selection").get_by_role("button", name=re.compile("Delete|Tags|sample"))).to_have_count(0)
        page.get_by_role("button", name="Actions for sand.png").click()
        expect(page.get_by_role("menuitem")).to_have_text(["Save the original file"])
        expect_accessible(page)


def test_selected_images_are_added_to_a_sample(start: Start, picture: Path) -> None:
    one, two, three = copies(picture, "a.png", "b.png", "c.png")
    with browsing(start(dispatch=True).url) as page:
        choose(page, one, two)
        page.get_by_role("button", name="Make a sample of these 2 images").click()
        expect(page.locator("#samples li")).to_contain_text(["2 images"])
        choose(page, three)
        expect_measured(page, 3)
        history(page).filter(has_text="c.png").locator("input").check()
        page.get_by_role("button", name="Add to a sample").click()
        page.get_by_role("menuitem").click()
        expect(page.locator("#samples li")).to_contain_text(["3 images"])
        expect(page.locator(".per-image tbody tr")).to_have_count(3)
