"""Which images are taken, told from their headers."""

from __future__ import annotations

import io

import numpy as np
import pytest
import tifffile
from PIL import Image

from grainserve import admission
from grainserve.admission import check_any, check_header
from grainserve.errors import ImageRejected


def png(width: int, height: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height)).save(file, "PNG")
    return file.getvalue()


def test_a_large_image_is_taken_to_be_measured_in_tiles_and_not_by_a_model() -> None:
    header = check_any(png(1025, 40))
    assert admission.is_large(header)
    assert not admission.is_large(check_any(png(1024, 1024)))
    with pytest.raises(ImageRejected, match="the limit is 1024 px") as refused:
        check_header(png(1025, 40))
    assert (refused.value.status, refused.value.code) == (413, "image_too_large")


def test_an_image_of_more_megapixels_is_refused_by_its_header(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "MAX_MEGAPIXELS", 1)
    check_any(png(1000, 1000))
    with pytest.raises(ImageRejected, match="the limit is 1 megapixels") as refused:
        check_any(png(1001, 1000))
    assert (refused.value.status, refused.value.code) == (413, "image_too_large")


def test_levels_that_unpack_to_more_memory_are_refused_by_the_header(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "MAX_LEVELS_MIB", 1)
    file = io.BytesIO()
    tifffile.imwrite(file, np.zeros((210, 210, 3)), photometric="rgb")  # 8 bytes each
    with pytest.raises(ImageRejected, match="unpack to 1 MiB") as refused:
        check_any(file.getvalue())
    assert (refused.value.status, refused.value.code) == (413, "image_too_large")
