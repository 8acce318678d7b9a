"""The scale of an image: from its file's metadata, or from a scale bar in the picture."""

from grainserve.scale.find import Mode, find_scale, with_scale
from grainserve.scale.units import Scale

__all__ = ["Mode", "Scale", "find_scale", "with_scale"]
