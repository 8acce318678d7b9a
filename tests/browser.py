"""The system's Chromium, headless; tests that need Chromium are skipped without it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Page, expect, sync_playwright

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium (.ci/run does)")

PATIENCE = 60_000
"""Time, ms, after which something that is expected counts as missing: a busy machine takes its time."""
expect.set_options(timeout=PATIENCE)


@contextmanager
def browsing(url: str) -> Iterator[Page]:
    """Opens a page, which must log no error and load nothing from other hosts than the URL's."""
    faults: list[str] = []
    with sync_playwright() as playwright:
        # Chromium's sandbox needs user namespaces, which containers that run as root do not have.
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_context(viewport={"width": 1300, "height": 1000}).new_page()
        page.set_default_timeout(PATIENCE)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("request", lambda request: faults.append(request.url) if _foreign(request.url, url) else None)
        page.goto(url)
        yield page
        browser.close()
    assert faults == []


def _foreign(asked: str, url: str) -> bool:
    return not asked.startswith((url, "blob:", "data:"))
