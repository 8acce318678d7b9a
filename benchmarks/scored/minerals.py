"""The picture of named minerals: a section, its truth, and the classifier's names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray
from skimage.segmentation import find_boundaries

from grain_handler.grains.classify import UNKNOWN
from training.minerals import Section

# Okabe & Ito's palette (2008), which colour-blind readers tell apart as well.
COLOURS = {
    "quartz": "#56b4e9",
    "feldspar": "#f0e442",
    "biotite": "#d55e00",
    "hornblende": "#009e73",
    "garnet": "#cc79a7",
    "opaque": "#222222",
    UNKNOWN: "#b0b0b0",
}
STYLE: dict[Any, Any] = {"font.family": "DejaVu Sans", "font.size": 8, "axes.titlesize": 9, "axes.titleweight": "bold"}


def draw(section: Section, labels: NDArray[np.int32], names: Sequence[str], path: Path) -> None:
    """Writes the picture as PNG, 180 mm wide.

    Args:
        section: image and its truth.
        labels: label map of the classified outlines, H × W, int32.
        names: classes of the n grains.
        path: file to write.
    """
    panels = {
        "thin section (synthetic)": section.image,
        "true minerals": coloured(section.labels, section.minerals),
        "named by the classifier": coloured(labels, names),
    }
    with rc_context(STYLE):
        figure = Figure(figsize=(7.0, 2.8), dpi=200, layout="constrained")
        FigureCanvasAgg(figure)
        for place, (title, pixels) in zip(figure.subplots(1, 3), panels.items(), strict=True):
            place.imshow(pixels, interpolation="nearest")
            place.set_title(title)
            place.set_axis_off()
        keys = [Patch(facecolor=colour, label=name) for name, colour in COLOURS.items()]
        figure.legend(handles=keys, loc="outside lower center", ncols=len(keys), frameon=False, handlelength=1)
        figure.savefig(path, bbox_inches="tight", pad_inches=0.04)


def coloured(labels: NDArray[np.int32], names: Sequence[str]) -> NDArray[np.uint8]:
    """Returns a label map in the colours of its grains' classes, with outlines and ground white; H × W × 3."""
    palette = np.array([(1.0, 1.0, 1.0), *(to_rgb(COLOURS[name]) for name in names)])
    pixels = np.asarray(palette[labels] * 255, np.uint8)
    pixels[find_boundaries(labels, mode="inner")] = 255
    return pixels
