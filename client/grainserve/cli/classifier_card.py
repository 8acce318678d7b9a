"""Prints a classifier's card on the terminal."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from grainserve.classifier.model import Classifier
from grainserve.cli.terminal import console


def print_card(classifier: Classifier, console: Console = console) -> None:
    """Prints how well a classifier did in the test of its training.

    Args:
        classifier: classifier with its card.
        console: terminal to print on.
    """
    card = classifier.card
    console.print(
        f"{card['grains']} grains of {len(classifier.classes)} classes in {card['tables']} tables, {card['leftOut']} "
        f"rows without a class left out; {len(classifier.features)} measurements. All figures are of grains that were "
        f"not learnt from (whole {card['folds']} held out).",
        soft_wrap=True,
    )
    if card["folds"] == "grains":
        console.print(
            "[yellow]note:[/] single grains were held out, not images: the figures are too good where images differ. "
            "Give a table for each of several images, with ten grains or more of each class in more than one of them.",
            soft_wrap=True,
        )
    console.print(_classes(classifier))
    console.print(_confusion(classifier))
    console.print(_reliability(classifier))
    console.print(_rejection(classifier))
    console.print(
        f"threshold {classifier.threshold:g}: {_percent(card['named'])} of the grains are named, of those "
        f"{_percent(card['right'])} rightly; the others are unknown. The likeliest class alone is right for "
        f"{_percent(card['accuracy'])}.",
        soft_wrap=True,
    )


def _classes(classifier: Classifier) -> Table:
    table = _table("class", "grains", "precision", "recall", "unknown if never shown")
    for name, row in classifier.card["perClass"].items():
        novel = classifier.card["novelty"].get(name)
        table.add_row(
            escape(name), str(row["grains"]), _percent(row["precision"]), _percent(row["recall"]), _percent(novel)
        )
    return table


def _confusion(classifier: Classifier) -> Table:
    confusion = classifier.card["confusion"]
    table = _table("true class, named as", *map(escape, confusion["columns"]))
    for name, row in zip(classifier.classes, confusion["rows"], strict=True):
        table.add_row(escape(name), *(str(count) if count else "·" for count in row))
    return table


def _reliability(classifier: Classifier) -> Table:
    table = _table("confidence", "grains", "mean confidence", "right")
    for row in classifier.card["reliability"]:
        bounds = f"{row['from']:g}–{row['to']:g}"
        table.add_row(bounds, str(row["grains"]), _percent(row["confidence"]), _percent(row["right"]))
    return table


def _rejection(classifier: Classifier) -> Table:
    table = _table("threshold", "named", "of those right")
    for row in classifier.card["rejection"]:
        table.add_row(f"{row['threshold']:g}", _percent(row["named"]), _percent(row["right"]))
    return table


def _table(first: str, *others: str) -> Table:
    table = Table(first, *others, box=SIMPLE_HEAD, pad_edge=False)
    for column in table.columns[1:]:
        column.justify, column.overflow = "right", "fold"
    return table


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f} %"
