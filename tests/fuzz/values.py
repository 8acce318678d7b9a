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


RUNS = ("", "0", "1", "P", "o", "0" * 5000, "PPPPPPPPPPPP1", "l61", "é", "04L1", "\x00")
"""Run lengths: none of them, of other masks, and of one of 3 × 4 px."""


def prompts(rng: Random, tokens: tuple[str, ...]) -> Any:
    """Prompts that are mostly right, with a place or two where they are not."""
    if rng.random() < 0.1:
        return value(rng)
    return [prompt(rng, tokens) for _ in range(rng.choice((0, 1, 1, 2, 3, 65, 1001)))]


def prompt(rng: Random, tokens: tuple[str, ...]) -> Any:
    """One prompt, on an image of 60 × 40 px."""
    if rng.random() < 0.05:
        return value(rng)

    def number() -> Any:
        return rng.choice((rng.uniform(-1, 61), rng.randrange(40))) if rng.random() < 0.95 else value(rng)

    def token() -> Any:
        given = rng.choice(tokens)
        place = rng.randrange(len(given))
        return rng.choice((given, given[:place] + rng.choice("A-_/é") + given[place + 1 :], given[place:]))

    def runs() -> Any:
        size = rng.choice(([40, 60], [3, 4], [number(), number()]))
        return {"size": size, "counts": rng.choice(RUNS)} | rng.choice(({}, {"x": number(), "y": number()}))

    points = [[number(), number()] for _ in range(rng.choice((0, 1, 1, 2, 101)))]
    whole: dict[str, Callable[[], Any]] = {
        "points": lambda: points,
        "labels": lambda: [rng.randrange(2) for _ in points] if rng.random() < 0.9 else value(rng),
        "box": lambda: sorted(rng.uniform(0, 40) for _ in range(4)) if rng.random() < 0.5 else [number()] * 4,
        "mask": rng.choice((runs, token)),
        "multimask": lambda: rng.random() < 0.5 if rng.random() < 0.9 else value(rng),
    }
    keys = rng.sample(sorted(whole), rng.randrange(1, 4))
    return {
        key if rng.random() < 0.98 else name(rng): whole[key]() if rng.random() < 0.95 else value(rng) for key in keys
    }


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
