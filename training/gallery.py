"""Draws docs/images/families.jpg: each family of synthetic images beside a photograph, or beside a second such image.

python -m training.gallery        # photographs come from ../shared/data; without it their places stay empty
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from tools.mar import ROOT
from training.synthetic import FAMILIES, synthesize

DATA = ROOT.parent / "shared" / "data"
SIDE = 360
REAL: dict[str, tuple[str, tuple[int, int], int]] = {
    "gravel": ("grains/barton_creek.jpg", (500, 200), 900),
    "outcrop": ("grains/ig_3_P1060343_3.jpg", (0, 0), 512),
    "sand": ("grains/2346.jpg", (100, 0), 537),
    "plane_polars": ("thin_sections/OffshoreMiocene.jpg", (300, 50), 600),
    "crossed_polars": ("thin_sections/Dunite.jpg", (200, 0), 560),
    "steel": ("e112/steel_raw.tif", (0, 0), 600),
    "loose": ("thin_sections/Zircon.jpg", (500, 100), 800),
    "matrix": ("thin_sections/Ooid.jpg", (300, 100), 900),
}
"""Photograph by family: file, corner (x, y) and side of the square that is shown, px."""

SEEDS = {
    "gravel": (54,),
    "outcrop": (56,),
    "sand": (55,),
    "plane_polars": (51,),
    "crossed_polars": (53,),
    "steel": (55,),
    "loose": (36,),
    "matrix": (55,),
    "sem": (36, 37),
    "polycrystal": (36, 37),
    "unequal": (40, 44),
    "epoxy": (38, 43),
    "orientation_contrast": (39, 40),
    "colour_etched": (39, 44),
    "blobs": (38, 45),
}
"""Seeds of the synthetic images shown: one beside a photograph, two where there is no photograph."""


def real(family: str) -> Image.Image | None:
    """Returns a square piece of the family's photograph; None if there is no photograph."""
    if family not in REAL or not (DATA / REAL[family][0]).exists():
        return None
    name, (x, y), side = REAL[family]
    return Image.open(DATA / name).convert("RGB").crop((x, y, x + side, y + side)).resize((SIDE, SIDE))


def main() -> None:
    """Draws the picture and saves it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images" / "families.jpg")
    arguments = parser.parse_args()
    rows = (len(FAMILIES) + 1) // 2
    figure = Figure(figsize=(12, 3.08 * rows), layout="constrained")
    places = figure.subplots(rows, 4)
    for place in places.flat:
        place.set_axis_off()
    for number, family in enumerate(FAMILIES):
        row, column = divmod(number, 2)
        made = [synthesize(np.random.default_rng(seed), family, SIDE, SIDE, grain_px=38) for seed in SEEDS[family]]
        shown = [(Image.fromarray(each.image), f"{family}: synthetic") for each in made]
        photograph = real(family)
        if photograph is not None:
            shown.append((photograph, "real"))
        for place, (picture, title) in zip(places[row, 2 * column :], shown, strict=False):
            place.imshow(picture)
            place.set_title(title, fontsize=11)
    figure.savefig(arguments.out, dpi=100, pil_kwargs={"quality": 85})
    print(arguments.out)


if __name__ == "__main__":
    main()
