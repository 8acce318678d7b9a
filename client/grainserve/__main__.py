"""`python -m grainserve`: the command line."""

from __future__ import annotations

from grainserve.cli import main

main()
