"""Renders a report as PDF, A4, with the same blocks as `html` in the same order."""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import singledispatchmethod
from math import ceil
from pathlib import Path

import matplotlib
from fpdf import FPDF
from fpdf.enums import TableBordersLayout, TableCellStyle
from fpdf.fonts import FontFace

from grainserve.reports.document import Block, Code, Figure, Flags, Picture, Report, Section, Table, Text

FONT, MONO = "DejaVu", "DejaVu Mono"
INK, SOFT = (27, 31, 36), (91, 100, 112)
LEVELS = {"error": (168, 32, 26), "warning": (168, 90, 8), "note": (47, 95, 138), "passed": (44, 122, 75)}
MOST_COLUMNS = 7
"""Largest number of columns after the row names: a wider table continues below."""

MARGIN, GAP, TITLE = 16.0, 3.0, 4.0
"""Margin of the page, gap between pictures, and height of a picture's title, mm."""


def to_pdf(report: Report) -> bytes:
    """Renders a report; returns the bytes of the PDF."""
    pdf = _Page(report)
    for section in report.sections:
        pdf.heading(section)
        for block in section.blocks:
            pdf.draw(block)
    return bytes(pdf.output())


def column_parts(count: int) -> list[slice]:
    """Splits the columns of a table into parts of even width that fit on a page.

    Args:
        count: number of columns after the first one, which holds the row names.
    """
    size = ceil(count / ceil(count / MOST_COLUMNS))
    return [slice(start, min(start + size, count + 1)) for start in range(1, count + 1, size)]


class _Rules(TableBordersLayout):
    """Borders as in scientific papers: a line above and below the head, and below the last row."""

    def cell_style_getter(  # noqa: PLR0917 - as fpdf2 calls it
        self,
        row_idx: int,
        col_idx: int,
        col_pos: int,
        num_heading_rows: int,
        num_rows: int,
        num_col_idx: int,
        num_col_pos: int,
    ) -> TableCellStyle:
        return TableCellStyle(
            left=False,
            right=False,
            top=row_idx == 0,
            bottom=row_idx in {num_heading_rows - 1, num_rows - 1},
        )


