"""Compares `grid`, `adaptive` and `seeds` on the twelve photographs: prompts, seconds and grains.

    python -m benchmarks.seeds                            all twelve: half an hour on two cores
    python -m benchmarks.seeds --images 3 --points seeds
    python -m benchmarks.seeds --earlier V2.pth           also an earlier model without seeds, with `adaptive`
    python -m benchmarks.seeds --picture docs/images/seeds.jpg        draws the seeds of one photograph, and stops

All three use the same model with its config, except for `points` and, with a grid, one layer of crops. On each
photograph they run one after the other, so that other work on the machine disturbs all alike. A prompt counts each time
the mask decoder runs for it, so a prompt that is repeated with a larger window counts twice.

Writes benchmarks/results/seeds.json: a case for each photograph and kind of points.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor

from benchmarks.scored.figures import WITHIN, figures
from benchmarks.scored.images import PHOTOGRAPHS, Known, evenly, photographs
from grain_handler.errors import NoSeeds
from grain_handler.sam import models, seeds
from grain_handler.sam.automask import MaskGenerator
from grain_handler.sam.seeds import Seeds
from grain_handler.segment import mask_settings, settle
from grain_handler.wire.options import Options
from tools.mar import ROOT
from tools.problem import Problem, main_exit
from training.serving import Served

WAYS: Mapping[str, Mapping[str, str]] = {
    "seeds": {"points": "seeds"},
    "adaptive": {"points": "adaptive", "crop_n_layers": "1"},
    "grid": {"points": "grid", "crop_n_layers": "1"},
}
"""Kinds of points → their options, quickest first. Only seeds skip crops: with both layers a grid would be used
twenty-one times."""

RESULTS = ROOT / "benchmarks" / "results" / "seeds.json"
FRAME = 1024
"""Side of the model's frame, px: the image's longer side fills it."""

console = Console()


@dataclass
class Asked:
    """The prompts of a model.

    Attributes:
        prompts: how often the decoder ran, once for each prompt.
        seeds: what each search for seeds found.
        again: prompts of each second search, (x, y) in px of the frame; k × 2.
    """

    prompts: int
    seeds: list[Seeds]
    again: list[NDArray[np.float32]]


@contextmanager
def listening(generator: MaskGenerator) -> Iterator[Asked]:
    """Records a model's prompts without changing them."""
    decoder, asked = generator.decoder, Asked(0, [], [])
    decode, cells, find = decoder.decode, seeds.cells, seeds.find

    def counted(image: Any, prompts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        asked.prompts += len(prompts)
        return decode(image, prompts)

    def again(*given: Any) -> NDArray[np.float32]:
        asked.again.append(cells(*given))
        return asked.again[-1]

    def found(*given: Any, **named: Any) -> Seeds:
        asked.seeds.append(find(*given, **named))
        return asked.seeds[-1]

    with (
        patch.object(decoder, "decode", counted),
        patch.object(seeds, "cells", again),
        patch.object(seeds, "find", found),
    ):
        yield asked


def measure(
    known: Known, generator: MaskGenerator, options: Options, clock: Callable[[], float] = time.perf_counter
) -> dict[str, Any]:
    """Measures one case: an image with one kind of points, timed by the wall clock."""
    height, width = known.labels.shape
    with listening(generator) as asked:
        began = clock()
        masks = generator.generate(known.image, mask_settings(options, height, width))
        labels = settle(masks, options, height, width).labels
        seconds = clock() - began
    row = figures(labels, known)
    case = {"image": known.name, "points": options.points, "prompts": asked.prompts, "seconds": round(seconds, 2)}
    return case | {key: row[key] for key in ("f1", "d50_error", "found", "true", "matched")}


def show(cases: Sequence[dict[str, Any]]) -> None:
    """Prints the means for each checkpoint and kind of points."""
    table = Table(
        *("checkpoint", "points", "images", "prompts", "seconds", "F1", "D50 off by", "within 10 %"),
        title="Means of an image",
    )
    for checkpoint, way in dict.fromkeys((case["checkpoint_crc32c"], case["points"]) for case in cases):
        some = [case for case in cases if (case["checkpoint_crc32c"], case["points"]) == (checkpoint, way)]
        errors = np.abs([case["d50_error"] for case in some if case["d50_error"] is not None])
        prompts, seconds, f1 = (np.mean([case[key] for case in some]) for key in ("prompts", "seconds", "f1"))
        off = f"{errors.mean():.0%}" if len(errors) else "–"
        within = str(np.count_nonzero(errors <= WITHIN))
        table.add_row(checkpoint, way, str(len(some)), f"{prompts:.0f}", f"{seconds:.1f}", f"{f1:.3f}", off, within)
    console.print(table)


def draw(known: Known, generator: MaskGenerator, options: Options, path: Path) -> None:
    """Draws the seeds of a photograph, without those of enlarged crops, and the prompts of second searches."""
    height, width = known.labels.shape
    with listening(generator) as asked:
        generator.generate(known.image, replace(mask_settings(options, height, width), crop_n_layers=0))
    first, scale = asked.seeds[0], max(height, width) / FRAME
    figure = Figure(figsize=(width / 80 + 1, height / 80 + 0.3), layout="constrained")
    place = figure.subplots()
    place.imshow(known.image)
    colours = ScalarMappable(cmap="plasma")
    colours.set_clim(0, 1)
    shades = colours.to_rgba(first.confidence)
    for (x, y), diameter, shade in zip(scale * first.points, scale * first.diameters, shades, strict=True):
        place.add_patch(Circle((x, y), diameter / 2, fill=False, color=shade, lw=1.6))
    place.scatter(
        x=scale * first.points[:, 0],
        y=scale * first.points[:, 1],
        c=shades,
        s=14,
        edgecolors="black",
        linewidths=0.5,
        zorder=3,
    )
    again = scale * np.concatenate(asked.again)
    place.scatter(again[:, 0], again[:, 1], c="cyan", s=40, marker="x", linewidths=1.5, zorder=4)
    place.set(xlim=(0, width), ylim=(height, 0))
    place.set_axis_off()
    figure.colorbar(colours, ax=place, shrink=0.6, pad=0.01, label="confidence of the seed")
    place.set_title(
        f"{known.name}: {len(first)} seeds, circles as wide as predicted; crosses: {len(again)} places asked next"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100, pil_kwargs={"quality": 85})


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = made.add_argument
    add("--model", default="sam_tiny", choices=models.REGISTRY, help="(default %(default)s)")
    add("--checkpoint", default=str(ROOT / "weights" / "sam_tiny.pth"))
    add("--images", type=int, default=12, metavar="N", help="photographs, evenly spaced by name (default %(default)s)")
    add("--points", nargs="+", choices=WAYS, default=list(WAYS))
    add("--earlier", metavar="FILE", help="also ask this checkpoint of the model, with points adaptive")
    add("--out", type=Path, default=RESULTS, help="raw results")
    add("--picture", type=Path, metavar="FILE", help="draw the seeds of a photograph instead")
    add("--photograph", default="IMG_5220", help="the photograph of --picture (default %(default)s)")
    return made


def main() -> int:
    """Measures, shows, writes; or draws."""
    arguments = parser().parse_args()
    images = list(photographs())
    if not images:
        raise Problem(f"no image: the annotated photographs are looked for in {PHOTOGRAPHS}")
    ways = ["seeds"] if arguments.picture else [way for way in WAYS if way in arguments.points]
    served = {way: Served.read(arguments.model, arguments.checkpoint, WAYS[way]) for way in ways}
    generator = served[ways[0]].generator()
    if "seeds" in ways:
        try:
            _ = generator.embed([np.zeros((64, 64, 3), np.uint8)])[0].seed_map
        except NoSeeds as error:
            raise Problem(f"{arguments.checkpoint}: {error.message}") from error
    if arguments.picture:
        wanted = [known for known in images if known.name == arguments.photograph]
        if not wanted:
            names = ", ".join(known.name for known in images)
            raise Problem(f"no photograph is called {arguments.photograph!r}: there are {names}")
        draw(wanted[0], generator, served["seeds"].options, arguments.picture)
        return 0
    asked = [(each, generator) for each in served.values()]
    if arguments.earlier:
        before = Served.read(arguments.model, arguments.earlier, WAYS["adaptive"])
        asked.append((before, before.generator()))
    work = [(known, *how) for known in evenly(images, arguments.images) for how in asked]
    cases = []
    for known, how, model in track(work, "measuring", console=console):
        about = how.about()
        case = measure(known, model, how.options)
        cases.append(case | {key: about[key] for key in ("model", "checkpoint_crc32c", "precision", "options")})
        console.print(
            f"{known.name}: {about['checkpoint_crc32c']} {case['points']}: {case['prompts']} prompts, "
            f"{case['seconds']} s, F1 {case['f1']:.2f}"
        )
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(cases, indent=1) + "\n")
    show(cases)
    return 0


if __name__ == "__main__":
    main_exit(main)
