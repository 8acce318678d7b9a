"""`Result`: what is known of one measured image, with its statistics and exports."""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING, Any

from grainserve.images import ImageSource
from grainserve.results.data import Grain, ResultData

# Imported where they are used: a dispatcher makes no tables or pictures, and starts twice as fast without them.
if TYPE_CHECKING:
    from grainserve.stats import Summary

__all__ = ["Grain", "Result"]


class Result(ResultData):
    """The result of one image; see `ResultData` for the data it holds."""

    def to_csv(self, path: str | PathLike[str], dialect: str = "excel") -> None:
        """Writes the table as CSV (UTF-8).

        Null becomes an empty field. An apostrophe is put before text that could be read as a formula.

        Args:
            path: file to write.
            dialect: `excel` (comma and decimal point), `excel-eu` (semicolon and decimal comma) or `raw` (as `excel`,
                with texts as they are).

        Raises:
            InvalidOption: there is no such dialect.
        """
        from grainserve.exports.table import write_csv  # noqa: PLC0415

        write_csv(self.to_dataframe(), path, dialect)

    def statistics(self, **options: Any) -> Summary:
        """Returns statistics of the image's grains: sizes with intervals, classes, orientation, ASTM grain sizes.

        Args:
            **options: options of `grainserve.stats.summarise`, which can also pool several images.
        """
        from grainserve.stats import Sample, summarise  # noqa: PLC0415

        return summarise(Sample.of([self]), **options)

    def export(
        self,
        path: str | PathLike[str],
        format: str | None = None,  # noqa: A002 - as Pillow calls it
        image: ImageSource | None = None,
        csv_dialect: str = "excel",
        *,
        edge_correction: bool = True,
    ) -> None:
        """Writes the result as a file for another program; docs/exports.md lists the formats.

        Args:
            path: file to write.
            format: `csv`, `parquet`, `geojson`, … (`exports.formats.FormatName`); None takes it from the path's ending.
            image: the image: an overlay is drawn on it, and COCO's JSON names it.
            csv_dialect: dialect of CSV; see `to_csv`.
            edge_correction: whether sizes and statistics are corrected for the frame; see `stands_for`.

        Raises:
            InvalidOption: there is no such format or dialect, or the path's ending names none.
            ExtraMissing: a library that the format needs is not installed.
            MasksMissing: the format needs masks, and the result has none.
        """
        from grainserve.exports import formats  # noqa: PLC0415

        formats.write(self, path, format, formats.Choices(image, csv_dialect, edge_correction))
