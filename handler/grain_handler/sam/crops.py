"""Crops: parts of an image that are segmented on their own, and the frame that the model sees of each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from segment_anything.modeling import Sam
from segment_anything.utils.amg import generate_crop_boxes, is_box_near_crop_edge
from segment_anything.utils.transforms import ResizeLongestSide
from torch import Tensor
from torch.nn import functional as F

from grain_handler.sam.upsampling import Upsampler

LOW_PX = 4
"""Side of a low-resolution pixel, px of the frame."""


@dataclass(frozen=True)
class Crop:
    """A part of the image.

    Attributes:
        box: left, top, right and bottom in the image, px; right and bottom exclusive.
        layer: layer of the crop. Layer 0 is the whole image; layer n has 4ⁿ crops.
        image: height and width of the whole image, px.
    """

    box: tuple[int, int, int, int]
    layer: int
    image: tuple[int, int]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the crop, px."""
        return self.box[3] - self.box[1], self.box[2] - self.box[0]

    @property
    def area(self) -> int:
        """Area of the crop, px."""
        return self.size[0] * self.size[1]

    def of(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Returns the crop's pixels, a view of the image (H × W × 3)."""
        left, top, right, bottom = self.box
        return image[top:bottom, left:right]

    def contains(self, other: Crop) -> bool:
        """Tells whether another crop lies in this one."""
        (left, top, right, bottom), (x0, y0, x1, y1) = self.box, other.box
        return left <= x0 and top <= y0 and x1 <= right and y1 <= bottom

    def cuts(self, boxes: Tensor) -> Tensor:
        """Marks the masks that end at an edge of the crop inside the image.

        Args:
            boxes: boxes of the masks in the crop: left, top, right and bottom, px, K × 4.

        Returns:
            K, bool.
        """
        height, width = self.image
        near: Tensor = is_box_near_crop_edge(boxes, list(self.box), [0, 0, width, height])
        return near


def crops_of(height: int, width: int, layers: int, overlap_ratio: float) -> list[Crop]:
    """Returns the whole image, then the crops of each layer, in stock's order.

    An image of a few pixels has fewer crops than 4ⁿ a layer: those without pixels are left out; stock fails on them.

    Args:
        height: height of the image, px.
        width: width of the image, px.
        layers: number of layers beyond the whole image.
        overlap_ratio: overlap of the first layer's crops, share of the image's shorter side.
    """
    boxes, numbers = generate_crop_boxes((height, width), layers, overlap_ratio)
    crops = [Crop(tuple(box), layer, (height, width)) for box, layer in zip(boxes, numbers, strict=True)]
    return [crop for crop in crops if min(crop.size) > 0]


class Framing:
    """The placement of crops in the model's square frame, and the way back to their pixels.

    Args:
        sam: model that gives the frame's side, the normalisation and the device.
    """

    def __init__(self, sam: Sam) -> None:
        # The model itself is not kept: in a lower precision its encoder is replaced, and its memory can be freed.
        self.side: int = sam.image_encoder.img_size
        self.mean, self.std, self.device = sam.pixel_mean, sam.pixel_std, sam.device
        self.mask_threshold: float = sam.mask_threshold
        self.resize = ResizeLongestSide(self.side)

    def frame(self, pixels: NDArray[np.uint8]) -> Tensor:
        """Resizes, normalises and pads pixels to a frame.

        Args:
            pixels: H × W × 3, uint8, RGB.

        Returns:
            3 × side × side, on the model's device.
        """
        resized = torch.as_tensor(self.resize.apply_image(pixels), device=self.device).permute(2, 0, 1)
        normalised = (resized - self.mean) / self.std
        return F.pad(normalised, (0, self.side - normalised.shape[2], 0, self.side - normalised.shape[1]))

    def points(self, points: NDArray[np.float64], crop: Crop) -> Tensor:
        """Places points of a crop in the frame.

        Args:
            points: k × 2, (x, y) in 0…1 of the crop.
            crop: the crop.

        Returns:
            k × 2, (x, y) in px of the frame, on the model's device.
        """
        in_crop = points * np.array(crop.size[::-1])
        return torch.as_tensor(self.resize.apply_coords(in_crop, crop.size), device=self.device)

    def upsampler(self, crop: Crop) -> Upsampler:
        """Makes a crop's upsampler, from the frame's low-resolution logits to the crop's pixels."""
        inside = self.resize.get_preprocess_shape(*crop.size, self.side)
        return Upsampler(self.side, self.side // LOW_PX, inside, crop.size, self.device)
