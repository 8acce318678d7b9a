"""Reads and writes config.properties. Of Java's format it uses plain `key=value` lines and `#` comments alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tools.mar import ROOT

CONFIG = ROOT / "config.properties"


def read(file: Path) -> dict[str, str]:
    """Reads the settings of a file."""
    pairs = (line.split("=", 1) for line in file.read_text().splitlines() if "=" in line and not line.startswith("#"))
    return {key.strip(): value.strip() for key, value in pairs}


def text(settings: Mapping[str, str]) -> str:
    """Returns the content of a file with these settings."""
    return "".join(f"{key}={value}\n" for key, value in settings.items())
