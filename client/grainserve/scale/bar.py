"""Finds a scale bar by its shape."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from grainserve.errors import ScaleConflict, ScaleNotFound
from grainserve.scale.appearance import UNEVEN, colour_of, contrast_of, core, ends_of, is_drawn, is_even, share_of
from grainserve.scale.interrupted import goes_on, interrupted
from grainserve.scale.runs import CONTRAST, Stack, stacks, standing_out

SHORTEST, SHORTEST_RARE, LONGEST = 0.05, 0.2, 0.9
"""Limits of a bar's length, as a share of the image's side along it. Letters are shorter, frames and panels longer.

`SHORTEST_RARE` is for bars that are upright, 1 px thick or of three segments: straight grain boundaries and rows of
grains look like short ones.
"""

SHORTEST_PX, SHORTEST_SEGMENT = 24, 12
SLENDER = 5.0
"""A plain bar is at least this many times longer than thick."""

HAIRLINE_CONTRAST, HAIRLINE_UNEVEN = 80, 30
"""Least contrast of a bar 1 px thick, and largest difference along it, in levels of 255.

A straight grain boundary is a line 1 px thick too, but blurred: its contrast is 50 to 65 in synthetic images. Drawn
lines have a contrast of 100 or more, even after JPEG, and differ by 16 at most along their length.
"""

ALIKE, CONTRAST_DIVIDED = 40, 96
"""Colours of a divided bar's segments, in levels of 255.

