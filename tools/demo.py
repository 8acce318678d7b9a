"""The demo: measures two images through the whole path and leaves tables, pictures and a report.

    python -m tools.demo                  `make demo` runs this

A synthetic thin section, whose grains are known, and scikit-image's coins go through TorchServe, the GCS emulator and
the command line. The demo takes free ports, so it runs beside `make serve`.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image
from skimage import data

from grainserve import Result
from tools import ports
from tools.problem import Problem, main_exit, require_disk
from tools.stack import ROOT, RUN, Ports, Stack
from training.scoring import Score, score
from training.synthetic import SyntheticImage, synthesize

REPORT = "thin_section.html"
SECTION_SEED = 2031
SECTION_GRAIN_PX = 40
SECTION_UM_PER_PX = 10.0
"""A scale at which the grains are medium sand."""


def thin_section() -> SyntheticImage:
    """Draws the synthetic thin section, 512 × 512 px, with its true labels. Training uses other seeds."""
    return synthesize(np.random.default_rng(SECTION_SEED), "plane_polars", grain_px=SECTION_GRAIN_PX)


def compare(out: Path, truth: SyntheticImage) -> Score:
    """Scores the thin section's result file against the true labels."""
    found = Result.from_json(out / "thin_section.json")
    return score(found.label_map, truth.labels)


def describe(result: Score) -> str:
    """Returns the score in words."""
    return (
        f"Truth known: {result.found} grains found, {result.true} true, {result.matched} matched at IoU 0.5 "
        f"(F1 {result.f1:.2f}); their diameters are off by {100 * result.size_error:+.1f} % on average."
    )


def analyze(stack: Stack, image: Path, out: Path, *options: str) -> None:
    """Runs `grainserve analyze` on one image, as a user would."""
    grainserve(stack, out, "analyze", f"{out.name}/{image.name}", "--out", out.name, *options)


def report(stack: Stack, out: Path) -> None:
    """Runs `grainserve report` on the thin section."""
    result, image, page = (f"{out.name}/{name}" for name in ("thin_section.json", "thin_section.png", REPORT))
    grainserve(stack, out, "report", result, "--image", image, "--out", page)


def grainserve(stack: Stack, out: Path, *arguments: str) -> None:
    """Prints a command line and runs it beside the folder of files.

    Args:
        stack: running stack, whose addresses the command gets.
        out: folder of files.
        arguments: arguments after `grainserve`.

    Raises:
        Problem: the command fails.
    """
    shown = " ".join(["grainserve", *arguments])
    print(f"\n$ {shown}", flush=True)
    command = [sys.executable, "-m", "grainserve", *arguments]
    done = subprocess.run(command, cwd=out.resolve().parent, env={**os.environ, **stack.environment}, check=False)
    if done.returncode != 0:
        raise Problem(f"`{shown}` failed; the logs are under {stack.torchserve.logs}.")


def main() -> int:
    """Command line entry."""
    parser = argparse.ArgumentParser(prog="python -m tools.demo", description="Measures grains on two images.")
    parser.add_argument("--out", type=Path, default=ROOT / "demo-output", help="folder for images and results")
    out: Path = parser.parse_args().out
    began = time.monotonic()
    require_disk(ROOT, 500, "The demo")
    out.mkdir(parents=True, exist_ok=True)
    truth = thin_section()
    section, coins = out / "thin_section.png", out / "coins.png"
    Image.fromarray(truth.image).save(section)
    Image.fromarray(data.coins()).save(coins)

    free = ports.choose_free(1)[0]
    with Stack(RUN / "demo", ports=Ports.choose_free(), emulator_port=free) as stack:
        analyze(stack, section, out, "--um-per-px", str(SECTION_UM_PER_PX))
        print(describe(compare(out, truth)), flush=True)
        report(stack, out)
        analyze(stack, coins, out, "--label", "coin")
    print(f"\nDone in {time.monotonic() - began:.0f} s; everything is stopped. Look at:")
    print(f"  {out / REPORT}")
    for name in (section.stem, coins.stem):
        for ending in ("_overlay.png", "_sizes.png", ".csv", ".json"):
            print(f"  {out / (name + ending)}")
    return 0


if __name__ == "__main__":
    main_exit(main)
