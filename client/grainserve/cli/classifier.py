"""The commands `grainserve classifier …`: train a classifier, show it, apply it to results."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from grainserve.cli.export import Dialect
from grainserve.cli.terminal import console, reported
from grainserve.errors import InvalidConfiguration
from grainserve.exports.table import CsvDialect

app = typer.Typer(
    no_args_is_help=True,
    help="Classifiers of grains (which mineral, which phase), learnt from tables in which you fill in the classes."
    "\n\nAnalyze some images, fill in the column `class` of the tables, train, then `grainserve weights push` the file "
    "and name it in the model config as `classifier:`. See docs/classes.md.",
)
File = Annotated[Path, typer.Argument(metavar="FILE", help="Classifier file from `grainserve classifier train`.")]


@app.command(
    epilog="Example:  grainserve classifier train results/*.csv --out minerals.skops\n\n"
    "Then:  grainserve weights push minerals.skops"
)
def train(
    tables: Annotated[list[Path], typer.Argument(metavar="CSV", help="Tables of `analyze` with classes filled in.")],
    *,
    out: Annotated[Path, typer.Option(help="File to write.")] = Path("classifier.skops"),
    column: Annotated[str, typer.Option(help="Column with the classes.")] = "class",
    threshold: Annotated[
        str,
        typer.Option(help="Probability below which a grain is unknown; auto: so that 95 % of named grains are right."),
    ] = "auto",
    with_size: Annotated[
        bool, typer.Option("--with-size", help="Also learn the size in µm; all images then need a scale.")
    ] = False,
) -> None:
    """Learn classes from labelled tables, print how well it tells them apart, and write the classifier.

    Rows whose class is empty, `grain` or `unknown` are left out. Give a table for each of several images: the test then
    holds out whole images.
    """
    with reported():
        _needs_scikit_learn()
        from grainserve.classifier.labelled import read_labelled  # noqa: PLC0415
        from grainserve.classifier.train import train  # noqa: PLC0415
        from grainserve.cli.classifier_card import print_card  # noqa: PLC0415

        classifier = train(read_labelled(tables, column, with_size), _threshold(threshold))
        classifier.save(out)
        print_card(classifier)
        console.print(f"written to {out}")


@app.command(epilog="Example:  grainserve classifier show minerals.skops")
def show(file: File) -> None:
    """Print how well a classifier did in the test of its training."""
    with reported():
        _needs_scikit_learn()
        from grainserve.classifier.model import load  # noqa: PLC0415
        from grainserve.cli.classifier_card import print_card  # noqa: PLC0415

        classifier = load(file)
        console.print(f"{file}, trained with scikit-learn {classifier.card['scikitLearn']}")
        print_card(classifier)


@app.command(epilog="Example:  grainserve classifier apply minerals.skops results/*.json --out named")
def apply(
    file: File,
    results: Annotated[list[Path], typer.Argument(metavar="RESULT", help="NAME.json files that `analyze` wrote.")],
    out: Annotated[Path, typer.Option(help="Folder for NAME.json and NAME.csv with the classes.")] = Path("classified"),
    csv_dialect: Dialect = CsvDialect.EXCEL,
) -> None:
    """Name the grains of existing results, as a worker with this classifier would. Needs no server."""
    with reported():
        _needs_scikit_learn()
        from grainserve.classifier.apply import classify  # noqa: PLC0415
        from grainserve.cli.output import class_counts, unique_names  # noqa: PLC0415
        from grainserve.result import Result  # noqa: PLC0415

        out.mkdir(parents=True, exist_ok=True)
        for path, name in zip(results, unique_names(results), strict=True):
            named = classify(Result.from_json(path), file)
            named.to_json(out / f"{name}.json")
            named.to_csv(out / f"{name}.csv", csv_dialect)
            console.print(f"{path}: {class_counts(named)}", soft_wrap=True, markup=False)


def _threshold(text: str) -> float | None:
    try:
        value = None if text == "auto" else float(text)
    except ValueError:
        value = -1.0
    if value is not None and not 0 <= value <= 1:
        raise InvalidConfiguration(f"--threshold is auto or a number from 0 to 1, not {text!r}")
    return value


def _needs_scikit_learn() -> None:
    try:
        import skops.io  # noqa: F401, PLC0415
    except ModuleNotFoundError as error:
        raise InvalidConfiguration(f"{error.name} is not installed: pip install 'grainserve[classifier]'") from None


def add_to(command_line: typer.Typer) -> None:
    """Adds these commands to the command line."""
    command_line.add_typer(app, name="classifier")
