"""What a reader does in the view of one image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from playwright.sync_api import Locator, Page, expect

from tests.browser import browsing
from tests.unit.gateway.conftest import Gateway

LONGEST = 60_000
"""Longest wait for a view, ms: the first statistics of a process load SciPy."""


@dataclass(frozen=True)
class Camera:
    """Where a reader looks.

    Attributes:
        scale: CSS px per px of the image.
        x: left edge of the window in the image, px.
        y: its upper edge, px.
    """

    scale: float
    x: float
    y: float


@contextmanager
def viewing(gateway: Gateway, image_id: str, grain: int | None = None) -> Iterator[Page]:
    """Opens the view of an image, all of it shown."""
    with browsing(gateway.url) as page:
        open_view(page, image_id, grain)
        yield page


def open_view(page: Page, image_id: str, grain: int | None = None) -> None:
    """Goes to the view of an image, and waits until all of it is shown."""
    page.evaluate("hash => location.hash = hash", f"#/image/{image_id}" + (f"/grain/{grain}" if grain else ""))
    expect(page.locator("#picture[data-view]")).to_be_visible(timeout=LONGEST)
    expect(page.locator(".figures[aria-busy]")).to_have_count(0, timeout=LONGEST)


def camera(page: Page) -> Camera:
    """Returns where the reader looks, after the frame that is drawn now."""
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    return Camera(*map(float, (page.locator("#picture").get_attribute("data-view") or "").split()))


def place(page: Page, x: float, y: float) -> tuple[float, float]:
    """Returns where a point of the image, px, is on the screen."""
    box, seen = page.locator("#picture").bounding_box(), camera(page)
    assert box is not None
    return box["x"] + (x - seen.x) * seen.scale, box["y"] + (y - seen.y) * seen.scale


def middle(result: dict[str, Any], grain: int) -> tuple[float, float]:
    """Returns the middle of a grain, px."""
    at = next(each for each in result["segmentedObjects"] if each["id"] == grain)["properties"]["centroid"]
    return at["x"] + 0.5, at["y"] + 0.5


def colour(page: Page, x: float, y: float) -> Sequence[int]:
    """Returns the colour that is drawn at a point of the image: red, green, blue, alpha."""
    box = page.locator("#picture").bounding_box()
    assert box is not None
    left, top = place(page, x, y)
    found: list[int] = page.evaluate(
        """([x, y]) => { const canvas = document.querySelector("#picture"), ratio = canvas.width / canvas.clientWidth;
        return [...canvas.getContext("2d").getImageData(x * ratio, y * ratio, 1, 1).data]; }""",
        [left - box["x"], top - box["y"]],
    )
    return found


def row(page: Page, grain: int) -> Locator:
    """Returns the row of a grain in the table."""
    return page.locator(f"#grains tr[data-id='{grain}']")


def expect_pinned(page: Page, grain: int | None) -> None:
    """Waits until the table has this grain chosen, or none."""
    chosen = page.locator("#grains tr[aria-current=true]")
    if grain is None:
        expect(chosen).to_have_count(0)
    else:
        expect(chosen).to_have_attribute("data-id", str(grain))


def expect_painted(page: Page) -> None:
    """Waits until the picture has no frame left to draw."""
    expect(page.locator("#picture[data-painted=true]")).to_be_visible()
