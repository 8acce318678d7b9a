"""Low-resolution logits → masks of the image's size, only where there is a mask.

Stock SAM brings every mask to the full frame twice (256 → 1024 px, then to the image), both bilinear, before it
looks at any of it. Bilinear interpolation is linear and separable, so both steps are one small matrix per axis;
and it never exceeds the values it mixes, so outside the window of logits over the lowest threshold nothing
needs to be computed. The windows are gathered into a few common sizes and computed as batched matrix products.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

WINDOWS = (16, 32, 64, 128, 256)
"""Sides of windows, in low-resolution px; a window takes the smallest that fits, its rows and columns apart."""


class Axis:
    """Interpolation along one axis: from low-resolution logits to pixels of the image.

    Args:
        frame: Side of the frame the model sees, px (1024).
        low: Side of the frame's low-resolution logits, px (256).
        inside: Length of the image within the frame, px; the rest is padding.
        length: Length of the image, px.
        device: Where masks are computed.
    """

    def __init__(self, frame: int, low: int, inside: int, length: int, device: torch.device) -> None:
        whole = _bilinear(inside, length) @ _bilinear(low, frame)[:inside]
        used = whole > 0
        first, last = used.argmax(axis=1), low - 1 - used[:, ::-1].argmax(axis=1)
        self.length = length
        self.tokens = int(last.max()) // 4 + 1
        """Tokens, of 4 low-resolution px each, that the image's pixels are made of; the rest is padding."""
        self.low = 4 * self.tokens
        # Rows of zeros behind the last pixel: what a window has too much falls there.
        self.weights = torch.from_numpy(np.pad(whole[:, : self.low], ((0, length), (0, 0)))).float().to(device)
        self.first, self.last = torch.from_numpy(first).to(device), torch.from_numpy(last).to(device)
        cells = np.arange(self.low)
        # For each low-resolution px the first and the last pixel of the image that it has a part in.
        self.from_pixel = torch.from_numpy(np.searchsorted(last, cells, side="left")).to(device)
        self.to_pixel = torch.from_numpy(np.searchsorted(first, cells, side="right") - 1).to(device)

    def window(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The pixels that low-resolution px from `low` to `high` (B each, inclusive) have a part in.

        Returns:
            First pixel, last pixel, and the first low-resolution px that these pixels need; B each.
        """
        first, last = self.from_pixel[low], self.to_pixel[high]
        # A px may have no part in any pixel where an image is smaller than its logits: an empty window.
        last = torch.maximum(last, first - 1).clamp(max=self.length - 1)
        first = first.clamp(max=self.length - 1)
        return first, last, self.first[first]

    def span(self, size: int, first: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
        """First pixel and number of pixels to compute of windows: all where a window is the whole axis.

        Then all windows of that size share one matrix, which need not be gathered for each.
        """
        if size < self.low:
            return first, count
        return torch.zeros_like(first), torch.full_like(count, self.length)

    def need(self, first: Tensor, last: Tensor) -> Tensor:
        """Low-resolution px that pixels from `first` to `last` (B each, inclusive) are made of."""
        return torch.where(last >= first, self.last[last.clamp(min=0)] - self.first[first] + 1, 1)


def _bilinear(inputs: int, outputs: int) -> NDArray[np.float64]:
    """The matrix (outputs × inputs) of bilinear interpolation along one axis: what it does to the identity.

    Asking torch gives its own weights, rounding included; a logit that is off by 1e-5 can move a pixel.
    """
    identity = torch.eye(inputs)[None]
    return F.interpolate(identity, size=outputs, mode="linear", align_corners=False)[0].T.double().numpy()


@dataclass(frozen=True)
class Windows:
    """Masks whose windows have one size.

    Attributes:
        logits: The windows' low-resolution logits less the mask threshold, B × m × n.
        row: First pixel row of each window, B.
        column: First pixel column of each window, B.
        low_row: First low-resolution row, B.
        low_column: First low-resolution column, B.
        rows: Pixel rows of each window, B.
        columns: Pixel columns of each window, B.
        index: Which mask of the given ones each is, B.
    """

    logits: Tensor
    row: Tensor
    column: Tensor
    low_row: Tensor
    low_column: Tensor
    rows: Tensor
    columns: Tensor
    index: Tensor

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, chosen: Tensor | slice) -> Windows:
        return Windows(*(getattr(self, name)[chosen] for name in self.__dataclass_fields__))

    def cover(self, frame: Tensor) -> None:
        """Marks the masks' low-resolution px in a frame (rows × columns, bool)."""
        mask, y, x = torch.nonzero(self.logits > 0, as_tuple=True)
        frame[self.low_row[mask] + y, self.low_column[mask] + x] = True

    @classmethod
    def cat(cls, parts: Sequence[Windows]) -> Windows:
        """Joins windows of one size."""
        return cls(*(torch.cat([getattr(part, name) for part in parts]) for name in cls.__dataclass_fields__))

    @property
    def pixels(self) -> int:
        """Of the image, in the tallest and widest of the windows."""
        return max(1, int(self.rows.max()) * int(self.columns.max())) if len(self) else 1


class Upsampler:
    """Masks of one crop, from logits to pixels.

    Args:
        frame: Side of the frame the model sees, px.
        low: Side of the frame's low-resolution logits, px.
        inside: (height, width) of the crop within the frame, px.
        size: (height, width) of the crop in the image, px.
        device: Where masks are computed.
    """

    def __init__(
        self, frame: int, low: int, inside: tuple[int, int], size: tuple[int, int], device: torch.device
    ) -> None:
        self.vertical = Axis(frame, low, inside[0], size[0], device)
        self.horizontal = Axis(frame, low, inside[1], size[1], device)

    def windows(self, logits: Tensor, lowest: float) -> Iterator[Windows]:
        """Cuts masks to where they can exceed a threshold, grouped by window size.

        Args:
            logits: Less the mask threshold, B × m × n, m and n as `Axis.low` says.
            lowest: The lowest threshold that will be asked for.

        Yields:
            Windows; one without pixels for a mask that exceeds the threshold nowhere.
        """
        over = logits > lowest
        row, rows, low_row, height = _extent(over.any(2), self.vertical)
        column, columns, low_column, width = _extent(over.any(1), self.horizontal)
        tall = torch.bucketize(height, height.new_tensor(WINDOWS))
        wide = torch.bucketize(width, width.new_tensor(WINDOWS))
        group = tall * len(WINDOWS) + wide
        for code in torch.unique(group).tolist():
            m = min(WINDOWS[code // len(WINDOWS)], self.vertical.low)
            n = min(WINDOWS[code % len(WINDOWS)], self.horizontal.low)
            index = torch.nonzero(group == code)[:, 0]
            # A window at the frame's end is moved back so that it stays inside.
            top = low_row[index].clamp(max=self.vertical.low - m)
            left = low_column[index].clamp(max=self.horizontal.low - n)
            y = (top[:, None] + torch.arange(m, device=top.device))[:, :, None]
            x = (left[:, None] + torch.arange(n, device=top.device))[:, None, :]
            first_row, height_px = self.vertical.span(m, row[index], rows[index])
            first_column, width_px = self.horizontal.span(n, column[index], columns[index])
            yield Windows(
                logits[index[:, None, None], y, x],
                first_row,
                first_column,
                top,
                left,
                height_px,
                width_px,
                index,
            )

    def pixels(self, windows: Windows) -> Tensor:
        """Interpolates windows.

        Args:
            windows: B of one size.

        Returns:
            B × h × w logits, h and w those of the largest, at least 1; exactly 0 where a window is smaller.
        """
        down = _rows(self.vertical, windows.row, windows.rows, windows.low_row, windows.logits.shape[1])
        right = _rows(self.horizontal, windows.column, windows.columns, windows.low_column, windows.logits.shape[2])
        return down @ windows.logits @ right.transpose(1, 2)

    def measure(self, windows: Windows, offset: float, part: slice) -> tuple[Tensor, Tensor]:
        """Stability and box of masks, as stock SAM defines them.

        Args:
            windows: Of one size, cut at a threshold of -offset or lower.
            offset: The shift of the threshold, ≥ 0.
            part: Which B of them to measure.

        Returns:
            Pixels over the raised threshold / pixels over the lowered one (B; NaN where there are none), and
            boxes (B × 4: left, top, right, bottom, inclusive, px of the crop; zeros for an empty mask).
        """
        windows = windows[part]
        logits = self.pixels(windows)
        # What lies beyond a smaller window is 0: over a threshold of -offset, and to be taken off.
        beyond = logits[0].numel() - windows.rows * windows.columns if offset > 0 else 0
        stability = _count(logits > offset) / (_count(logits > -offset) - beyond)
        vertical, horizontal = logits.amax(2) > 0, logits.amax(1) > 0
        top, bottom = _first(vertical), _last(vertical)
        left, right = _first(horizontal), _last(horizontal)
        boxes = torch.stack(
            [left + windows.column, top + windows.row, right + windows.column, bottom + windows.row], dim=1
        )
        return stability, boxes * vertical.any(1)[:, None]


def _count(over: Tensor) -> Tensor:
    """True pixels of each mask; two narrow sums are ten times as fast as one wide one."""
    return over.sum(-1, dtype=torch.int16).sum(-1, dtype=torch.int32)


def _first(occupied: Tensor) -> Tensor:
    """Index of the first True of each row."""
    return occupied.to(torch.uint8).argmax(1)


def _last(occupied: Tensor) -> Tensor:
    """Index of the last True of each row."""
    return occupied.shape[1] - 1 - _first(occupied.flip(1))


def _extent(occupied: Tensor, axis: Axis) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of masks' occupied rows (B × n, bool): first pixel, pixels, first low-resolution px, px needed; B each."""
    first, last, low_first = axis.window(_first(occupied), _last(occupied))
    some = occupied.any(1)
    return first, torch.where(some, last - first + 1, 0), low_first, torch.where(some, axis.need(first, last), 1)


def _rows(axis: Axis, first: Tensor, count: Tensor, low: Tensor, size: int) -> Tensor:
    """Each window's interpolation matrix, B × pixels × size, zero where a window has fewer pixels."""
    if size == axis.low:
        return axis.weights[None, : axis.length]
    steps = torch.arange(max(1, int(count.max())), device=first.device)
    pixels = torch.where(steps < count[:, None], first[:, None] + steps, axis.length)
    cells = low[:, None] + torch.arange(size, device=first.device)
    return axis.weights[pixels[:, :, None], cells[:, None, :]]
