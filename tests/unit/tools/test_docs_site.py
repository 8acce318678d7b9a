"""The documents' site: links to files elsewhere in the repository lead to copies of them."""

from __future__ import annotations

import pytest

from tools import docs_site


@pytest.mark.parametrize(
    ("page", "link", "there"),
    [
        ("jobs.md", "[a page](scale.md#databars)", "[a page](scale.md#databars)"),
        ("jobs.md", "[`Dockerfile`](../Dockerfile)", "[`Dockerfile`](repository/Dockerfile)"),
        ("seeds.md", "[card](../weights/README.md)", "[card](repository/weights/README.md)"),
        ("repository/weights/README.md", "[seeds](../docs/seeds.md)", "[seeds](../../seeds.md)"),
        ("repository/weights/README.md", "[y](../config/sam_tiny.yaml)", "[y](../config/sam_tiny.yaml)"),
        ("repository/README.md", "![p](docs/images/page.jpg)", "![p](../images/page.jpg)"),
        ("kubernetes.md", "[deploy/](../deploy) is", "`deploy/` is"),
        ("jobs.md", "[there](https://example.org/a.md)", "[there](https://example.org/a.md)"),
        ("jobs.md", "[here](#cost)", "[here](#cost)"),
        ("jobs.md", "[nothing](no_such_page.md)", "[nothing](no_such_page.md)"),
    ],
)
def test_a_link_is_the_site_s(page: str, link: str, there: str) -> None:
    assert docs_site.rewritten(link, page) == there
