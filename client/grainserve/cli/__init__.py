"""The command line: every command, and what only commands use."""

from __future__ import annotations

from grainserve.cli.application import app, main

__all__ = ["app", "main"]
