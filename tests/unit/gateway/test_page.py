"""The page's frame, in a real browser: views and their addresses, languages, themes, size."""

from __future__ import annotations

import json
import re
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.browser import browsing, needs_chromium
from tests.unit.gateway.conftest import Start
from tests.unit.gateway.paged import choose, expect_accessible, expect_measured, history

pytestmark = needs_chromium
PAGE = Path(str(resources.files("grainserve.gateway").joinpath("page")))
LARGEST = 400 * 1024
"""Most bytes that the page may weigh."""


def test_the_first_view_says_what_to_do(start: Start) -> None:
    with browsing(start().url) as page:
        expect(page.locator("main h1")).to_have_text("Measure the grains of your images")
        expect(page.locator("main .welcome li")).to_have_count(3)
        expect(page.locator("#history-empty")).to_have_text("No images yet.")
        expect_accessible(page)
        page.get_by_role("link", name="REST API").click()
        expect(page.locator("h2").first).to_have_text("POST /upload")


def test_a_dropped_image_is_shown_and_has_an_address(start: Start, picture: Path) -> None:
    with browsing(start(dispatch=True).url) as page:
        choose(page, picture)
        expect(page.locator("main h1")).to_have_text("sand.png")
        expect_measured(page, 1)
        expect(history(page).locator("[aria-current=page]")).to_have_count(1)
        address = page.url
        assert re.search(r"#/image/[\w-]+$", address)
        page.reload()
        expect(page.locator("main h1")).to_have_text("sand.png")
        page.get_by_role("link", name="grainserve").click()
        expect(page.locator("main h1")).to_have_text("Measure the grains of your images")
        page.go_back()
        expect(page.locator("main h1")).to_have_text("sand.png")


@pytest.mark.parametrize(
    "address", ["#/image/none", "#/sample/none", "#/compare/none,other", "#/image/%E0%A4%A", "#/x"]
)
def test_an_address_that_leads_nowhere_is_said(start: Start, address: str) -> None:
    with browsing(start().url) as page:
        page.goto(f"{page.url}{address}")
        nowhere = address.count("none") > 0
        words = re.compile("There is no|no image|no sample", re.IGNORECASE) if nowhere else "Measure the grains"
        expect(page.locator("main, #alerts").filter(has_text=words).first).to_be_visible()
        expect(page.locator("#drop")).to_be_visible()


def test_the_keyboard_reaches_the_content_first(start: Start) -> None:
    with browsing(start().url) as page:
        expect(page.locator(".welcome")).to_be_visible()
        page.keyboard.press("Tab")
        expect(page.locator(".skip")).to_be_focused()
        page.keyboard.press("Enter")
        expect(page.locator("main")).to_be_focused()


def test_a_language_is_chosen_and_kept(start: Start, picture: Path) -> None:
    with browsing(start(dispatch=True).url) as page:
        choose(page, picture)
        expect_measured(page, 1)
        page.get_by_label("Language").select_option("de")
        expect(page.locator("#history-title")).to_have_text("Bilder")
        expect(history(page).locator(".state")).to_contain_text("4 Körner")
        expect(page.locator("html")).to_have_attribute("lang", "de")
        page.fill("#um_per_px", "2.5")
        expect(page.locator("#um_per_px-echo")).to_contain_text("1 px entspricht 2,5 µm")
        expect_accessible(page)
        page.reload()
        expect(page.locator("#history-title")).to_have_text("Bilder")


def test_the_theme_is_the_systems_or_the_readers(start: Start) -> None:
    with browsing(start().url) as page:
        paper = "getComputedStyle(document.body).backgroundColor"
        light = page.evaluate(paper)
        page.emulate_media(color_scheme="dark")
        dark = page.evaluate(paper)
        assert dark != light
        expect_accessible(page)
        page.get_by_role("button", name="Auto").click()
        assert page.evaluate(paper) == light
        page.reload()
        expect(page.get_by_role("button", name="Light")).to_be_visible()
        assert page.evaluate(paper) == light


