"""Runs the command line: `python -m grainserve`."""

from __future__ import annotations

from grainserve.cli.application import main

main()
