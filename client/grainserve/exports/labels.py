"""Writes the label map as OME-TIFF."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from grainserve.results.data import ResultData

UM_PER_CM = 10_000


def write_labels(result: ResultData, path: Path) -> None:
    """Writes each pixel's grain id, 0 for background, as a compressed 16-bit OME-TIFF.

    With a scale, the pixel size stands in the OME-XML, µm, and in TIFF's resolution tags for programs that do not read
    OME.

    Args:
        result: result to write.
        path: file to write.

    Raises:
        MasksMissing: the result was asked for with mask_format `none`.

    Warns:
        UserWarning: an id is over 65535, so the image has 32 bits, which some programs do not read.
    """
    import tifffile  # noqa: PLC0415

    labels = result.label_map
    largest = int(labels.max(initial=0))
    kind = np.uint16 if largest <= np.iinfo(np.uint16).max else np.uint32
    if kind is np.uint32:
        warnings.warn(
            f"{path} has 32 bits a pixel, for ids up to {largest}: ImageJ without Bio-Formats does not read it",
            stacklevel=2,
        )
    metadata: dict[str, object] = {"axes": "YX", "Name": result.image_id}
    if result.um_per_px is None:
        resolution = None
    else:
        resolution = (UM_PER_CM / result.um_per_px,) * 2
        for axis in "XY":
            metadata |= {f"PhysicalSize{axis}": result.um_per_px, f"PhysicalSize{axis}Unit": "µm"}
    tifffile.imwrite(
        path,
        labels.astype(kind),
        ome=True,
        photometric="minisblack",
        compression="zlib",
        resolution=resolution,
        resolutionunit=None if resolution is None else "CENTIMETER",
        metadata=metadata,
    )
