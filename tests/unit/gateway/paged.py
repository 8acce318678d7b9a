"""What a reader does on the page."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from playwright.sync_api import Locator, Page, Route, expect

from grainserve.gateway.keys import Caller, Keys, make_key
from tests.axe import violations
from tests.unit.client.made import DISCS

MEASURED = f"{len(DISCS)} grains"
"""What the history says of an image that the imitation of TorchServe has measured."""


def choose(page: Page, *files: Path) -> None:
    """Chooses files, as a drop on the page does."""
    page.set_input_files("#file", files)


def history(page: Page) -> Locator:
    """Returns the rows of the history."""
    return page.locator("#history li")


def uploads(page: Page) -> Locator:
    """Returns the rows of the files on their way."""
    return page.locator("#uploads li")


def expect_measured(page: Page, count: int) -> None:
    """Waits until so many images are in the history, all measured."""
    expect(history(page).locator(".state")).to_contain_text([MEASURED] * count)


def act(page: Page, name: str, label: str) -> None:
    """Chooses an action from the menu of an image in the history."""
    page.get_by_role("button", name=f"Actions for {name}").click()
    page.get_by_role("menuitem", name=label).click()


def expect_accessible(page: Page) -> None:
    """Checks that axe-core finds nothing in the state that is shown."""
    found = violations(page)
    assert not found, found


def copies(picture: Path, *names: str) -> list[Path]:
    """Writes the picture under other names, in its folder."""
    made = [picture.with_name(name) for name in names]
    for path in made:
        path.write_bytes(picture.read_bytes())
    return made


class Held:
    """Keeps requests of a page back until they are let go.

    Args:
        page: the page.
        url: pattern of the requests.
    """

    def __init__(self, page: Page, url: str) -> None:
        self._page = page
        self._open = False
        self.routes: list[Route] = []
        page.route(url, self._take)

    def _take(self, route: Route) -> None:
        if self._open:
            route.continue_()
        else:
            self.routes.append(route)

    def wait_for(self, count: int) -> None:
        """Waits until so many requests are held."""
        while len(self.routes) < count:
            self._page.wait_for_timeout(20)

    def let_go(self) -> None:
        """Lets the held requests and all later ones go on."""
        self._open = True
        for route in self.routes:
            route.continue_()


def known_keys(*callers: Caller) -> tuple[Keys, list[str]]:
    """Makes the keys of callers, and the keys themselves."""
    made: dict[str, Any] = {make_key(caller.name)[0]: caller for caller in callers}
    return Keys({hashlib.sha256(key.encode()).digest(): caller for key, caller in made.items()}), list(made)
