from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.table import Table

import grainserve
from grainserve.cli.application import Commands, app
from grainserve.cli.output import class_counts, print_result
from grainserve.cli.terminal import console, plain_letter, readable_anywhere, say_error
from grainserve.errors import GrainserveError
from grainserve.result import Result
from tests.unit.client.made import make_result

ENCODINGS = ("ascii", "cp1252")
Run = Callable[..., tuple[int, str]]


@pytest.fixture(params=ENCODINGS)
def run(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the command line on a terminal with an encoding; returns the exit code and the terminal's text."""

    def invoke(*arguments: object) -> tuple[int, str]:
        shown = io.BytesIO()
        for name in ("stdout", "stderr"):
            monkeypatch.setattr(sys, name, io.TextIOWrapper(shown, request.param, write_through=True))
        readable_anywhere()
        try:
            app([str(each) for each in arguments])
        except SystemExit as ended:
            code = ended.code
        sys.stdout.flush()
        # Click writes UTF-8 to a terminal that claims ASCII, as one without a locale does.
        return int(code or 0), shown.getvalue().decode(request.param, errors="replace")

    return invoke


def leaves(command: Any, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    yield path
    for name, each in getattr(command, "commands", {}).items():
        yield from leaves(each, (*path, name))


PATHS = [(), *(path for name, each in Commands.listed.items() for path in leaves(each.load(name), (name,)))]


@pytest.mark.parametrize("path", PATHS, ids=lambda path: " ".join(path) or "all")
def test_the_help_of_every_command_shows_on_any_terminal(run: Run, path: tuple[str, ...]) -> None:
    code, text = run(*path, "--help")
    assert code == 0
    assert "Usage" in text


@pytest.fixture
def results(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{name}.json" for name in ("north", "süd φ")]
    for number, path in enumerate(paths):
        Result(make_result(f"image-{number}", um_per_px=100.0)).to_json(path)
    return paths


def test_statistics_show_and_are_written_on_any_terminal(run: Run, results: list[Path], tmp_path: Path) -> None:
    code, text = run("stats", *results, "--resamples", 20, "--json", tmp_path / "all.json")
    assert code == 0, text
    assert "Folk & Ward" in text
    assert json.loads((tmp_path / "all.json").read_text("utf-8"))["images"][1]["image"] == "süd φ"


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize(
    "start",
    [[Path(sys.executable).with_name("grainserve")], [sys.executable, "-m", "grainserve"]],
    ids=["script", "module"],
)
def test_the_installed_command_ends_without_a_traceback(
    start: list[str | Path], encoding: str, results: list[Path], tmp_path: Path
) -> None:
    done = subprocess.run(
        [*start, "stats", *map(str, results), "--resamples", "0", "--json", str(tmp_path / "all.json")],
        env=os.environ | {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"},
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert "(µm)".encode(encoding, "ignore").replace(b"(m)", b"(um)") in done.stdout
    assert json.loads((tmp_path / "all.json").read_text("utf-8"))["grains"] == 8


def test_other_commands_show_on_any_terminal(run: Run, results: list[Path], tmp_path: Path) -> None:
    assert run("export", *results, "--to", "csv", "--out", tmp_path / "µφ")[0] == 0
    assert run("report", *results, "--out", tmp_path / "φ.html")[0] in (0, 1, 2)
    code, text = run("scale", tmp_path / "φ − ń.png")
    assert code == 1
    assert "error:" in text


def test_letters_that_a_terminal_has_not_are_written_out(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(shown, "ascii", write_through=True))
    readable_anywhere()
    console.print("φ 1.5 µm², R̄ −0.3 ≥ é \udcff")
    assert shown.getvalue() == b"phi 1.5 um2, R -0.3 >= e ?\n"


def test_every_letter_that_the_client_writes_has_a_stand_in() -> None:
    source = Path(grainserve.__file__).parent
    letters = {letter for path in source.rglob("*.py") for letter in path.read_text("utf-8") if not letter.isascii()}
    assert {letter for letter in letters if plain_letter(letter) == "?"} == set()


FORGED = "no\x1b[2J\nerror: none \x9b1A"


def test_foreign_words_reach_no_terminal_raw(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = io.StringIO()
    for stream in ("stdout", "stderr"):
        monkeypatch.setattr(sys, stream, shown)
    say_error(GrainserveError(FORGED))
    assert shown.getvalue() == "error: no\\x1b[2J\\nerror: none \\x9b1A\n"
    result = make_result()
    result["metadata"] |= {"model": "[red]sam\x1b[2J", "warnings": [FORGED]}
    result["segmentedObjects"][0]["class"] = "\x1b]0;title\x07"
    print_result(Result(result), "sand\x1b[1m")
    table = Table("name\x1b[1m")
    table.add_row("cell\x1b[1m")
    console.print(table)
    console.print(class_counts(Result(result)))
    assert "[red]sam\\x1b[2J" in shown.getvalue()
    assert "cell\\x1b[1m" in shown.getvalue()
    assert not set(shown.getvalue()) & set("\x1b\x9b\x07")
