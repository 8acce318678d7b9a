"""Files of a sample: one file of all its images, or an archive of files of each."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TypeVar

from grainserve.errors import GrainserveError, NoResults, StorageError
from grainserve.exports import formats
from grainserve.exports.formats import FORMATS, Choices, FormatName
from grainserve.gateway import files, sample_answers
from grainserve.gateway.archive import unique_stems, zip_parts
from grainserve.gateway.refusals import refusal
from grainserve.gateway.sample_answers import Ways
from grainserve.gateway.sample_images import Shelf
from grainserve.library.samples import SampleRecord
from grainserve.result import Result

ZIP, XLSX = "zip", "xlsx"
"""Formats of a sample beside those of an image. `zip` is all of them, and a format without a file for several images
comes in an archive, too."""

_XLSX_TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
Made = TypeVar("Made")
REPORT, LEFT_OUT = "report.html", "left_out.txt"
"""The report in an archive, and the file that says what it lacks, and why."""


_OF_ALL = {"statistics.json": FormatName.STATISTICS, "sample.xlsx": XLSX, REPORT: REPORT}
"""Files of all images together in an archive, and the format of each."""


def is_one_file(form: str) -> bool:
    """Tells whether a format has one file for several images."""
    if form in {XLSX, FormatName.STATISTICS}:
        return True
    return form != ZIP and FORMATS[FormatName(form)].write_together is not None


def ending_of(form: str) -> str:
    """Returns the ending of the name of a sample's file."""
    if not is_one_file(form):
        return ".zip"
    return ".xlsx" if form == XLSX else FORMATS[FormatName(form)].ending


def write_one(shelf: Shelf, sample: SampleRecord, form: str, path: Path, ways: Ways) -> str:
    """Writes all images of a sample as one file; returns its content type.

    Args:
        shelf: jobs and results of the caller.
        sample: the sample.
        form: a format that `is_one_file`.
        path: file to write.
        ways: how figures and tables are made.

    Raises:
        NoResults: no image is measured.
        ExtraMissing: a library is not installed.
        SampleTooLarge: the images have more grains than are measured at once.
        And the errors of the format.
    """
    if form == XLSX:
        from grainserve.exports.workbook import check_library, write_workbook  # noqa: PLC0415 - imports statistics

        check_library()
    else:
        FORMATS[FormatName(form)].check_library()
    images = shelf.read(sample.image_ids, ways.keep("figures") if form == FormatName.STATISTICS else "all")
    results, names = [each.result for each in images.measured], [each.name for each in images.measured]
    if not results:
        raise NoResults()
    if form == XLSX:
        write_workbook(sample_answers.summary_of(sample.name, images, ways), results, names, path)
        return _XLSX_TYPE
    if form == FormatName.STATISTICS:
        sample_answers.summary_of(sample.name, images, ways).to_json(path)
    else:
        formats.write_together(results, names, path, FormatName(form), ways.csv_dialect)
    return FORMATS[FormatName(form)].media_type


def archive(shelf: Shelf, sample: SampleRecord, form: str, ways: Ways, places: ExitStack) -> Iterator[bytes]:
    """Makes an archive, part by part; what concerns all images is made before the first part.

    `results/` holds the files of each image. With `zip` these are of every format, and statistics.json, sample.xlsx and
    report.html are beside them. `left_out.txt` says what is not there, and why.

    Args:
        shelf: jobs and results of the caller.
        sample: the sample.
        form: `zip`, or a format that has a file for each image.
        ways: how figures and tables are made.
        places: what is given back at the end: the folder in which files are made.

    Raises:
        NoResults: no image is measured.
        ExtraMissing: the library of the format is not installed.
    """
    if form != ZIP:
        FORMATS[FormatName(form)].check_library()
    there, left_out = shelf.sort(sample.image_ids)
    if not there:
        raise NoResults()
    lacks = [f"{each.name}: {each.why}{each.message and f' ({each.message})'}" for each in left_out]
    making = _Archive(shelf, sample, ways, Path(places.enter_context(tempfile.TemporaryDirectory())), lacks)
    if form != ZIP:
        return zip_parts(making.of_each(there, [FormatName(form)]))
    of_all = list(making.of_all())  # before the first part, so that errors of storage are told as such
    return zip_parts(chain(of_all, making.of_each(there, list(FORMATS))))


@dataclass(frozen=True)
class _Archive:
    """An archive in the making.

    Attributes:
        shelf: jobs and results of the caller.
        sample: the sample.
        ways: how figures and tables are made.
        folder: folder in which files are made.
        lacks: what the archive lacks, a line each.
    """

    shelf: Shelf
    sample: SampleRecord
    ways: Ways
    folder: Path
    lacks: list[str]

    def of_all(self) -> Iterator[tuple[str, Path]]:
        """Makes the files of all images together; yields the name and the path of each."""
        for name in _OF_ALL:
            if path := self._tried(name, partial(self._of_all, name)):
                yield name, path

    def of_each(self, there: Sequence[tuple[str, str]], forms: Sequence[FormatName]) -> Iterator[tuple[str, Path]]:
        """Yields the files of each image, and at the end the one that says what is lacking."""
        for (image_id, name), stem in zip(there, unique_stems([name for _, name in there]), strict=True):
            result = self._tried(stem, partial(self._read, image_id))
            if result is None:
                continue
            for form in forms:
                file = f"{stem}{FORMATS[form].ending}"
                if path := self._tried(file, partial(self._of_one, result, name, form)):
                    yield f"results/{file}", path
        if self.lacks:
            path = self.folder / LEFT_OUT
            path.write_text("\n".join((*self.lacks, "")), encoding="utf-8")
            yield LEFT_OUT, path

    def _of_all(self, name: str) -> Path:
        path, form = self.folder / name, _OF_ALL[name]
        if form == REPORT:
            images = self.shelf.read(self.sample.image_ids, self.ways.keep("pictures"))
            report = sample_answers.report(self.sample.name, images, self.ways)
            path.write_bytes(bytes(sample_answers.rendered(report, self.sample.name, "html").body))
        else:
            write_one(self.shelf, self.sample, form, path, self.ways)
        return path

    def _read(self, image_id: str) -> Result:
        return Result(self.shelf.result(image_id), partial(self.shelf.image, image_id))

    def _of_one(self, result: Result, name: str, form: FormatName) -> Path:
        path = self.folder / "file"
        if form == FormatName.COCO:  # it names its image, which is no file here
            formats.write_together([result], [name], path, form, self.ways.csv_dialect)
        else:
            files.write(result, path, form, Choices(None, self.ways.csv_dialect, self.ways.edge_correction))
        return path

    def _tried(self, what: str, make: Callable[[], Made]) -> Made | None:
        """Returns what is made; None, and a note, where it cannot be. Storage's errors go on."""
        try:
            return make()
        except StorageError:
            raise
        except GrainserveError as error:
            self.lacks.append(f"{what}: {refusal(error).message}")
            return None
