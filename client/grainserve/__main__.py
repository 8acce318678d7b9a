"""`python -m grainserve`: the command line."""

from __future__ import annotations

from grainserve.cli.application import main

main()
