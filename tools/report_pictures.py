"""Pictures of a report and of a comparison for docs/reports.md, of synthetic samples measured by their truth.

python -m tools.report_pictures            docs/images/report.jpg and compare.jpg; needs Chromium
python -m tools.report_pictures FOLDER     the results and images of those samples, to try the commands on
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from playwright.sync_api import sync_playwright

from grain_handler.grains.measure import measure_labels
from grainserve.reports.compare import comparison
from grainserve.reports.html import to_html
from grainserve.reports.sample import sample_report
from grainserve.reports.sources import Measured
from grainserve.result import Result
from grainserve.results.masks import Window, encode_rle
from tests.browser import CHROMIUM
from tools.mar import ROOT
from tools.problem import Problem, main_exit
from training.synthetic import SyntheticImage, synthesize

SAMPLES = (("beach", "sand", 5, 32.0), ("dune", "sand", 6, 22.0), ("quartzite", "crossed_polars", 5, 30.0))
"""Name, family, number of images and typical grain, px."""

UM_PER_PX, SIDE = 5.0, 512
IMAGES = ROOT / "docs" / "images"
COLUMN, WIDTH, QUALITY = 1000, 1800, 82
"""Of the browser's window and of the pictures, px, and of their JPEG."""


def main() -> int:
    """Makes the samples, and draws or writes them."""
    samples = {name: _images(name, family, count, grain_px) for name, family, count, grain_px in SAMPLES}
    if len(sys.argv) > 1:
        for name, images in samples.items():
            _write(Path(sys.argv[1]) / name, images)
        return 0
    if CHROMIUM is None:
        raise Problem("no Chromium: apt-get install chromium")
    one = sample_report(samples["dune"][:1], title="Dune sand, DN-1")
    _photograph(to_html(one), IMAGES / "report.jpg", [(1, 2), (3, 3), (4, 4)])
    _photograph(to_html(comparison(samples, title="Three samples")), IMAGES / "compare.jpg", [(1, 2), (3, 4)])
    return 0


def _images(name: str, family: str, count: int, grain_px: float) -> list[Measured]:
    rng = np.random.default_rng(7)
    made = [synthesize(rng, family, SIDE, SIDE, grain_px) for _ in range(count)]
    return [
        Measured(f"{name}{number}", _result(f"{name}{number}", each), each.image) for number, each in enumerate(made)
    ]


def _result(name: str, made: SyntheticImage) -> Result:
    """What the handler would answer that found the truth."""
    height, width = made.labels.shape
    count = int(made.labels.max())
    measured = measure_labels(made.labels, made.image, [0] * count, UM_PER_PX)
    options = {
        "points": "grid", "points_per_side": 64, "points_per_batch": 64, "pred_iou_thresh": 0.88,
        "stability_score_thresh": 0.95, "box_nms_thresh": 0.7, "crop_n_layers": 0, "min_mask_region_area": 0,
        "min_area": 24, "max_area_fraction": 0.5, "mode": "grains", "mask_format": "rle", "um_per_px": UM_PER_PX,
        "label": "grain",
    }  # fmt: skip
    metadata = {
        "imageId": name,
        "timestamp": "2026-11-22T05:00:00.000Z",
        "processTime": 0.0,
        "model": "truth",
        "version": "1.0",
        "checkpoint": {"uri": "training.synthetic", "generation": None, "crc32c": "AAAAAA=="},
        "image": {"width": width, "height": height, "format": "PNG", "mode": "RGB", "bytes": made.image.nbytes},
        "units": {"length": "px", "area": "px²", "angle": "degree", "umPerPx": UM_PER_PX, "scaleSource": "given"},
        "options": options,
        "warnings": [],
    }
    return Result(
        {
            "metadata": metadata,
            "segmentedObjects": [
                {"id": label, "class": "grain", "score": 1.0, "properties": each, "mask": _mask(made, label, each)}
                for label, each in enumerate(measured, start=1)
            ],
        }
    )


def _mask(made: SyntheticImage, label: int, properties: dict[str, Any]) -> dict[str, Any]:
    box = properties["boundingBox"]
    x, y = box["x"], box["y"]
    patch = made.labels[y : y + box["height"], x : x + box["width"]] == label
    return encode_rle(Window(x, y, patch), *made.labels.shape)


def _write(folder: Path, images: Sequence[Measured]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for image in images:
        image.result.to_json(folder / f"{image.name}.json")
        Image.fromarray(image.result.pixels(image.pixels)).save(folder / f"{image.name}.png")


def _photograph(html: str, to: Path, columns: Sequence[tuple[int, int]]) -> None:
    """Sections of a page, from the first to the last of each column, beside each other."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        file = Path(folder) / "page.html"
        file.write_text(html, encoding="utf-8")
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": COLUMN, "height": 800})
        page.goto(file.as_uri())
        page.screenshot(path=f"{folder}/page.png", full_page=True)
        tops = page.eval_on_selector_all("section, footer", "all => all.map(each => each.getBoundingClientRect().top)")
        browser.close()
        with Image.open(f"{folder}/page.png") as whole:
            tops[0] = 0  # the title stands above the first section
            parts = [whole.crop((0, int(tops[a - 1]), COLUMN, int(tops[b]))).convert("RGB") for a, b in columns]
    sheet = Image.new("RGB", (COLUMN * len(parts), max(part.height for part in parts)), "white")
    for index, part in enumerate(parts):
        sheet.paste(part, (index * COLUMN, 0))
    sheet.thumbnail((WIDTH, WIDTH))
    sheet.save(to, "JPEG", quality=QUALITY, optimize=True)
    print(to.relative_to(ROOT), sheet.size, f"{to.stat().st_size // 1000} kB")


if __name__ == "__main__":
    main_exit(main)
