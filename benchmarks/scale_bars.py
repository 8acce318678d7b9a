"""Compares the scale bars found in the shared images with a person's measurements on enlarged pixels.

    python -m benchmarks.scale_bars              docs/scale.md quotes it; reads ../shared/data
    python -m benchmarks.scale_bars --picture    docs/images/scale_bar.png instead, of a synthetic image

The thresholds of the search were set on these same images, so the results do not tell how it does on other images.

Writes benchmarks/results/scale_bars.json.
"""

from __future__ import annotations

import argparse
import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from rich.console import Console
from rich.table import Table

from grainserve.errors import ScaleConflict, ScaleError, ScaleNotFound, ScaleNumberMissing
from grainserve.images import display_pixels
from grainserve.scale import bar_number as number
from grainserve.scale import find_scale
from grainserve.scale.bar import Bar, find_bars, scale_bar
from grainserve.scale.bar_picture import draw_bars
from tools.mar import ROOT
from tools.problem import Problem, main_exit
from training.synthetic import synthesize

DATA = ROOT.parent / "shared" / "data"
FILES = ("thin_sections/*.jpg", "grains/*.jpg", "e112/steel_raw.tif")

BY_EYE: dict[str, tuple[float, float | None]] = {
    "OffshoreMiocene.jpg": (80, 400.0),
    "OffshoreMiocene_xpl.jpg": (80, 400.0),
    "Zircon.jpg": (179, 500.0),
    "IMG_5208.jpg": (492, None),
    "barton_creek.jpg": (374, None),
}
"""Length of the bar, px, and the µm written beside it; None for the cards, which have no µm for their ten centimetres.
Images not named here have no bar."""


def measured(path: Path) -> dict[str, Any]:
    """Returns the bar found in one image, and the time of the search."""
    pixels = display_pixels(path)
    begun = time.perf_counter()
    bars = find_bars(pixels)
    seconds = time.perf_counter() - begun
    px, um = BY_EYE.get(path.name, (None, None))
    height, width = pixels.shape[:2]
    return {
        "image": f"{path.parent.name}/{path.name}",
        "width": width,
        "height": height,
        "by_eye_px": px,
        "by_eye_um": um,
        "found": [str(bar) for bar in bars],
        "found_px": _length(bars),
        "scale": _scale(path),
        "seconds": round(seconds, 2),
    }


def _length(bars: list[Bar]) -> float | None:
    try:
        return round(scale_bar(bars).length, 1)
    except (ScaleNotFound, ScaleConflict):
        return None


def _scale(path: Path) -> str:
    """Returns the scale by `scale="auto"`, or why there is none."""
    try:
        return find_scale(path).source
    except ScaleNumberMissing:
        return "asks for the bar's length"
    except ScaleNotFound:
        return "asks for the scale"
    except ScaleError as error:
        return str(error)


def picture() -> Image.Image:
    """Draws a synthetic image with a bar, and the bar that is found."""
    drawn = Image.fromarray(synthesize(np.random.default_rng(11), "plane_polars", 330, 540, grain_px=30).image)
    pen = ImageDraw.Draw(drawn)
    font = ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf"), 28)
    pen.rectangle((28, 246, 261, 313), fill="black")
    pen.text((145, 268), "500 µm", font=font, fill="white", anchor="mm")
    pen.rectangle((45, 296, 244, 301), fill="white")
    pixels: NDArray[np.uint8] = np.asarray(drawn)
    return draw_bars(pixels, find_bars(pixels))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "scale_bars.json")
    parser.add_argument("--picture", action="store_true", help="draw docs/images/scale_bar.png, and nothing else")
    arguments = parser.parse_args()
    if arguments.picture:
        picture().save(ROOT / "docs" / "images" / "scale_bar.png")
        return 0
    files = [file for pattern in FILES for file in sorted(DATA.glob(pattern))]
    missing = [pattern for pattern in FILES if not list(DATA.glob(pattern))]
    if missing:
        raise Problem(f"{DATA} lacks {', '.join(missing)}: the shared images are not part of the repository")
    rows = [measured(file) for file in files]
    results = {
        "command": "python -m benchmarks.scale_bars",
        "date": datetime.now(UTC).date().isoformat(),
        "ocr": number.can_read(),
        "images": rows,
    }
    arguments.out.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    table = Table("image", "by eye, px", "found, px", "bars", "scale auto", "s")
    for row in rows:
        lengths = ("" if row[key] is None else f"{row[key]:g}" for key in ("by_eye_px", "found_px"))
        table.add_row(row["image"], *lengths, str(len(row["found"])), row["scale"], f"{row['seconds']:.2f}")
    Console(width=120).print(table)
    return 0


if __name__ == "__main__":
    main_exit(main)
