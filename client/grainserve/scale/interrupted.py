"""Finds scale bars interrupted by their number: `├── 50 µm ──┤`, as Thermo Fisher (FEI) draws them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from grainserve.scale.appearance import BRIGHT, DARK, UNEVEN, colour_of, contrast_of, core, is_drawn, is_even
from grainserve.scale.runs import CONTRAST, Stack

WIDEST_WRITTEN, WIDEST_EMPTY = 6, 3
"""Largest gap with a number in it, in lengths of the longer piece beside it, and largest empty gap, in lengths of the
bar."""

ALIKE_PIECES, ALIKE_COLOURS = 0.75, 40
"""Least length of the shorter piece, as a share of the longer one, since numbers stand in the middle; and largest
difference between the colours of the two pieces, levels of 255."""

SHARE_OF_PIECE, PLAIN = 4, 0.8
"""Limits of another piece of a bar beyond a gap: it is at least 1/`SHARE_OF_PIECE` as long as the bar, and stands out
from the pixels above and below it in at least the share `PLAIN` of its columns."""

STROKES, INK = 3, (0.08, 0.8)
"""A number with its unit has at least `STROKES` strokes side by side and covers a share within `INK` of the columns."""

MARGIN = 0.45
"""Largest distance of the text from either piece, as a share of the gap."""


def interrupted(
    frame: NDArray[np.uint8], plane: NDArray[np.uint8], found: NDArray[np.int64]
) -> Iterator[tuple[Stack, float, float, tuple[int, int, int]]]:
    """Finds pairs of pieces in a line that are alike in colour, thickness and length, with text between them.

    Args:
        frame: H × W × 3, uint8.
        plane: H × W, uint8; channel in which the pieces are bright.
        found: n × 4, int64; x0, x1, y0, y1 of the stacks in the plane.

    Yields:
        For each pair: the stack from the start of the first piece to the end of the second; its length from outer edge
        to outer edge, ticks included, px; its contrast, levels of 255; its colour.
    """
    for left, right in _pairs(frame, found):
        shorter, longer = sorted((left.length, right.length))
        colours = [colour_of(frame, each) for each in (left, right)]
        if shorter < ALIKE_PIECES * longer - 2 or np.ptp(colours, axis=0).max() > ALIKE_COLOURS:
            continue
        if not all(is_drawn(colour_of(frame, each)) and is_even(frame, each) for each in (left, right)):
            continue
        contrast = min(contrast_of(plane, each, ends=False) for each in (left, right))
        if contrast < CONTRAST or not _is_written(frame, left, right):
            continue
        before, after = _reach(frame, left, -1), _reach(frame, right, 1)
        whole = Stack(int(before), int(np.ceil(after)), min(left.y0, right.y0), max(left.y1, right.y1))
        yield whole, after - before, contrast, colours[0]


def goes_on(frame: NDArray[np.uint8], stack: Stack) -> bool:
    """Tells whether another piece follows a bar beyond a gap at either end: as thick, of its colour, in its rows.

    Args:
        frame: H × W × 3, uint8.
        stack: the bar.
    """
    height, width = frame.shape[:2]
    reach, shortest = WIDEST_EMPTY * stack.length, max(12, stack.length // SHARE_OF_PIECE)
    # Two rows on each side, as in `contrast_of`: the stack may lack some rows of the bar, and stand in a texture.
    above, below = [max(0, stack.y0 - 3), stack.y0 - 2], [stack.y1 + 1, min(stack.y1 + 2, height - 1)]
    for columns in (slice(max(0, stack.x0 - reach), stack.x0 - 3), slice(stack.x1 + 3, min(width, stack.x1 + reach))):
        if columns.stop - columns.start < shortest:
            continue
        line = _share(frame, stack, (core(stack), columns)).mean(axis=0) > 0.7
        beside = np.max([_share(frame, stack, (rows, columns)).min(axis=0) for rows in (above, below)], axis=0) < 0.5
        # A texture beside a piece hides some of its columns.
        covered = np.convolve(line & beside, np.ones(shortest), "valid")
        if covered.max() >= PLAIN * shortest:
            return True
    return False


def _pairs(frame: NDArray[np.uint8], found: NDArray[np.int64]) -> Iterator[tuple[Stack, Stack]]:
    """Yields each stack that may be a piece, with the next one in its rows.

    A piece is white, black or vivid, and at least twice as long as thick.
    """
    x0, x1, y0, y1 = found.T
    colour = frame[(y0 + y1) // 2, (x0 + x1) // 2]
    low, high = colour.min(axis=1), colour.max(axis=1)
    slack = UNEVEN // 2
    drawn = (low >= BRIGHT - slack) | (high <= DARK + slack) | ((low <= DARK + slack) & (high >= BRIGHT - slack))
    kept = found[drawn & (x1 - x0 >= 2 * (y1 - y0))]
    kept = kept[np.lexsort((kept[:, 0], kept[:, 2]))]
    rows: dict[int, list[Stack]] = {}
    for each in kept.tolist():
        rows.setdefault(each[2], []).append(Stack(*each))
    for top, row in rows.items():
        near = [other for y in (top - 1, top, top + 1) for other in rows.get(y, ())]
        for one in row:
            behind = [
                other
                for other in near
                if abs(other.y1 - one.y1) <= 1
                and 3 < other.x0 - one.x1 <= WIDEST_WRITTEN * max(one.length, other.length)
            ]
            if behind:
                yield one, min(behind, key=lambda other: other.x0)


def _is_written(frame: NDArray[np.uint8], left: Stack, right: Stack) -> bool:
    """Tells whether the gap between two pieces holds letters in their colour, close to both pieces."""
    gap = right.x0 - left.x1
    # Letters are between a sixth and a half of the number's width tall, and centred on the line.
    half, middle = max(2, gap // 10), (left.y0 + left.y1) // 2
    top, bottom = max(0, middle - half), min(frame.shape[0], middle + half + 1)
    ink = _share(frame, left, (slice(top, bottom), slice(left.x1 + 2, right.x0 - 2))) > 0.5
    columns = ink.any(axis=0)
    if not columns.any() or not INK[0] <= columns.mean() <= INK[1]:
        return False
    inked = np.flatnonzero(columns)
    margins = int(inked[0]) + 2, columns.size - int(inked[-1]) + 1
    strokes = np.count_nonzero(np.diff(columns.astype(int), prepend=0) == 1)
    return max(margins) <= MARGIN * gap and bool(strokes >= STROKES)


def _reach(frame: NDArray[np.uint8], piece: Stack, direction: int) -> float:
    """Finds a piece's end along x, px, its tick included. A pixel covered in part counts by the covered share.

    Args:
        frame: H × W × 3, uint8.
        piece: the piece.
        direction: 1 for the right end, −1 for the left one.
    """
    middle = (piece.x0 + piece.x1) // 2
    if direction > 0:
        columns = slice(middle, min(frame.shape[1], piece.x1 + piece.length))
    else:
        columns = slice(max(0, piece.x0 - piece.length), middle)
    share = _share(frame, piece, (core(piece), columns)).mean(axis=0)[::direction]
    beyond = np.flatnonzero(share < 0.5)
    whole = int(beyond[0]) if beyond.size else share.size
    part = float(share[whole]) if whole < share.size and share[whole] > 0.2 else 0.0
    last = float(share[whole - 1])
    covered = whole + part - (1 - last if last < 0.8 else 0)
    return middle + direction * covered


def _share(frame: NDArray[np.uint8], stack: Stack, part: tuple[slice | list[int], slice]) -> NDArray[np.float64]:
    """Measures the share of each pixel of `part` that a bar covers: 0 in the colour above and below, 1 in the bar's."""
    across = slice(stack.x0 + 3, stack.x1 - 3)
    beside = np.median(frame[[max(0, stack.y0 - 3), min(stack.y1 + 2, frame.shape[0] - 1)], across], axis=(0, 1))
    apart = np.array(colour_of(frame, stack)) - beside
    share: NDArray[np.float64] = (frame[part] - beside) @ apart / max(1.0, apart @ apart)
    return share
