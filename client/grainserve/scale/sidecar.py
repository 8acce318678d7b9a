"""Reads the text file that a microscope writes beside an image."""

from __future__ import annotations

import codecs
import re
from pathlib import Path

from grainserve.scale.pixel_size import PixelSize, Size, pixel_size
from grainserve.scale.units import size_um

LONGEST = 65_536
"""Bytes of a text file that are read at most."""


def sidecar_size(image: Path) -> PixelSize | None:
    """Reads the pixel size from the text file that a JEOL or Hitachi microscope writes beside an image.

    Args:
        image: path of the image; the text file has the same name with the suffix `.txt` or `.TXT`.

    Returns:
        Pixel size; None where there is no such file, or it gives none.

    Raises:
        ScaleError: a size in the file cannot be read, or is in an unknown unit.
    """
    for path in (image.with_suffix(".txt"), image.with_suffix(".TXT")):
        if path.is_file():
            with path.open("rb") as file:
                text = decoded(file.read(LONGEST))
            return _jeol(text, f"JEOL {path.name}") or _hitachi(text, f"Hitachi {path.name}")
    return None


def decoded(data: bytes) -> str:
    """Decodes text of unknown encoding: UTF-16 and UTF-8 with or without byte order mark, Shift JIS, else Latin-1."""
    for mark, encoding in (
        (codecs.BOM_UTF8, "utf-8-sig"),
        (codecs.BOM_UTF16_LE, "utf-16"),
        (codecs.BOM_UTF16_BE, "utf-16"),
    ):
        if data.startswith(mark):
            return data.decode(encoding, errors="replace")
    if b"\0" in data:
        # In UTF-16 an English letter is a zero byte and another byte; big-endian has the zero in front.
        return data.decode("utf-16-be" if data.startswith(b"\0") else "utf-16-le", errors="replace")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("cp932" if b"\x83\xca" in data else "latin-1", errors="replace")  # μ in Shift JIS


def _jeol(text: str, source: str) -> PixelSize | None:
    bar, marker = _value(text, r"\$\$SM_MICRON_BAR[ \t]"), _value(text, r"\$\$SM_MICRON_MARKER[ \t]")
    if not bar or not marker:
        return None
    px, um = size_um(source, bar, "µm"), size_um(source, marker)  # the bar is in px; µm keeps its number
    if not px or um is None:
        return None
    return pixel_size(source, um / px, size=_size(_value(text, r"\$CM_FULL_SIZE[ \t]")), panel=True)


def _hitachi(text: str, source: str) -> PixelSize | None:
    if "[SemImageFile]" not in text:
        return None
    return pixel_size(
        source, size_um(source, _value(text, "PixelSize="), "nm"), size=_size(_value(text, "DataSize=")), panel=True
    )


def _value(text: str, key: str) -> str | None:
    """Returns the text that follows a key at the start of a line."""
    found = re.search(rf"^[ \t]*{key}(.*)$", text, re.MULTILINE)
    return found[1].strip() if found else None


def _size(text: str | None) -> Size | None:
    found = re.fullmatch(r"(\d+)\D+(\d+)", text or "")
    return (int(found[1]), int(found[2])) if found else None
