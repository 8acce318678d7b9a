"""A result: what it holds, and what can be made of it."""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING, Any

from grainserve.images import ImageSource
from grainserve.results.data import Grain, ResultData

# Imported where they are used: a dispatcher makes no tables and no pictures, and starts twice as fast.
if TYPE_CHECKING:
    from grainserve.stats import Summary

__all__ = ["Grain", "Result"]


class Result(ResultData):
    """The result of one image; see `ResultData` for what it holds."""

    def to_csv(self, path: str | PathLike[str], dialect: str = "excel") -> None:
        """Writes the table as CSV (UTF-8); null is an empty field, an apostrophe stands before what could be a formula.

        Args:
            path: where.
            dialect: `excel` (comma and decimal point), `excel-eu` (semicolon and decimal comma) or `raw` (as `excel`,
                with texts as they are).

        Raises:
            InvalidOption: no such dialect.
        """
        from grainserve.exports.table import write_csv  # noqa: PLC0415

        write_csv(self.to_dataframe(), path, dialect)

    def statistics(self, **options: Any) -> Summary:
        """The statistics of the image's grains: sizes with intervals, their classes, orientation, ASTM grain sizes.

        Args:
            options: as `grainserve.stats.summarise`, which pools several images as well.
        """
        from grainserve.stats import Sample, summarise  # noqa: PLC0415

        return summarise(Sample.of([self]), **options)

    def export(
        self,
        path: str | PathLike[str],
        format: str | None = None,  # noqa: A002 - as Pillow calls it
        image: ImageSource | None = None,
        csv_dialect: str = "excel",
    ) -> None:
        """Writes the result as a file for another program; docs/exports.md says which.

        Args:
            path: where.
            format: `csv`, `parquet`, `geojson`, … (`exports.formats.FormatName`); None for what the path's ending says.
            image: the image, for an overlay and for its name in COCO's JSON.
            csv_dialect: of CSV, as `to_csv`.

        Raises:
            InvalidOption: no such format or dialect, or the ending does not say which.
            ExtraMissing: a library is not installed.
            MasksMissing: the result has none, and this format is made of them.
        """
        from grainserve.exports import formats  # noqa: PLC0415

        formats.write(self, path, format, image, csv_dialect)