class _Page(FPDF):
    def __init__(self, report: Report) -> None:
        super().__init__(format="A4")
        self._footer = report.footer
        self.set_title(report.title)
        self.set_margins(MARGIN, MARGIN)
        self.set_auto_page_break(True, MARGIN + 4)
        fonts = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
        self.add_font(FONT, "", fonts / "DejaVuSans.ttf")
        self.add_font(FONT, "B", fonts / "DejaVuSans-Bold.ttf")
        self.add_font(MONO, "", fonts / "DejaVuSansMono.ttf")
        self.add_page()
        self._write(report.title, 17, bold=True)
        self._write(report.subtitle, 8.5, colour=SOFT)
        self.ln(1.5)
        self.set_draw_color(*INK)
        self.set_line_width(0.5)
        self.line(MARGIN, self.y, MARGIN + self.epw, self.y)
        self.set_line_width(0.2)
        self.ln(2)

    def footer(self) -> None:
        self.set_y(-MARGIN + 2)
        self.set_font(FONT, "", 6.5)
        self.set_text_color(*SOFT)
        self.cell(self.epw * 0.9, 4, self._footer)
        self.cell(self.epw * 0.1, 4, str(self.page_no()), align="R")

    def heading(self, section: Section) -> None:
        """Writes a heading on the same page as the first block below it."""
        first = section.blocks[0]
        self._keep_together(16 + (self._row_height(first, 0) + 26 if isinstance(first, Figure) else 30))
        self.ln(3)
        self._write(section.title, 11.5, bold=True)
        self.ln(1.5)

    @singledispatchmethod
    def draw(self, block: Block) -> None:
        raise TypeError(f"a report has no {type(block).__name__}")

    @draw.register
    def _(self, block: Text) -> None:
        self._write(block.words, 8.5)
        self.ln(1.5)

    @draw.register
    def _(self, block: Code) -> None:
        self.set_fill_color(244, 245, 247)
        self._write(block.words, 7, font=MONO, fill=True)
        self.ln(1.5)

    @draw.register
    def _(self, block: Flags) -> None:
        said: list[tuple[str, str]] = [(flag.level, flag.words) for flag in block.flags]
        for level, words in said or [("passed", "Every check was passed.")]:
            self._keep_together(10)
            self.set_font(FONT, "B", 8)
            self.set_text_color(*LEVELS[level])
            self.cell(18, 4, level)
            self._write(words, 8)
            self.ln(0.8)
        self.ln(1)

    @draw.register
    def _(self, block: Table) -> None:
        self._keep_together(30)
        self._caption(block.label, block.caption)
        self.ln(0.8)
        self.set_font(FONT, "", 7.5)
        self.set_text_color(*INK)
        for part in column_parts(len(block.header) - 1):
            if part.start > 1:
                self.ln(3)
                self._keep_together(30)
            rows = [(row[0], *row[part]) for row in (block.header, *block.rows)]
            self._grid(rows, "R" if block.numbers else "L")
        if block.note:
            self.ln(0.8)
            self._write(block.note, 7, colour=SOFT)
        self.ln(4)

    @draw.register
    def _(self, block: Figure) -> None:
        left, width = MARGIN + self.epw * (1 - block.width) / 2, self._column(block)
        for start in range(0, len(block.pictures), block.columns):
            height = self._row_height(block, start)
            last = start + block.columns >= len(block.pictures)
            self._keep_together(height + (26 if last else 0))
            top = self.y
            for index, picture in enumerate(block.pictures[start : start + block.columns]):
                self._place(picture, left + index * (width + GAP), top, width)
            self.set_xy(MARGIN, top + height + (0 if last else GAP))
        if block.legend:
            self.ln(1.5)
            self._place(block.legend, MARGIN, self.y, self.epw)
            self.set_xy(MARGIN, self.y + block.legend.aspect * self.epw)
        self.ln(1.5)
        self._caption(block.label, block.caption)
        self.ln(4)

    def _column(self, block: Figure) -> float:
        """Returns the width of each picture, mm."""
        return (self.epw * block.width - GAP * (block.columns - 1)) / block.columns

    def _row_height(self, block: Figure, start: int) -> float:
        """Returns the height of the row of pictures that begins with picture `start`, mm."""
        row = block.pictures[start : start + block.columns]
        return max(picture.aspect * self._column(block) + (TITLE if picture.title else 0) for picture in row)

    def _place(self, picture: Picture, x: float, y: float, width: float) -> None:
        if picture.title:
            self.set_xy(x, y)
            self.set_font(FONT, "", 7)
            self.set_text_color(*SOFT)
            self.cell(width, TITLE, picture.title)
            y += TITLE
        self.image(io.BytesIO(picture.data), x=x, y=y, w=width, alt_text=picture.words)
        self.set_y(y)

    def _caption(self, label: str, caption: str) -> None:
        self.set_text_color(*INK)
        self.set_font(FONT, "B", 7.5)
        self.write(3.9, f"{label}. ")
        self.set_font(FONT, "", 7.5)
        self.write(3.9, caption)
        self.ln(3.9)

    def _grid(self, rows: Sequence[tuple[str, ...]], align: str) -> None:
        """Draws rows; the first row is the head."""
        with self.table(
            rows,
            borders_layout=_Rules(),
            col_widths=self._widths(rows),
            text_align=("L", *(align for _ in rows[0][1:])),
            headings_style=FontFace(emphasis="BOLD"),
            line_height=4.0,
            padding=(0.5, 1.0),
        ):
            pass

    def _widths(self, rows: Sequence[tuple[str, ...]]) -> tuple[float, ...]:
        """Returns the relative widths of columns, by their longest text up to half of the page."""
        columns = zip(*rows, strict=True)
        return tuple(min(self.epw / 2, 4 + max(map(self.get_string_width, column))) for column in columns)

    def _write(
        self,
        words: str,
        size: float,
        *,
        bold: bool = False,
        colour: tuple[int, int, int] = INK,
        font: str = FONT,
        fill: bool = False,
    ) -> None:
        self.set_font(font, "B" if bold else "", size)
        self.set_text_color(*colour)
        self.multi_cell(0, size * 0.5, words, align="L", fill=fill, new_x="LMARGIN", new_y="NEXT")

    def _keep_together(self, height: float) -> None:
        if self.will_page_break(min(height, self.eph)):
            self.add_page()
