"""Photographs the gateway's page for the documents: synthetic thin sections, measured through the whole path.

python -m tools.page_pictures          docs/images/page.jpg, page_sample.jpg, page_phone.png; needs Chromium
"""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import Page, ViewportSize, expect

from tests.browser import CHROMIUM, browsing
from tools import demo, ports
from tools.gateway import Gateway
from tools.mar import ROOT
from tools.problem import Problem, main_exit
from tools.stack import Ports, Stack
from training.synthetic import synthesize

PICTURES = ROOT / "docs" / "images"
WINDOW = ViewportSize(width=1300, height=1240)
SAMPLE_WINDOW = ViewportSize(width=1300, height=1000)
PHONE = ViewportSize(width=390, height=844)
WIDTH, QUALITY = 975, 82
"""Width of the pictures of the desktop, px, and quality of their JPEG."""
SECTIONS = 5
"""Images of the sample: from five on, its intervals hold for the sample."""
GRAIN = 12
"""The grain that is chosen."""
PATIENCE_MS = 600_000


def main() -> int:
    """Measures the sections on the page and photographs it."""
    if CHROMIUM is None:
        raise Problem("no Chromium: apt-get install chromium")
    with tempfile.TemporaryDirectory() as folder:
        run, files = Path(folder) / "run", _sections(Path(folder))
        emulator_port, port = ports.choose_free(2)
        with Stack(
            run, model_store=run / "model_store", ports=Ports.choose_free(), emulator_port=emulator_port
        ) as stack:
            gateway = Gateway(stack.environment, port=port, log=run / "gateway.log")
            gateway.start()
            try:
                with browsing(gateway.url) as page:
                    page.set_default_timeout(PATIENCE_MS)
                    expect.set_options(timeout=PATIENCE_MS)
                    _photograph(page, files)
            finally:
                gateway.stop()
    return 0


def _sections(folder: Path) -> list[Path]:
    """Draws the thin sections; training uses other seeds."""
    files = []
    for number in range(SECTIONS):
        rng = np.random.default_rng(demo.SECTION_SEED + number)
        section = synthesize(rng, "plane_polars", grain_px=demo.SECTION_GRAIN_PX)
        files.append(folder / f"section_{number + 1}.png")
        Image.fromarray(section.image).save(files[-1])
    return files


def _photograph(page: Page, files: list[Path]) -> None:
    page.set_viewport_size(WINDOW)
    page.fill("[name=um_per_px]", f"{demo.SECTION_UM_PER_PX:g} µm/px")
    page.set_input_files("#file", files)
    page.get_by_role("button", name=f"Make a sample of these {SECTIONS} images").click()
    expect(page.locator("#history li .state")).to_contain_text(["grains"] * SECTIONS)
    expect(page.locator(".statistics svg").first).to_be_visible()
    page.locator(".toast button, [data-do=hide]").evaluate_all("buttons => buttons.forEach(button => button.click())")
    page.set_viewport_size(SAMPLE_WINDOW)
    _keep(page, "page_sample.jpg")

    page.set_viewport_size(WINDOW)
    page.locator("#history li").filter(has_text="section_1").get_by_role("link").first.click()
    page.get_by_label("Colour by").select_option("size")
    page.locator(f"#grains tr[data-id='{GRAIN}']").click()
    expect(page.locator(".figures")).to_contain_text("D50")
    page.evaluate("document.querySelector('#name').scrollIntoView({block: 'end'})")
    _keep(page, "page.jpg")

    page.set_viewport_size(PHONE)
    page.emulate_media(color_scheme="dark")
    page.locator("#language").select_option("de")
    expect(page.locator(".figures")).to_contain_text("Körner")
    page.evaluate("document.querySelector('#name').scrollIntoView()")
    _keep(page, "page_phone.png")


def _keep(page: Page, name: str) -> None:
    """Stores what the window shows: that of a desktop smaller and as JPEG, that of a phone as it is."""
    page.wait_for_timeout(500)  # for pictures that fade in
    path = PICTURES / name
    with Image.open(io.BytesIO(page.screenshot())) as shot:
        picture = shot.convert("RGB")
        if path.suffix == ".jpg":
            picture = picture.resize((WIDTH, WIDTH * picture.height // picture.width), Image.Resampling.LANCZOS)
        picture.save(path, quality=QUALITY, optimize=True)
    print(path.relative_to(ROOT), f"{path.stat().st_size // 1000} kB")


if __name__ == "__main__":
    main_exit(main)
