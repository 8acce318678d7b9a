"""The parts of a report. `html` and `pdf` render the same parts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

Level = Literal["error", "warning", "note"]


@dataclass(frozen=True)
class Picture:
    """A picture.

    Attributes:
        data: bytes of the file.
        kind: kind of file.
        aspect: height over width.
        words: description, for readers who cannot see the picture.
        title: line above the picture, where several stand side by side.
    """

    data: bytes
    kind: Literal["svg+xml", "jpeg"]
    aspect: float
    words: str
    title: str = ""


@dataclass(frozen=True)
class Figure:
    """Pictures under one caption.

    Attributes:
        pictures: pictures, laid out in `columns`.
        caption: text below the pictures.
        columns: number of pictures side by side.
        width: width of all columns together, as a share of the page's width.
        legend: picture below the others, over the whole width of the page.
        label: label such as "Figure 1"; `Report` sets it.
    """

    pictures: tuple[Picture, ...]
    caption: str
    columns: int = 1
    width: float = 1.0
    legend: Picture | None = None
    label: str = ""


@dataclass(frozen=True)
class Table:
    """Rows of text under one caption.

    Attributes:
        caption: text above the table.
        header: m column heads.
        rows: rows of m cells; the first cell is the row's name.
        numbers: whether cells are numbers, set flush right; otherwise they are words.
        note: text below the table.
        label: label such as "Table 1"; `Report` sets it.
    """

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: bool = True
    note: str = ""
    label: str = ""


@dataclass(frozen=True)
class Flag:
    """A remark that a reader needs before trusting a number.

    Attributes:
        name: stable name, for programs.
        level: `error` where numbers are missing or wrong, `warning` where they may mislead, `note` for the rest.
        words: what was found and what to do, in one or two sentences.
        numbers: figures that raised the flag, and its threshold.
    """

    name: str
    level: Level
    words: str
    numbers: dict[str, float]


@dataclass(frozen=True)
class Flags:
    """A list of flags. An empty list says that every check was passed."""

    flags: tuple[Flag, ...]


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    words: str


@dataclass(frozen=True)
class Code:
    """A command line to copy."""

    words: str


Block = Figure | Table | Flags | Text | Code


@dataclass(frozen=True)
class Section:
    """A heading and the blocks under it."""

    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Report:
    """A report.

    Attributes:
        title: title of the page.
        subtitle: line below the title.
        sections: sections; their figures and tables are numbered in order.
        footer: program that made the report, and the time.
    """

    title: str
    subtitle: str
    sections: tuple[Section, ...]
    footer: str

    def __post_init__(self) -> None:
        counts = {Figure: 0, Table: 0}

        def numbered(block: Block) -> Block:
            if not isinstance(block, Figure | Table):
                return block
            counts[type(block)] += 1
            return replace(block, label=f"{type(block).__name__} {counts[type(block)]}")

        sections = tuple(replace(each, blocks=tuple(map(numbered, each.blocks))) for each in self.sections)
        object.__setattr__(self, "sections", sections)
