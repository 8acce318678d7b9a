"""JSON values, options and form fields as an attacker would choose them."""

from __future__ import annotations

import json
from collections.abc import Callable
from random import Random
from typing import Any

OPTIONS = (
    *("points", "points_per_side", "points_per_batch", "pred_iou_thresh", "stability_score_thresh", "box_nms_thresh"),
    *("crop_n_layers", "min_mask_region_area", "min_area", "max_area_fraction", "mode", "mask_format", "um_per_px"),
    *("fill", "scale_source", "label", "imageId", "image"),
)
TEXTS = (
    *("", "a", "grain", "grid", "masks", "rle", "12", "0.5", "-1", "1e999", "nan", "inf", "-0", "1_0", "0x10", "１２"),
    *("../../etc/passwd", "gs://other/object", "jobs/x.json", "a/b", "a\0b", "\n[METRICS]", "\ud800", "\u202e", "🪨"),
    *("x" * 65, "x" * 129, "9" * 5000, "%s%n", "${jndi:ldap://x}", "<script>", "data:image/png;base64,AAAA"),
)
NUMBERS = (0, 1, -1, 2, 32, 129, 1024**2, 2**31, 2**63, 2**64, 10**400, 0.5, -0.0, 1e308, 5e-324, 1e999, float("nan"))


def value(rng: Random) -> Any:
    """Makes any JSON value, of any depth that a parser accepts."""
    roll = rng.random()
    if roll < 0.35:
        return rng.choice(NUMBERS)
    if roll < 0.7:
        return rng.choice(TEXTS)
    if roll < 0.85:
        return rng.choice((None, True, False, [], {}, [0], {"a": 1}, [[]], {"": None}))
    if roll < 0.95:
        return [value(rng) for _ in range(rng.randrange(4))]
    return nested(rng)


def nested(rng: Random) -> Any:
    """Makes a value as deep as the parser accepts; near that depth, the code that reads the value fails first."""
    inner: Any = 1
    array = rng.random() < 0.5
    for _ in range(rng.choice((3, 100, rng.randrange(800, 1000)))):
        inner = [inner] if array else {"a": inner}
    return inner


def name(rng: Random) -> str:
    """Returns an option's name, or another name."""
    known: str = rng.choice(OPTIONS)
    if rng.random() < 0.7:
        return known
    return rng.choice((*TEXTS, known[:-1], known.upper(), "body", "data", "instances", "x" * 100_000))


def options(rng: Random) -> dict[str, Any]:
    """Makes a handful of options, mostly with right names and wrong values."""
    return {name(rng): value(rng) for _ in range(rng.randrange(5))}


def text(given: object, rng: Random) -> str:
    """Makes JSON of a value, now and then broken, or with a part that is very deep, long or frequent."""
    try:
        written = json.dumps(given)
    except RecursionError:
        written = "[" * 2000
    roll = rng.random()
    if roll < 0.2:
        place = rng.randrange(len(written) + 1)
        return (
            written[:place]
            + rng.choice(('"', "{", "}", "[", "\\", "\\ud800", "\0", ",", "NaN", "1" * 5000))
            + written[place:]
        )
    if roll < 0.25:
        return written[: rng.randrange(len(written) + 1)]
    if roll < 0.27:
        bulks: tuple[Callable[[], str], ...] = (
            lambda: "[" * 100_000,
            lambda: '{"a":' * 100_000,
            lambda: "[" + "[]," * 1_000_000 + "0]",
            lambda: json.dumps({"image": "", "label": "x" * 2_000_000}),
            lambda: json.dumps({"image": "", "x" * 2_000_000: 1}),
            lambda: json.dumps({str(number): number for number in range(100_000)}),
        )
        return rng.choice(bulks)()
    return written
