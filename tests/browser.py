"""The system's Chromium, headless; tests that need one skip where there is none."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Page, sync_playwright

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium (.ci/run does)")


@contextmanager
def browsing(url: str) -> Iterator[Page]:
    """A page that must log no error and load nothing from elsewhere than the URL's host."""
    faults: list[str] = []
    with sync_playwright() as playwright:
        # Containers run as root and have no user namespaces, which Chromium's sandbox wants.
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_context(viewport={"width": 1300, "height": 1000}).new_page()
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("request", lambda request: faults.append(request.url) if _foreign(request.url, url) else None)
        page.goto(url)
        yield page
        browser.close()
    assert faults == []


def _foreign(asked: str, url: str) -> bool:
    return not asked.startswith((url, "blob:", "data:"))
