from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from typer.testing import CliRunner

from grainserve.cli.application import Commands, app
from grainserve.cli.lazy import Listed

# What typer itself imports for a help page (attr and the two of markdown by way of rich), and what this package adds.
OF_TYPER = {
    "annotated_doc", "attr", "attrs", "click", "markdown_it", "mdurl", "pygments", "rich", "shellingham", "typer",
    "typing_extensions",
}  # fmt: skip
OWN = {"grainserve", *(f"grainserve.{name}" for name in ("cli", "config", "errors", "escaping", "local_service"))}
OWN |= {f"grainserve.cli.{name}" for name in ("application", "lazy", "settings", "terminal")}


def imported(arguments: list[str]) -> set[str]:
    """Returns the names of the modules outside the standard library that a command imports in a fresh process."""
    program = (
        "import sys; before = set(sys.modules); from grainserve.cli import app\n"
        f"try: app({arguments!r})\n"
        "except SystemExit as ended: assert not ended.code, ended\n"
        "print('modules:', *sorted(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    names = set(done.stdout.rpartition("modules: ")[2].split())
    return {name for name in names if name.partition(".")[0] not in sys.stdlib_module_names}


def test_the_help_imports_nothing_that_it_does_not_show() -> None:
    names = imported(["--help"])
    assert {name for name in names if name.partition(".")[0] == "grainserve"} == OWN
    assert {name.partition(".")[0] for name in names} - {"grainserve"} <= OF_TYPER


def test_a_command_imports_only_its_own_module() -> None:
    own = {name for name in imported(["scale", "--help"]) if name.startswith("grainserve.cli.")}
    assert {"grainserve.cli.scale", "grainserve.cli.image_files"} <= own
    assert not own & {f"grainserve.cli.{name}" for name in ("measure", "models", "operations", "report", "stats")}


@pytest.mark.parametrize(("name", "listed"), Commands.listed.items(), ids=list(Commands.listed))
def test_the_list_says_what_the_command_says_of_itself(name: str, listed: Listed) -> None:
    command: Any = listed.load(name)
    assert command.name == name
    assert listed.summary == " ".join(command.help.partition("\n\n")[0].split())
    assert listed.panel == (command.rich_help_panel or None)


def test_a_name_that_is_no_command_is_refused_with_the_nearest_ones() -> None:
    done = CliRunner().invoke(app, ["analyse"])
    assert done.exit_code == 2
    assert "No such command 'analyse'. Did you mean 'analyze'" in " ".join(done.stderr.split())
