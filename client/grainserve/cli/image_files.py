"""Turns what a command was given into image files: files as they are, folders into their images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.markup import escape

from grainserve.cli.terminal import errors
from grainserve.errors import InvalidImage
from grainserve.exports.formats import FORMATS
from grainserve.images import ENDINGS

SHOWN = 10
"""Files passed over that are named; of more there is the number."""


@dataclass(frozen=True)
class Inputs:
    """The images to measure, and what was passed over.

    Attributes:
        images: in the order given, those of a folder by name.
        passed_over: what lay in the folders beside them, and why it was not taken.
    """

    images: list[Path]
    passed_over: list[tuple[Path, str]]

    def say_passed_over(self) -> None:
        """Tells on standard error what was not taken."""
        for path, why in self.passed_over[:SHOWN]:
            errors.print(f"passed over: {escape(str(path))} ({escape(why)})", soft_wrap=True)
        if len(self.passed_over) > SHOWN:
            errors.print(f"passed over: {len(self.passed_over) - SHOWN} more")


def gather(given: Iterable[Path]) -> Inputs:
    """Looks into the folders among what was given; hidden files there are nobody's images.

    Raises:
        InvalidImage: a folder cannot be listed, or has no image.
    """
    images: list[Path] = []
    passed_over: list[tuple[Path, str]] = []
    for path in given:
        if not path.is_dir():
            images.append(path)
            continue
        try:
            inside = sorted(each for each in path.iterdir() if not each.name.startswith("."))
        except OSError as error:
            raise InvalidImage(f"{path} cannot be listed: {error.strerror or error}") from error
        reasons = [(each, _why_not(each, inside)) for each in inside]
        found = [each for each, why in reasons if why is None]
        if not found:
            raise InvalidImage(f"{path} has no image in it: images are files named {', '.join(ENDINGS)}")
        images += found
        passed_over += [(each, why) for each, why in reasons if why is not None]
    return Inputs(images, passed_over)


def _why_not(path: Path, beside: Sequence[Path]) -> str | None:
    """Says why a file in a folder is no image to measure; None where it is one."""
    if path.is_dir():
        return "a folder: name it to have its images"
    if path.suffix.lower() not in ENDINGS:
        return "not an image by its name"
    for form in FORMATS.values():
        name = path.name.removesuffix(form.ending)
        if name != path.name and any(other.stem == name for other in beside):
            return f"grainserve made it of {name}"
    return None
