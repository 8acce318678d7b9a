"""Draws the README's picture: a real thin section, measured through the whole path by `sam_tiny`.

    python -m tools.section_picture        docs/images/section.jpg; the photograph comes from ../shared/data

The photograph is OffshoreMiocene of fazzam12345/Lightweight-SAM-for-grain-size-analysis (MIT, see NOTICE).
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from PIL import Image

from tools import demo, ports
from tools.mar import ROOT
from tools.problem import Problem, main_exit
from tools.stack import Ports, Stack

PHOTOGRAPH = ROOT.parent / "shared" / "data" / "thin_sections" / "OffshoreMiocene.jpg"
PART = (0, 110, 1024, 710)
"""What is measured of it: left, top, right, bottom, px; without its scale bar, and what one look of the model takes."""
UM_PER_PX = 5.0
"""By its scale bar: 400 µm are 80 px."""
PICTURE = ROOT / "docs" / "images" / "section.jpg"
QUALITY = 80
"""Of the JPEG: under 400 kB."""


def main() -> int:
    """Measures the photograph and draws the outlines."""
    if not PHOTOGRAPH.exists():
        raise Problem(f"{PHOTOGRAPH} is not there")
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        out.mkdir()
        part = out / "section.png"
        with Image.open(PHOTOGRAPH) as photograph:
            photograph.convert("RGB").crop(PART).save(part)
        run, free = Path(folder) / "run", ports.choose_free(1)[0]
        with Stack(run, model_store=run / "model_store", ports=Ports.choose_free(), emulator_port=free) as stack:
            demo.analyze(stack, part, out, "--um-per-px", str(UM_PER_PX))
        with Image.open(out / "section_overlay.png") as overlay:
            overlay.convert("RGB").save(PICTURE, "JPEG", quality=QUALITY, optimize=True)
    print(PICTURE.relative_to(ROOT), f"{PICTURE.stat().st_size // 1000} kB")
    return 0


if __name__ == "__main__":
    main_exit(main)
