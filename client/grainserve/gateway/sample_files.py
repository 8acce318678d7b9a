"""Files of a sample: one file of all its images, or an archive of files of each."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path

from grainserve.errors import GrainserveError, NoResults, StorageError
from grainserve.exports import formats
from grainserve.exports.formats import FORMATS, Choices, FormatName
from grainserve.gateway import sample_answers
from grainserve.gateway.archive import unique_stems, zip_parts
from grainserve.gateway.refusals import refusal
from grainserve.gateway.sample_answers import Ways
from grainserve.gateway.sample_images import Images, Shelf
from grainserve.library.samples import SampleRecord
from grainserve.result import Result

ZIP, XLSX = "zip", "xlsx"
"""Formats of a sample beside those of an image. `zip` is all of them, and a format without a file for several images
comes in an archive, too."""

_XLSX_TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
REPORT, LEFT_OUT = "report.html", "left_out.txt"
"""The report in an archive, and the file that says what it lacks, and why."""


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


def write_one(sample: SampleRecord, images: Images, form: str, path: Path, ways: Ways) -> str:
    """Writes all images of a sample as one file; returns its content type.

    Args:
        sample: the sample.
        images: its images, with masks for `coco`.
        form: a format that `is_one_file`.
        path: file to write.
        ways: how figures and tables are made.

    Raises:
        NoResults: no image is measured.
        ExtraMissing: a library is not installed.
        And the errors of the format.
    """
    results, names = [each.result for each in images.measured], [each.name for each in images.measured]
    if not results:
        raise NoResults()
    if form == XLSX:
        from grainserve.exports.workbook import check_library, write_workbook  # noqa: PLC0415 - imports statistics

        check_library()
        write_workbook(sample_answers.summary_of(sample.name, images, ways), results, names, path)
        return _XLSX_TYPE
    kind = FORMATS[FormatName(form)]
    kind.check_library()
    if form == FormatName.STATISTICS:
        sample_answers.summary_of(sample.name, images, ways).to_json(path)
    else:
        formats.write_together(results, names, path, FormatName(form), ways.csv_dialect)
    return kind.media_type


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
        SampleTooLarge: the images have more grains than are measured at once.
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
    return zip_parts(chain(making.of_all(), making.of_each(there, list(FORMATS))))


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

    def of_all(self) -> Sequence[tuple[str, Path]]:
        """Makes the files of all images together; returns the name and the path of each."""
        images = self.shelf.read(self.sample.image_ids, masks=True)
        made = []
        for name, form in (("statistics.json", FormatName.STATISTICS), ("sample.xlsx", XLSX), (REPORT, "html")):
            path = self.folder / name
            with self._noting(name) as lacking:
                if name == REPORT:
                    report = sample_answers.report(self.sample.name, images, self.ways)
                    path.write_bytes(bytes(sample_answers.rendered(report, self.sample.name, form).body))
                else:
                    write_one(self.sample, images, form, path, self.ways)
            if not lacking:
                made.append((name, path))
        return made

    def of_each(self, there: Sequence[tuple[str, str]], forms: Sequence[FormatName]) -> Iterator[tuple[str, Path]]:
        """Yields the files of each image, and at the end the one that says what is lacking."""
        path = self.folder / "file"
        for (image_id, name), stem in zip(there, unique_stems([name for _, name in there]), strict=True):
            result: Result | None = None
            with self._noting(stem):
                result = Result(self.shelf.result(image_id), partial(self.shelf.image, image_id))
            for form in forms if result else ():
                file = f"{stem}{FORMATS[form].ending}"
                with self._noting(file) as lacking:
                    self._write(result, name, form, path)
                if not lacking:
                    yield f"results/{file}", path
        if self.lacks:
            path.write_text("\n".join((*self.lacks, "")), encoding="utf-8")
            yield LEFT_OUT, path

    def _write(self, result: Result, name: str, form: FormatName, path: Path) -> None:
        if form == FormatName.COCO:  # it names its image, which is no file here
            formats.write_together([result], [name], path, form, self.ways.csv_dialect)
        else:
            formats.write(result, path, form, Choices(None, self.ways.csv_dialect, self.ways.edge_correction))

    @contextmanager
    def _noting(self, what: str) -> Iterator[list[str]]:
        """Notes why something cannot be made; yields a list that then holds the reason. Storage's errors go on."""
        lacking: list[str] = []
        try:
            yield lacking
        except StorageError:
            raise
        except GrainserveError as error:
            lacking.append(refusal(error).message)
            self.lacks.append(f"{what}: {lacking[0]}")
