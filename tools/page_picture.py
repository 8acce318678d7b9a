"""Draws the README's picture of the gateway's page: the demo's thin section, measured through the whole path.

python -m tools.page_picture           docs/images/page.jpg; needs Chromium
"""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Page, expect

from tests.browser import CHROMIUM, browsing
from tools import demo, ports
from tools.gateway import Gateway
from tools.mar import ROOT
from tools.problem import Problem, main_exit
from tools.stack import Ports, Stack

PICTURE = ROOT / "docs" / "images" / "page.jpg"
WIDTH, VIEW, QUALITY = 975, (1300, 1925), 82
"""Of the picture, px; of the browser's window; of the JPEG."""
PATIENCE_MS = 600_000


def main() -> int:
    """Measures the section on the page and photographs it."""
    if CHROMIUM is None:
        raise Problem("no Chromium: apt-get install chromium")
    with tempfile.TemporaryDirectory() as folder:
        run, section = Path(folder) / "run", Path(folder) / "thin_section.png"
        truth = demo.thin_section()
        Image.fromarray(truth.image).save(section)
        emulator_port, port = ports.choose_free(2)
        with Stack(
            run, model_store=run / "model_store", ports=Ports.choose_free(), emulator_port=emulator_port
        ) as stack:
            gateway = Gateway(stack.environment, port=port, log=run / "gateway.log")
            gateway.start()
            try:
                with browsing(gateway.url) as page:
                    _photograph(page, section, _middle(truth.labels))
            finally:
                gateway.stop()
    print(PICTURE.relative_to(ROOT), f"{PICTURE.stat().st_size // 1000} kB")
    return 0


def _middle(labels: NDArray[np.int32]) -> tuple[float, float]:
    """Returns a place in a grain near the image's middle: its row and column, as shares of the image."""
    height, width = labels.shape
    rows, columns = np.nonzero(labels == labels[height // 2, width // 2])
    return float(np.median(rows)) / height, float(np.median(columns)) / width


def _photograph(page: Page, section: Path, grain: tuple[float, float]) -> None:
    page.set_viewport_size({"width": VIEW[0], "height": VIEW[1]})
    page.fill("[name=um_per_px]", f"{demo.SECTION_UM_PER_PX:g}")
    page.set_input_files("#file", section)
    expect(page.locator("#grains tbody tr").first).to_be_visible(timeout=PATIENCE_MS)
    box = page.locator("#marked").bounding_box()
    if box is None:
        raise Problem("the page shows no image")
    page.mouse.move(box["x"] + grain[1] * box["width"], box["y"] + grain[0] * box["height"])
    expect(page.locator("#tip")).to_be_visible()
    with Image.open(io.BytesIO(page.screenshot())) as shot:
        small = shot.convert("RGB").resize((WIDTH, WIDTH * VIEW[1] // VIEW[0]), Image.Resampling.LANCZOS)
        small.save(PICTURE, "JPEG", quality=QUALITY, optimize=True)


if __name__ == "__main__":
    main_exit(main)
