"""Reads TIFFs of every kind that tifffile and Pillow can write, and compares their pixels with tifffile's.

    python -m benchmarks.readers

The truth is what tifffile and imagecodecs read, brought to 8 bits by the rule of docs/inputs.md, implemented here a
second time. Handler and client must read the pixels of the truth, or refuse the file by its header.
benchmarks/results/readers.json lists the cases. The exit code is 1 if a file is read and unequal.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from benchmarks.tiff_kinds import Kind, kinds
from grain_handler.errors import RequestError, TruncatedImage
from grain_handler.wire.image import read_image
from grainserve.errors import InvalidImage
from grainserve.images import check_image, display_pixels

RESULTS = Path(__file__).parent / "results" / "readers.json"
LOSSY = 6
"""Most levels by which two decoders of a JPEG may differ."""
ROUNDED = 1
"""Most levels by which rounding may differ where colours are computed: inks, transparency, YCbCr."""
SRGB_D50 = ((0.4360747, 0.3850649, 0.1430804), (0.2225045, 0.7168786, 0.0606169), (0.0139322, 0.0971045, 0.7141733))
"""Linear sRGB → XYZ under D50, adapted after Bradford; ICC's sRGB profile holds these columns."""
LAB = 12
"""Most levels by which L*a*b* may differ: LittleCMS interpolates in a table. Dark, saturated colours differ most."""


def truth(data: bytes) -> tuple[NDArray[np.uint8], int]:
    """Decodes a TIFF by tifffile and imagecodecs.

    Returns:
        The pixels, H × W × 3, uint8, and the most levels by which a reading may differ.
    """
    with tifffile.TiffFile(io.BytesIO(data)) as tiff:
        page = tiff.pages.first
        stored, kind = page.asarray(), tifffile.PHOTOMETRIC(page.photometric).name
        bits, extra = page.bitspersample, [tifffile.EXTRASAMPLE(each).name for each in page.extrasamples]
        if page.samplesperpixel > 1 and page.planarconfig == tifffile.PLANARCONFIG.SEPARATE:
            stored = np.moveaxis(stored, 0, -1)
        colours = page.colormap
        if page.compression == tifffile.COMPRESSION.JPEG and kind == "YCBCR":
            kind = "RGB"  # the form that imagecodecs returns
    values = stored if stored.ndim == 3 else stored[..., None]
    if colours is not None:
        return np.moveaxis(colours[:, values[..., 0]] >> 8, 0, -1).astype(np.uint8), 0
    if values.dtype == np.bool_ or (values.dtype == np.uint8 and bits in (1, 2, 4) and values.shape[2] == 1):
        values = (values.astype(np.int64) * 255 // (2**bits - 1)).astype(np.uint8)
        bits = 8
    count = {"RGB": 3, "SEPARATED": 4, "YCBCR": 3, "CIELAB": 3}.get(kind, 1)
    alpha = values[..., count] if extra[:1] in (["ASSOCALPHA"], ["UNASSALPHA"]) else None
    return _shown(values[..., :count], alpha, bits, kind, multiplied=extra[:1] == ["ASSOCALPHA"])


def _shown(
    values: NDArray[Any], alpha: NDArray[Any] | None, bits: int, kind: str, *, multiplied: bool
) -> tuple[NDArray[np.uint8], int]:
    shown, allowed = values.astype(np.float64), 0
    most = 1.0 if values.dtype.kind == "f" else 2.0 ** (bits - (values.dtype.kind == "i")) - 1
    shares = None if alpha is None else (alpha.astype(np.float64) / most).clip(0, 1)[..., None]
    if shares is not None and multiplied:
        shown = np.divide(shown, shares, out=np.zeros_like(shown), where=shares > 0)
        if values.dtype == np.uint8:
            shown = np.rint(shown.clip(0, 255))
    if kind == "SEPARATED":
        shown, allowed = (most - shown[..., :3]) * (most - shown[..., 3:]) / most, ROUNDED
    if kind == "YCBCR" and values.dtype == np.uint8:
        y, blue, red = shown[..., 0], shown[..., 1] - 128, shown[..., 2] - 128
        shown = np.stack([y + 1.402 * red, y - 0.344136 * blue - 0.714136 * red, y + 1.772 * blue], -1).clip(0, 255)
        allowed = ROUNDED
    if kind == "CIELAB":
        return _of_lab(values), LAB
    if (values.dtype, bits) != (np.dtype(np.uint8), 8):
        counted = np.sort((shown if shares is None else shown[shares[..., 0] > 0]).ravel())
        first = counted[int(0.001 * (counted.size - 1))]
        last = counted[int(np.ceil(0.999 * (counted.size - 1)))]
        inside = counted[(counted >= first - 0.1 * (last - first)) & (counted <= last + 0.1 * (last - first))]
        shown = ((shown - inside[0]) / (inside[-1] - inside[0]) * 255).clip(0, 255)
    if kind == "MINISWHITE":
        shown = 255 - shown
    if shares is not None:
        shown, allowed = shown * shares + 255 * (1 - shares), ROUNDED
    return np.broadcast_to(np.rint(shown), (*shown.shape[:2], 3)).astype(np.uint8), allowed


def _of_lab(values: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Converts CIE L*a*b* of 8 bits, under ICC's D50, to sRGB."""
    lightness, (a, b) = values[..., 0] * (100 / 255), (values[..., each].view(np.int8) / 1.0 for each in (1, 2))
    y = (lightness + 16) / 116
    each = np.stack([y + a / 500, y, y - b / 200], axis=-1)
    xyz = np.where(each > 6 / 29, each**3, 3 * (6 / 29) ** 2 * (each - 4 / 29)) * (0.9642, 1, 0.8249)
    linear = (xyz @ np.linalg.inv(SRGB_D50).T).clip(0, 1)
    srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.asarray(np.rint(srgb * 255).astype(np.uint8))


def case(kind: Kind) -> dict[str, Any]:
    """Reads one file with handler and client; `equal` is None if it is refused."""
    told: dict[str, Any] = {"kind": kind.name}
    try:
        seen = read_image(kind.data).pixels
    except RequestError as error:
        try:
            check_image(kind.data)  # only the header, as at upload
        except InvalidImage as mine:
            # An undamaged file must not be called damaged.
            fine = str(mine) == str(error) and not isinstance(error, TruncatedImage)
            return told | {"outcome": "refused", "equal": None if fine else False, "why": str(error)}
        return told | {"outcome": "read", "equal": False, "why": f"the header is taken, the file is not: {error}"}
    expected, allowed = truth(kind.data)
    allowed = LOSSY if kind.lossy else allowed
    equal = seen.shape == expected.shape and bool(np.abs(seen.astype(int) - expected).max() <= allowed)
    return told | {"outcome": "read", "equal": equal and np.array_equal(display_pixels(kind.data), seen)}


def run(every: Iterable[Kind]) -> list[dict[str, Any]]:
    """Runs all cases."""
    return [case(kind) for kind in every]


def main() -> int:
    """Command line entry; returns 1 if a file is read and unequal, or called damaged."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.readers", description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=RESULTS, help="JSON of the cases")
    given = parser.parse_args()
    cases = run(kinds())
    given.out.write_text("[\n" + ",\n".join(json.dumps(each, ensure_ascii=False) for each in cases) + "\n]\n", "utf-8")
    wrong = [each for each in cases if each["equal"] is False]
    for each in wrong:
        print(f"wrong: {each}")
    print(
        {
            f"{outcome}, equal {equal}": n
            for (outcome, equal), n in Counter((c["outcome"], c["equal"]) for c in cases).items()
        }
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
