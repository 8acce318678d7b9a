"""The page of a TIFF whose scale counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage

REDUCED_OR_MASK = 0b101


def image_page(file: TiffFile) -> TiffPage:
    """Finds the page that is measured: the first that is no smaller copy or mask of another, as `reading.tiff` does."""
    for each in file.pages:
        page = each.aspage()
        if not page.subfiletype & REDUCED_OR_MASK:
            return page
    return file.pages.first
