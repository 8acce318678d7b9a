"""What a report is made of, whatever it is written as: `html` and `pdf` walk the same blocks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

Level = Literal["error", "warning", "note"]


@dataclass(frozen=True)
class Picture:
    """A picture.

    Attributes:
        data: the bytes of the file.
        kind: what file it is.
        aspect: height over width.
        words: what it shows, for who cannot see it.
        title: a line over it, where several stand beside each other.
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
        pictures: laid out in `columns`.
        caption: what they show.
        columns: how many stand beside each other.
        width: of the pictures, as a share of the page's.
        legend: below them, over the whole width of the page.
        label: "Figure 1"; set by `Report`.
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
        caption: what it shows.
        header: m column heads.
        rows: rows of m cells; the first cell is the row's name.
        numbers: whether cells are numbers, set flush right; else they are words.
        note: what a reader has to know, below it.
        label: "Table 1"; set by `Report`.
    """

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: bool = True
    note: str = ""
    label: str = ""


@dataclass(frozen=True)
class Flag:
    """Something a reader has to know before trusting a number.

    Attributes:
        name: stable, for programs.
        level: `error`: numbers are missing or wrong; `warning`: they may mislead; `note`: worth knowing.
        words: what it is and what to do, in one or two sentences.
        numbers: what it was decided on.
    """

    name: str
    level: Level
    words: str
    numbers: dict[str, float]


@dataclass(frozen=True)
class Flags:
    """Flags, or the news that there are none."""

    flags: tuple[Flag, ...]


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    words: str


@dataclass(frozen=True)
class Code:
    """A command line, to be copied."""

    words: str


Block = Figure | Table | Flags | Text | Code


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it."""

    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Report:
    """A report.

    Attributes:
        title: of the page.
        subtitle: one line below it.
        sections: figures and tables in them are numbered as they come.
        footer: who made it and when.
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
