"""`python -m grainserve`: the command line."""

from __future__ import annotations

from grainserve.cli import app

app(prog_name="grainserve")