`ALIKE` is the largest difference among the dark segments, and among the light ones. `CONTRAST_DIVIDED` is the least
difference between dark and light segments. Rows of grains are neither as alike nor as plain.
"""


@dataclass(frozen=True)
class Bar:
    """A scale bar.

    Attributes:
        x, y, width, height: bounding box, px.
        length: from outer edge to outer edge, px; with end ticks, between the middles of the ticks.
        segments: number of alternating dark and light segments of equal length; 1 for a plain bar.
        contrast: difference from the surroundings, levels of 255.
        colour: median colour of the bar, or of the segments that were seen; R, G, B.
        interrupted: whether the bar's number stands in a gap of it; the length then includes the ticks.
        goes_on: whether something like the bar follows beyond a gap, which may be another piece of it.
    """

    x: int
    y: int
    width: int
    height: int
    length: float
    segments: int
    contrast: float
    colour: tuple[int, int, int]
    interrupted: bool = False
    goes_on: bool = False

    def __str__(self) -> str:
        kind = f" of {self.segments} segments" if self.segments > 1 else " with its number in it" * self.interrupted
        return f"{self.length:.1f} px{kind} at x {self.x}, y {self.y}"

    def overlaps(self, other: Bar) -> bool:
        """Tells whether the two bounding boxes overlap."""
        apart_x = self.x + self.width <= other.x or other.x + other.width <= self.x
        apart_y = self.y + self.height <= other.y or other.y + other.height <= self.y
        return not (apart_x or apart_y)


def scale_bar(bars: Sequence[Bar]) -> Bar:
    """Chooses the bar that gives the scale: of those with the most segments, the one with the most contrast.

    Args:
        bars: bars found in one image.

    Raises:
        ScaleNotFound: there is no bar.
        ScaleConflict: several bars disagree in length by more than 1 %, or a bar may be a piece of a longer one.
    """
    if not bars:
        raise ScaleNotFound("no scale bar was found in the picture: give um_per_px (--um-per-px)")
    most = max(bar.segments for bar in bars)
    likely = sorted((bar for bar in bars if bar.segments == most), key=lambda bar: -bar.contrast)
    best = likely[0]
    if any(abs(bar.length - best.length) > max(1.0, 0.01 * best.length) for bar in likely):
        listed = "; ".join(map(str, likely[:4])) + ("; …" if len(likely) > 4 else "")
        raise ScaleConflict(
            f"{len(likely)} things in the picture may be its scale bar ({listed}): `grainserve scale IMAGE --out "
            "FILE.png` shows them; measure the right one and give um_per_px (--um-per-px)"
        )
    if any(bar.goes_on for bar in likely):
        raise ScaleConflict(
            f"a scale bar in the picture ({best}) may be one piece of a longer one, in a line with it: measure it from "
            "outer edge to outer edge and give um_per_px (--um-per-px)"
        )
    return best


def find_bars(pixels: NDArray[np.uint8]) -> list[Bar]:
    """Finds what may be a scale bar: long, straight, thin, of one colour or of alternating segments, level or upright.

    Searches each colour channel for rectangles brighter or darker than the pixels above and below them (a top-hat).
    Grey alone would not do: a coloured bar may be lost in a texture of the same grey.

    Args:
        pixels: H × W × 3, uint8.

    Returns:
        Bars in order: most segments first, then those interrupted by their number, then by contrast. Of bars that
        overlap only the first is kept.
    """
    bars: list[Bar] = []
    for turned in (False, True):
        frame = np.ascontiguousarray(pixels.transpose(1, 0, 2)) if turned else pixels
        for bar in _level_bars(frame):
            common = bar.segments > 3 or (bar.segments == 1 and bar.height > 1 and not turned)
            if common or bar.width >= SHORTEST_RARE * frame.shape[1]:
                bars.append(replace(bar, x=bar.y, y=bar.x, width=bar.height, height=bar.width) if turned else bar)
    bars.sort(key=lambda bar: (-bar.segments, not bar.interrupted, -bar.contrast))
    kept: list[Bar] = []
    for bar in bars:
        if not any(bar.overlaps(other) for other in kept):
            kept.append(bar)
    return kept


def _level_bars(frame: NDArray[np.uint8]) -> Iterator[Bar]:
    height, width = frame.shape[:2]
    thickest = max(12, min(height, width) // 16)
    shortest = max(SHORTEST_PX, round(SHORTEST * width))
    for channel in range(3):
        bright = np.ascontiguousarray(frame[..., channel])
        for plane in (bright, 255 - bright):
            mask = standing_out(plane, thickest)
            found = stacks(mask, SHORTEST_SEGMENT)
            found = found[_inside(found, width, height)]
            length, thickness = (found[:, 1] - found[:, 0]), (found[:, 3] - found[:, 2])
            for whole, px, contrast, colour in interrupted(frame, plane, found):
                if shortest <= px <= LONGEST * width:
                    box = (whole.x0, whole.y0, whole.length, whole.thickness)
                    yield Bar(*box, px, 1, contrast, colour, interrupted=True)
            slender = length >= SLENDER * thickness
            for each in found[slender & (shortest <= length) & (length <= LONGEST * width)].tolist():
                yield from _plain(frame, plane, Stack(*each))
            blocks = found[(length <= SLENDER * thickness) & (thickness <= 3 * length)]
            yield from _alternating(frame, plane, mask, blocks, shortest)


def _inside(stacks: NDArray[np.int64], width: int, height: int) -> NDArray[np.bool_]:
    """Tells for each stack whether the frame leaves room around it to measure its contrast."""
    x0, x1, y0, y1 = stacks.T
    inside: NDArray[np.bool_] = (x0 >= 4) & (y0 >= 2) & (x1 <= width - 4) & (y1 <= height - 2)
    return inside


def _plain(frame: NDArray[np.uint8], plane: NDArray[np.uint8], stack: Stack) -> Iterator[Bar]:
    hairline = stack.thickness == 1
    least, uneven = (HAIRLINE_CONTRAST, HAIRLINE_UNEVEN) if hairline else (CONTRAST, UNEVEN)
    if (
        is_drawn(colour_of(frame, stack))
        and is_even(frame, stack, uneven)
        and (contrast := contrast_of(plane, stack)) >= least
    ):
        before, after = ends_of(frame, stack)
        length = after - before - _tick(frame, stack)
        box = (stack.x0, stack.y0, stack.length, stack.thickness)
        yield Bar(*box, length, 1, contrast, colour_of(frame, stack), goes_on=goes_on(frame, stack))


def _tick(frame: NDArray[np.uint8], stack: Stack) -> float:
    """Measures the thickness of a bar's end ticks, px; 0 without ticks."""
    reach, widest = max(2, stack.thickness // 2), max(4, stack.length // 8)
    columns = slice(stack.x0, stack.x1)
    thick = 0.0
    for rows in (slice(max(0, stack.y0 - 1 - reach), stack.y0 - 1), slice(stack.y1 + 1, stack.y1 + 1 + reach)):
        tall = (share_of(frame, stack, (rows, columns), stack.x0 - 3) > 0.5).mean(axis=0) >= 0.5
        left, right = int(tall[:widest].sum()), int(tall[-widest:].sum())
        if min(left, right) > 0 and max(left, right) < widest and tall[widest:-widest].mean() < 0.2:
            thick = max(thick, (left + right) / 2)
    return thick


def _alternating(
    frame: NDArray[np.uint8],
    plane: NDArray[np.uint8],
    mask: NDArray[np.bool_],
    blocks: NDArray[np.int64],
    shortest: int,
) -> Iterator[Bar]:
    """Finds divided bars: chains of rectangles of one length, with gaps of the same length between them."""
    following = _following(blocks)
    begins = set(following) - set(following.values())
    for begin in sorted(begins):
        chain = [begin]
        while chain[-1] in following:
            chain.append(following[chain[-1]])
        bar = _divided(frame, plane, mask, [Stack(*each) for each in blocks[chain].tolist()])
        if bar is not None and bar.length >= shortest:
            yield bar


def _following(blocks: NDArray[np.int64]) -> dict[int, int]:
    """Finds which block follows which along x, after a gap as long as the block itself.

    Args:
        blocks: n × 4: x0, x1, y0, y1 of each.

    Returns:
        Index of a block → index of the block that follows it; blocks without one are left out.
    """
    x0, x1, y0, y1 = blocks.T
    length, thickness = x1 - x0, y1 - y0
    margin = np.maximum(2.0, 0.2 * length)
    by_x0 = np.argsort(x0)
    first = np.searchsorted(x0[by_x0], x1 + length - margin, side="left")
    counts = np.searchsorted(x0[by_x0], x1 + length + margin, side="right") - first
    one = np.repeat(np.arange(len(blocks)), counts)
    other = by_x0[np.arange(one.size) + np.repeat(first - np.cumsum(counts) + counts, counts)]
    near = np.abs(length[other] - length[one]) <= np.maximum(2.0, 0.1 * length[one])
    shared = np.minimum(y1[other], y1[one]) - np.maximum(y0[other], y0[one])
    near &= shared >= 0.7 * np.maximum(thickness[other], thickness[one])
    # A block may have several followers. dict keeps the last entry of a key, so the first follower comes last.
    return dict(sorted(zip(one[near].tolist(), other[near].tolist(), strict=True), reverse=True))


def _divided(
    frame: NDArray[np.uint8], plane: NDArray[np.uint8], mask: NDArray[np.bool_], chain: list[Stack]
) -> Bar | None:
    gaps = [Stack(one.x1, other.x0, one.y0, one.y1) for one, other in pairwise(chain)]
    inside = [float(np.median(plane[core(each), each.x0 + 2 : each.x1 - 2])) for each in (*chain, *gaps)]
    contrast = min(inside[: len(chain)]) - max(inside[len(chain) :])
    alike = all(np.ptp([colour_of(frame, each) for each in kind], axis=0).max() <= ALIKE for kind in (chain, gaps))
    if contrast < CONTRAST_DIVIDED or not alike or not all(is_even(frame, each) for each in (*chain, *gaps)):
        return None
    numbers = np.arange(len(chain))
    # Outlines make dark segments longer and light ones shorter; from start to start each is counted once.
    starts, ends, middles = (
        np.polyfit(numbers, values, 1)[0]
        for values in (
            [each.x0 for each in chain],
            [each.x1 for each in chain],
            [(each.y0 + each.y1) / 2 for each in chain],
        )
    )
    along = (starts + ends) / 4
    segment = float(np.hypot(along, middles / 2))
    before = _outlined(mask, chain[0], chain[0].x0 - along)
    after = _outlined(mask, chain[-1], chain[-1].x1 + along)
    x0 = chain[0].x0 - round(along) * before
    x1 = chain[-1].x1 + round(along) * after
    y0, y1 = min(each.y0 for each in chain), max(each.y1 for each in chain)
    count = 2 * len(chain) - 1 + before + after
    return Bar(x0, y0, x1 - x0, y1 - y0, count * segment, count, contrast, colour_of(frame, chain[0]))


def _outlined(mask: NDArray[np.bool_], block: Stack, at: float) -> int:
    """Returns 1 where a line across the bar at x = `at` closes a segment of the other colour beside a block, else 0."""
    x = round(at)
    if not 3 <= x < mask.shape[1] - 3:
        return 0
    rows = mask[core(block)]
    line = rows[:, x - 3 : x + 4].mean(axis=0).max()
    low, high = sorted((x, block.x0 if x < block.x0 else block.x1))
    margin = min(5, (high - low) // 3)
    between = rows[:, low + margin : high - margin].mean()
    return int(line >= 0.7 and between <= 0.2)
