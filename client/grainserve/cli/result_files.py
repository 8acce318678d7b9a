"""Finds the result files that a command is given, and names samples after them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from grainserve.cli.terminal import errors
from grainserve.errors import InvalidResult
from grainserve.exports.formats import FORMATS, FormatName
from grainserve.result import Result

_OTHER_ENDINGS = tuple(
    form.ending for name, form in FORMATS.items() if form.ending.endswith(".json") and name is not FormatName.JSON
)
"""Endings of JSON files that are written beside results and are no results."""

ResultFiles = Annotated[
    list[Path],
    typer.Argument(metavar="RESULT", help="Results as `analyze` writes them (NAME.json), or folders of them."),
]


def results_in(paths: Sequence[Path]) -> list[Path]:
    """Finds result files (JSON that `Result.to_json` wrote) among files and in folders.

    Leaves out other exports, such as NAME_coco.json, and in folders all JSON that is no result; prints what it leaves
    out.

    Args:
        paths: files and folders, as the command was given them.

    Raises:
        InvalidResult: no results are left, or a folder has none.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            own = [file for file in sorted(path.glob("*.json")) if _is_result(file, in_folder=True)]
            if not own:
                raise InvalidResult(f"{path} has no results: give a folder of files that `grainserve analyze` wrote")
            found += own
        elif _is_result(path, in_folder=False):
            found.append(path)
    if not found:
        raise InvalidResult("no results are left: give files that `grainserve analyze` wrote")
    return found


def _is_result(file: Path, *, in_folder: bool) -> bool:
    """Tells whether to take a file as a result; prints why if not.

    Of a file that was named, only the name is checked here: reading it later raises if it is no result.
    """
    if file.name.endswith(_OTHER_ENDINGS):
        _say_left_out(f"{file} is another export")
        return False
    if not in_folder:
        return True
    try:
        Result.from_json(file)
    except InvalidResult as error:
        _say_left_out(str(error))
        return False
    return True


def _say_left_out(why: str) -> None:
    errors.print(f"left out: {escape(why)}", soft_wrap=True)


def name_of(path: Path) -> str:
    """Returns the name of a result file or of a folder."""
    return path.resolve().name if path.is_dir() else path.stem


def sample_name(paths: Sequence[Path]) -> str:
    """Returns the default name of a sample made of these files and folders."""
    names = [name_of(path) for path in paths if not path.name.endswith(_OTHER_ENDINGS)]
    return ", ".join(names) if len(names) <= 3 else f"{names[0]} and {len(names) - 1} others"
