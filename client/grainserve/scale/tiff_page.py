"""Finds the page of a TIFF that is measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage

REDUCED_OR_MASK = 0b101


def image_page(file: TiffFile) -> TiffPage:
    """Returns the first page that is no smaller copy or mask of another, as `reading.tiff` does; else the first one."""
    for each in file.pages:
        page = each.aspage()
        if not page.subfiletype & REDUCED_OR_MASK:
            return page
    return file.pages.first
