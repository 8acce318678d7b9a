"""The page takes files: one, many, bad, large; and goes on when the gateway does not answer."""

from __future__ import annotations

import io
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from PIL import Image
from playwright.sync_api import Dialog, Page, Request, Route, expect

from tests.browser import browsing, needs_chromium
from tests.unit.client.fake_torchserve import TOO_LARGE, FakeTorchServe
from tests.unit.client.made import make_image
from tests.unit.gateway.conftest import Start, png
from tests.unit.gateway.paged import (
    MEASURED,
    Held,
    choose,
    copies,
    expect_accessible,
    expect_measured,
    history,
    uploads,
)

pytestmark = needs_chromium


def options_of(request: Request) -> dict[str, str]:
    return {name: value for name, (value,) in parse_qs(urlsplit(request.url).query).items()}


def sent(page: Page) -> list[Request]:
    """Lists the uploads of a page, from now on."""
    found: list[Request] = []
    page.on("request", lambda request: found.append(request) if "/upload?" in request.url else None)
    return found


def test_many_files_are_sent_three_at_once(start: Start, picture: Path) -> None:
    files = copies(picture, *(f"sand_{index}.png" for index in range(8)))
    with browsing(start(dispatch=True).url) as page:
        held = Held(page, "**/upload?*")
        choose(page, *files)
        held.wait_for(3)
        expect(uploads(page).locator(".state").filter(has_text="uploading")).to_have_count(3)
        expect(uploads(page).locator(".state").filter(has_text="waiting")).to_have_count(5)
        assert len(held.routes) == 3
        expect(page).to_have_title("(8) grainserve")
        expect(uploads(page).locator("img")).to_have_count(8)
        expect_accessible(page)
        held.let_go()
        expect_measured(page, 8)
        expect(page).to_have_title("grainserve")
        expect(page.locator("#toasts")).to_contain_text("8 images are measured.")


def test_a_file_that_is_no_image_is_told_before_its_upload(start: Start, picture: Path, tmp_path: Path) -> None:
    files = {
        "notes.png": (b"no image", "This is not an image"),
        "empty.png": (b"", "The file is empty"),
        "paper.jpg": (b"%PDF-1.7 ...", "This is PDF, which grainserve does not read"),
    }
    for name, (content, _) in files.items():
        (tmp_path / name).write_bytes(content)
    with browsing(start(dispatch=True).url) as page:
        requests = sent(page)
        choose(page, *(tmp_path / name for name in files), picture)
        for name, (_, words) in files.items():
            expect(uploads(page).filter(has_text=name).locator(".reason")).to_contain_text(words)
        expect_measured(page, 1)
        assert [options_of(request)["name"] for request in requests] == ["sand.png"]
        expect_accessible(page)
        page.get_by_role("button", name="Take off the list: empty.png").click()
        expect(uploads(page)).to_have_count(2)