@pytest.mark.parametrize("kept", ["{", "null", "xx", "<img src=x onerror=alert(1)>"])
def test_choices_that_are_none_do_no_harm(start: Start, kept: str) -> None:
    with browsing(start().url) as page:
        page.evaluate(
            "kept => ['language', 'theme'].forEach(name => localStorage.setItem(`grainserve-${name}`, kept))", kept
        )
        page.reload()
        expect(page.locator(".welcome")).to_be_visible()
        expect(page.get_by_role("button", name="Auto")).to_be_visible()


def test_a_phone_shows_the_rail_or_a_view(start: Start, picture: Path) -> None:
    with browsing(start(dispatch=True).url) as page:
        page.set_viewport_size({"width": 400, "height": 800})
        expect(page.locator("#drop")).to_be_visible()
        expect_accessible(page)
        choose(page, picture)
        expect(page.locator("main h1")).to_have_text("sand.png")
        expect(page.locator("#rail")).to_be_hidden()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing is wider than the phone"
        page.get_by_role("link", name="grainserve").click()
        expect_measured(page, 1)


def test_print_has_the_view_alone(start: Start, picture: Path) -> None:
    with browsing(start(dispatch=True).url) as page:
        choose(page, picture)
        expect(page.locator("main h1")).to_have_text("sand.png")
        page.emulate_media(media="print")
        expect(page.locator("#rail")).to_be_hidden()
        expect(page.locator("main h1")).to_be_visible()


def test_the_page_is_light(start: Start) -> None:
    """All files of the page, as they are sent."""
    gateway = start()
    files = [path.relative_to(PAGE).as_posix() for path in PAGE.rglob("*") if path.is_file()]
    weights = [len(gateway.ask("GET", f"/page/{name}").content) for name in files]
    assert sum(weights) <= LARGEST


# Dictionaries --------------------------------------------------------------------------------------------------------


def flat(texts: dict[str, Any], before: str = "") -> dict[str, Any]:
    """Returns the texts by key, group.name; forms for one and several count as one text."""
    found: dict[str, Any] = {}
    for name, value in texts.items():
        if isinstance(value, dict) and "other" not in value:
            found |= flat(value, f"{before}{name}.")
        else:
            found[before + name] = value
    return found


def dictionary(code: str) -> dict[str, Any]:
    return flat(json.loads((PAGE / f"words/{code}.json").read_text(encoding="utf-8")))


def places(text: Any) -> set[str]:
    """Returns the places of values in a text, of all its forms."""
    return set(re.findall(r"{(\w+%?)}", json.dumps(text)))


def test_both_languages_have_the_same_texts() -> None:
    english, german = dictionary("en"), dictionary("de")
    assert set(english) == set(german)
    assert all(english.values())
    assert all(german.values())
    assert {key: places(text) for key, text in english.items()} == {key: places(text) for key, text in german.items()}
    same = {key for key, text in english.items() if isinstance(text, str) and len(text) > 24 and text == german[key]}
    assert same == set(), "sentences that nobody has translated"


def test_every_text_that_the_modules_use_exists() -> None:
    english = dictionary("en")
    sources = [path.read_text(encoding="utf-8") for path in PAGE.rglob("*") if path.suffix in {".js", ".html"}]
    used = {key for text in sources for key in re.findall(r"""\bt\(\s*["']([\w.]+)["']""", text)}
    used |= {key for text in sources for key in re.findall(r"""data-t(?:-\w+)?="([\w.]+)\"""", text)}
    groups = {group for text in sources for group in re.findall(r"`(\w+)\.\$\{", text)}
    assert used
    assert used <= set(english)
    assert {key.split(".")[0] for key in english} >= groups


def test_the_readers_browser_chooses_the_language(start: Start) -> None:
    with browsing(start().url) as page:
        context = page.context.browser
        assert context is not None
        german = context.new_context(locale="de-AT").new_page()
        german.goto(page.url)
        expect(german.locator("#history-title")).to_have_text("Bilder")
        french = context.new_context(locale="fr-FR").new_page()
        french.goto(page.url)
        expect(french.locator("#history-title")).to_have_text("Images")
