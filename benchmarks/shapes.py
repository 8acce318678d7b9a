"""Ellipses and rectangles, sharp and rounded, with their true measurements and the masks of a perfect segmentation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import ellipe


@dataclass(frozen=True)
class Shape:
    """An ellipse or a rectangle.

    Attributes:
        kind: `ellipse` or `rectangle`.
        diameter: equivalent diameter, px.
        aspect: length over width, 1 or more.
        angle: direction of the length, degrees counter-clockwise from +x as displayed.
    """

    kind: Literal["ellipse", "rectangle"]
    diameter: float
    aspect: float = 1.0
    angle: float = 0.0

    @property
    def length(self) -> float:
        """Side or full axis, px."""
        return math.sqrt(self.area * self.aspect * (4 / math.pi if self.kind == "ellipse" else 1))

    @property
    def width(self) -> float:
        """Side or full axis, px."""
        return self.length / self.aspect

    @property
    def area(self) -> float:
        """px²."""
        return math.pi * self.diameter**2 / 4

    @property
    def truth(self) -> dict[str, float]:
        """True values of the measurements by their wire names, without angles and position."""
        if self.kind == "ellipse":
            perimeter = 2 * self.length * float(ellipe(1 - 1 / self.aspect**2))
            major, diagonal = self.length, self.length
        else:
            perimeter, diagonal = 2 * (self.length + self.width), math.hypot(self.length, self.width)
            major = 4 * self.length / math.sqrt(12)  # the second moment of a length a is a² / 12
        return {
            "area": self.area,
            "perimeter": perimeter,
            "equivalentDiameter": self.diameter,
            "majorAxisLength": major,
            "minorAxisLength": major / self.aspect,
            "feretMax": diagonal,
            "feretMin": self.width,
            "circularity": 4 * math.pi * self.area / perimeter**2,
            "aspectRatio": self.aspect,
            "roundness": 1 / self.aspect,
            "solidity": 1.0,
            "eccentricity": math.sqrt(1 - 1 / self.aspect**2),
        }

    def mask(self, dx: float = 0.0, dy: float = 0.0) -> NDArray[np.bool_]:
        """Returns the shape's pixels: those whose centres it covers.

        Args:
            dx: distance of the shape's centre to the right of the middle pixel's centre, px.
            dy: distance below it, px.

        Returns:
            s × s, bool, s odd; nothing touches the frame.
        """
        half = math.ceil(math.hypot(self.length, self.width) / 2) + 2
        y, x = np.mgrid[-half : half + 1, -half : half + 1].astype(np.float64)
        x, y = x - dx, -(y - dy)
        cosine, sine = math.cos(math.radians(self.angle)), math.sin(math.radians(self.angle))
        u, v = (cosine * x + sine * y) / (self.length / 2), (cosine * y - sine * x) / (self.width / 2)
        return np.asarray(u**2 + v**2 <= 1 if self.kind == "ellipse" else (np.abs(u) <= 1) & (np.abs(v) <= 1))


def rounded(length: float, width: float, radius: float, angle: float = 0.0, off: float = 0.5) -> NDArray[np.bool_]:
    """The pixels of a rectangle whose corners are quarters of circles; of half its width they make a disc, a stadium.

    Args:
        length: Side, px.
        width: The other side.
        radius: Of the corners, px.
        angle: Of the length, degrees clockwise from +x as displayed.
        off: How far its centre lies right of and below the middle pixel's, px.

    Returns:
        s × s, bool, s odd; nothing touches the frame.
    """
    half = math.ceil(math.hypot(length, width) / 2) + 2
    y, x = np.mgrid[-half : half + 1, -half : half + 1] - off
    cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    u, v = np.abs(cosine * x + sine * y), np.abs(cosine * y - sine * x)
    out = np.hypot(np.maximum(u - length / 2 + radius, 0), np.maximum(v - width / 2 + radius, 0))
    return np.asarray((out <= radius) & (u <= length / 2) & (v <= width / 2))
