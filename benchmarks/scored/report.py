"""The HTML report: each image with its true and its found grains, worst first."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image
from skimage.segmentation import find_boundaries

from benchmarks.scored.images import Known

STYLE = """body{font:15px/1.5 sans-serif;margin:2em auto;max-width:1500px;padding:0 1em;color:#222}
figure{display:inline-block;margin:0 1em 2em 0;width:30%;min-width:280px}img{width:100%}
table{border-collapse:collapse}td,th{padding:.1em .8em;text-align:right}th:first-child,td:first-child{text-align:left}
h2{margin-bottom:.2em}"""


def outlined(image: NDArray[np.uint8], labels: NDArray[np.int32], colour: tuple[int, int, int]) -> Image.Image:
    """Returns the image with the grains' outlines."""
    picture = image.copy()
    picture[find_boundaries(labels, mode="inner")] = colour
    return Image.fromarray(picture)


def picture_name(name: str, title: str) -> str:
    """Returns the file name of an image's outlines."""
    return "".join(c if c.isalnum() else "_" for c in name) + f"_{title}.jpg"


def page(
    row: Mapping[str, Any], known: Known, maps: Mapping[str, NDArray[np.int32]], folder: Path
) -> tuple[float, str]:
    """Writes an image's pictures; returns its F1 and its piece of HTML."""
    folder.mkdir(parents=True, exist_ok=True)
    figures = []
    for title, labels in {"truth": known.labels, **maps}.items():
        file = picture_name(known.name, title)
        outlined(known.image, labels, (0, 255, 0) if title == "truth" else (255, 0, 80)).save(folder / file, quality=88)
        words = f"{labels.max()} grains" if title == "truth" else _words(row[title])
        caption = f"<figcaption><b>{html.escape(title)}</b>: {words}</figcaption>"
        figures.append(f'<figure><img src="{file}" loading="lazy">{caption}</figure>')
    heading = f"<h2>{html.escape(known.name)}</h2><p>{html.escape(known.kind)}</p>"
    return row["sam"]["f1"], heading + "".join(figures)


def showcase(folder: Path, names: Sequence[str], systems: Mapping[str, str], path: Path) -> None:
    """Writes one picture of several images, each with its true and its found grains, from the report's own pictures.

    Args:
        folder: folder of the report.
        names: names of the images.
        systems: each system's name in the report, and its title in this picture.
        path: JPEG file to write.
    """
    columns = {"truth": "truth", **systems}
    figure = Figure(figsize=(4.2 * len(columns), 3.3 * len(names)), layout="constrained")
    places = figure.subplots(len(names), len(columns), squeeze=False)
    for row, name in zip(places, names, strict=True):
        for place, (system, title) in zip(row, columns.items(), strict=True):
            with Image.open(folder / picture_name(name, system)) as picture:
                width, height = picture.size
                # Cut a piece of the same shape from the middle of each, small enough to show outlines.
                side = min(width, height, 520)
                left, top = (width - side) // 2, (height - side) // 2
                place.imshow(picture.crop((left, top, left + side, top + side * 3 // 4)))
            place.set_title(title)
            place.set_axis_off()
    figure.savefig(path, dpi=90, pil_kwargs={"quality": 85})


def index(results: Mapping[str, Any], pages: Sequence[tuple[float, str]], folder: Path) -> Path:
    """Writes the report: the table of means, then the images, worst first."""
    rows = [
        f"<tr><td>{html.escape(group)} ({entry['images']})</td><td>{name}</td>"
        + "".join(f"<td>{entry[name][key]:.3f}</td>" for key in ("f1", "ap50", "ap", "pq"))
        + "</tr>"
        for group, entry in results["summary"].items()
        if isinstance(entry, dict)
        for name in results["systems"]
    ]
    head = "<tr><th>images</th><th>system</th><th>F1</th><th>AP50</th><th>AP</th><th>PQ</th></tr>"
    worst_first = "".join(piece for _, piece in sorted(pages, key=lambda entry: entry[0]))
    path = folder / "index.html"
    path.write_text(
        f"<!doctype html><meta charset=utf-8><title>grainserve: accuracy</title><style>{STYLE}</style>"
        f"<h1>Accuracy, worst first</h1><table>{head}{''.join(rows)}</table>{worst_first}"
    )
    return path


def _words(figures: Mapping[str, Any]) -> str:
    d50 = figures["d50_error"]
    size = "" if d50 is None else f", D50 {100 * d50:+.0f} %"
    return f"F1 {figures['f1']:.2f}, {figures['found']} found, {figures['matched']} matched{size}"