def test_a_tiff_is_taken_and_its_picture_seen(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "section.tif"
    make_image().save(path)
    with browsing(start(dispatch=True).url) as page:
        choose(page, path)
        expect_measured(page, 1)
        expect(history(page).locator("img[src^='blob:']")).to_have_count(1)


def test_the_largest_grain_of_large_images_is_asked_for_once(start: Start, picture: Path, tmp_path: Path) -> None:
    large = [tmp_path / "thin.png", tmp_path / "section.tif"]
    large[0].write_bytes(png(1200, 40))
    Image.new("L", (30, 1100)).save(large[1])
    with browsing(start(dispatch=True).url) as page:
        requests = sent(page)
        page.route("**/upload?*largest_grain*", lambda route: route.abort())
        choose(page, picture, *large)
        dialog = page.get_by_role("dialog")
        expect(dialog).to_contain_text("2 large images")
        expect_accessible(page)
        dialog.get_by_label("How wide is the largest grain").fill("120")
        dialog.get_by_role("button", name="Measure").click()
        expect(uploads(page).locator(".state").filter(has_text="uploading")).to_have_count(2)
        asked = {options_of(request)["name"]: options_of(request).get("largest_grain") for request in requests}
        assert asked == {"sand.png": None, "thin.png": "120", "section.tif": "120"}


@pytest.mark.parametrize("answer", ["", None])
def test_an_empty_answer_lets_the_gateway_look(start: Start, tmp_path: Path, answer: str | None) -> None:
    path = tmp_path / "thin.png"
    path.write_bytes(png(1200, 40))
    with browsing(start().url) as page:
        requests = sent(page)
        page.route("**/upload?*", lambda route: route.abort())
        choose(page, path)
        expect(page.get_by_role("dialog")).to_contain_text("A large image")
        page.keyboard.press("Enter" if answer == "" else "Escape")
        if answer is None:
            expect(uploads(page)).to_have_count(0)
            assert requests == []
        else:
            while not requests:
                page.wait_for_timeout(20)
            assert options_of(requests[0])["largest_grain"] == "auto"


def test_a_folder_is_taken_without_what_systems_hide(start: Start, picture: Path, tmp_path: Path) -> None:
    folder = tmp_path / "field"
    (folder / "north").mkdir(parents=True)
    for name in ("a.png", "north/b.png", ".hidden.png", "Thumbs.db"):
        (folder / name).write_bytes(picture.read_bytes())
    with browsing(start(dispatch=True).url) as page:
        page.set_input_files("#folder", folder)
        expect_measured(page, 2)
        assert set(history(page).locator(".name").all_inner_texts()) == {"a.png", "b.png"}


def test_a_picture_is_pasted_and_files_are_dropped(start: Start, picture: Path) -> None:
    give = """([bytes, kind]) => {
        const data = new DataTransfer();
        data.items.add(new File([new Uint8Array(bytes)], `${kind}.png`, { type: "image/png" }));
        const [type, field] = { paste: [ClipboardEvent, "clipboardData"], drop: [DragEvent, "dataTransfer"] }[kind];
        document.body.dispatchEvent(new type(kind, { [field]: data, bubbles: true, cancelable: true }));
    }"""
    with browsing(start(dispatch=True).url) as page:
        expect(page.locator(".welcome")).to_be_visible()
        for count, kind in enumerate(("paste", "drop"), 1):
            page.evaluate(give, [list(picture.read_bytes()), kind])
            expect_measured(page, count)
        assert set(history(page).locator(".name").all_inner_texts()) == {"paste.png", "drop.png"}


@pytest.mark.parametrize(
    ("text", "um_per_px"),
    [
        ("2,5", 2.5),
        ("2.5 µm/px", 2.5),
        ("2.5 μm per pixel", 2.5),
        ("2500nm/px", 2.5),
        ("0,4 px/µm", 2.5),
        ("1 mm = 400 px", 2.5),
        (".5", 0.5),
        ("1e-1", 0.1),
    ],
)
def test_a_scale_is_read_as_people_write_it(start: Start, text: str, um_per_px: float) -> None:
    with browsing(start().url) as page:
        read = page.evaluate("async text => (await import('/page/scale_text.js')).readScale(text)", text)
        assert read == pytest.approx(um_per_px, rel=1e-12)


@pytest.mark.parametrize("text", ["", "x", "0", "-2", "2,5,5", "1.234,5", "5 µm = px", "2 px", "1e999", "٣"])
def test_what_is_no_scale_is_none(start: Start, text: str) -> None:
    with browsing(start().url) as page:
        assert page.evaluate("async text => (await import('/page/scale_text.js')).readScale(text)", text) is None


def test_files_wait_until_the_scale_is_understood(start: Start, picture: Path, torchserve: FakeTorchServe) -> None:
    with browsing(start(dispatch=True).url) as page:
        page.fill("#um_per_px", "2,5 bananas")
        expect(page.locator("#um_per_px-echo")).to_contain_text("Not understood. Write 2.5")
        choose(page, picture)
        expect(uploads(page).locator(".reason")).to_contain_text("It waits until the options above hold numbers.")
        expect(page.locator("#um_per_px")).to_be_focused()
        expect_accessible(page)
        assert torchserve.requests == []
        page.fill("#um_per_px", "2,5 µm/px")
        expect(page.locator("#um_per_px-echo")).to_contain_text("1 px is 2.5 µm")
        expect_measured(page, 1)
        assert torchserve.requests[0][1]["um_per_px"] == 2.5


def test_a_failure_keeps_its_reason_and_is_tried_again(start: Start, picture: Path, torchserve: FakeTorchServe) -> None:
    torchserve.script = [TOO_LARGE]
    with browsing(start(dispatch=True).url) as page:
        choose(page, picture)
        expect(uploads(page).locator(".reason")).to_contain_text("the image is 4000 px wide")
        expect_accessible(page)
        page.get_by_role("button", name="Try again: sand.png").click()
        expect(history(page).filter(has_text=MEASURED)).to_have_count(1)
        expect(uploads(page)).to_have_count(0)


def test_a_finished_job_never_takes_the_view(start: Start, picture: Path) -> None:
    first, second = copies(picture, "first.png", "second.png")
    with browsing(start(dispatch=True).url) as page:
        choose(page, first)
        expect(page.locator("main h1")).to_have_text("first.png")
        expect_measured(page, 1)
        address = page.url
        choose(page, second)
        expect_measured(page, 2)
        assert page.url == address
        page.locator("#toasts").get_by_role("link", name="Show").click()
        expect(page.locator("main h1")).to_have_text("second.png")


def test_a_lost_connection_loses_nothing(start: Start, picture: Path) -> None:
    with browsing(start(dispatch=True).url) as page:
        expect(page.locator(".welcome")).to_be_visible()
        page.route("**/upload?*", lambda route: route.abort())
        page.route("**/images**", lambda route: route.abort())
        choose(page, picture)
        expect(page.locator("#lost")).to_be_visible()
        expect_accessible(page)
        page.unroute("**/upload?*")
        page.unroute("**/images**")
        expect_measured(page, 1)
        expect(page.locator("#lost")).to_be_hidden()


def test_an_answer_that_is_lost_makes_no_second_job(start: Start, picture: Path) -> None:
    gateway = start(dispatch=True)
    with browsing(gateway.url) as page:
        lost: list[int] = []

        def lose(route: Route) -> None:
            lost.append(route.fetch().status)
            route.abort()

        page.route("**/upload?*", lose, times=1)
        choose(page, picture)
        expect_measured(page, 1)
        assert lost == [202]
    assert len(gateway.ask("GET", "/images").json()["images"]) == 1


def test_a_gateway_that_restarts_finds_its_page_going_on(start: Start, picture: Path) -> None:
    """The first gateway only stores; what answers after it under the same address works on jobs, too."""
    first, second = start(), start(dispatch=True)
    with browsing(first.url) as page:
        choose(page, picture)
        expect(uploads(page).locator(".state")).to_contain_text("in the queue")
        page.route("**/images**", lambda route: route.fulfill(status=502, body="no gateway"))
        expect(page.locator("#lost")).to_be_visible()
        page.unroute("**/images**")

        def other(route: Route) -> None:
            route.continue_(url=route.request.url.replace(first.url, second.url))

        page.route("**/images**", other)
        expect_measured(page, 1)
        expect(page.locator("#lost")).to_be_hidden()


def test_names_of_files_are_never_html(start: Start, tmp_path: Path) -> None:
    name = "<img src=x onerror=document.title='hacked'>.png"
    buffer = io.BytesIO()
    make_image().save(buffer, "PNG")
    (tmp_path / name).write_bytes(buffer.getvalue())
    (tmp_path / "<b>bad<").write_bytes(b"no image")
    with browsing(start(dispatch=True).url) as page:
        choose(page, tmp_path / name, tmp_path / "<b>bad<")
        expect(page.locator("main h1")).to_have_text(name)
        expect(history(page).locator(".name")).to_have_text(name)
        expect(uploads(page).locator(".name")).to_have_text("<b>bad<")
        expect_measured(page, 1)
        assert page.locator("img[onerror], b").count() == 0
        expect(page).to_have_title("grainserve")


def test_a_tab_with_unsent_files_asks_before_it_closes(start: Start, picture: Path) -> None:
    with browsing(start().url) as page:
        Held(page, "**/upload?*")
        choose(page, picture)
        expect(uploads(page).locator(".state")).to_have_text("uploading")
        asked: list[str] = []

        def accept(dialog: Dialog) -> None:
            asked.append(dialog.type)
            dialog.accept()

        page.on("dialog", accept)
        page.click("#search")  # browsers ask only where somebody has done something
        page.close(run_before_unload=True)
        page.wait_for_event("close")
        assert asked == ["beforeunload"]
