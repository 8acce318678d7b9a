"""Result files as commands are given them, and the images that they belong to."""

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
"""Of JSON that is written beside results, and is none."""

ResultFiles = Annotated[
    list[Path],
    typer.Argument(metavar="RESULT", help="Results as `analyze` writes them (NAME.json), or folders of them."),
]


def results_in(paths: Sequence[Path]) -> list[Path]:
    """Finds results: files that `Result.to_json` wrote, and those in folders; says which JSON it leaves out.

    Left out are other exports, such as NAME_coco.json, and, in a folder, whatever is no result.

    Raises:
        InvalidResult: there are none, or a folder has none.
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
    """Whether to take it: a file that was named is one unless its name says otherwise, and reading it will tell."""
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
    """What a result file, or a folder of them, is called."""
    return path.resolve().name if path.is_dir() else path.stem


def sample_name(paths: Sequence[Path]) -> str:
    """What the sample of files or folders is called, unless told otherwise."""
    names = [name_of(path) for path in paths if not path.name.endswith(_OTHER_ENDINGS)]
    return ", ".join(names) if len(names) <= 3 else f"{names[0]} and {len(names) - 1} others"
