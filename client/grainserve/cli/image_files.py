"""Gathers the image files that a command is given: files as they are, folders as the images in them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.markup import escape

from grainserve.cli.terminal import errors
from grainserve.errors import InvalidImage
from grainserve.exports.formats import FORMATS
from grainserve.images import ENDINGS

SEGMENTS = "_segments.png"
"""Ending of the pictures that `segment` draws."""

SHOWN = 10
"""Passed-over files that are named; the others are only counted."""


@dataclass(frozen=True)
class Inputs:
    """The images to measure, and the files that were passed over.

    Attributes:
        images: images in the order given; those of a folder in the order of their names.
        passed_over: other entries of the folders, each with the reason why it was not taken.
    """

    images: list[Path]
    passed_over: list[tuple[Path, str]]

    def say_passed_over(self) -> None:
        """Prints on standard error which files were passed over, and why."""
        for path, why in self.passed_over[:SHOWN]:
            errors.print(f"passed over: {escape(str(path))} ({escape(why)})", soft_wrap=True)
        if len(self.passed_over) > SHOWN:
            errors.print(f"passed over: {len(self.passed_over) - SHOWN} more")


def gather(given: Iterable[Path]) -> Inputs:
    """Finds the images among files and in folders. Hidden files in folders are ignored.

    Args:
        given: files and folders, as the command was given them.

    Raises:
        InvalidImage: a folder cannot be listed, or holds no image; or the URI of an object is given.
    """
    images: list[Path] = []
    passed_over: list[tuple[Path, str]] = []
    for path in given:
        if path.parts[:1] == ("gs:",):  # a path has single slashes
            raise InvalidImage(f"{path} is no file: `grainserve submit` takes objects of buckets, and `wait` their ids")
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
    """Returns why an entry of a folder is no image to measure; None if it is one."""
    if path.is_dir():
        return "a folder: name it to have its images"
    if path.suffix.lower() not in ENDINGS:
        return "not an image by its name"
    for ending in (*(form.ending for form in FORMATS.values()), SEGMENTS):
        name = path.name.removesuffix(ending)
        if name != path.name and any(other.stem == name for other in beside):
            return f"grainserve made it of {name}"
    return None
