"""Draws the images of docs/tutorial.md: four fields of a synthetic thin section, with the scale in each file.

python -m tools.sections sections
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import tifffile

from tools.problem import main_exit
from training.synthetic import SyntheticImage, synthesize

SEED = 100
GRAIN_PX = 34
UM_PER_PX = 8.0
"""A scale at which the grains are medium sand."""
FIELD = (360, 480)
"""Height and width of a field, px."""


def section() -> SyntheticImage:
    """Draws the whole section with its true labels, two fields high and two fields wide."""
    return synthesize(np.random.default_rng(SEED), "plane_polars", 2 * FIELD[0], 2 * FIELD[1], grain_px=GRAIN_PX)


def write_fields(out: Path) -> list[Path]:
    """Writes the four fields as TIFF files, as Fiji does: the scale as resolution, its unit in the description."""
    out.mkdir(parents=True, exist_ok=True)
    pixels = section().image
    written = []
    for number in range(4):
        top, left = FIELD[0] * (number // 2), FIELD[1] * (number % 2)
        path = out / f"field_{number + 1}.tif"
        field = pixels[top : top + FIELD[0], left : left + FIELD[1]]
        tifffile.imwrite(path, field, imagej=True, resolution=(1 / UM_PER_PX, 1 / UM_PER_PX), metadata={"unit": "um"})
        written.append(path)
    return written


def main() -> int:
    """Command line entry."""
    parser = argparse.ArgumentParser(prog="python -m tools.sections", description="Draws four fields of a section.")
    parser.add_argument("out", type=Path, help="folder for the TIFF files")
    for path in write_fields(parser.parse_args().out):
        print(path)
    return 0


if __name__ == "__main__":
    main_exit(main)
