"""Renders a report as one HTML file that loads nothing else."""

from __future__ import annotations

from base64 import b64encode
from importlib import resources

from grainserve.reports.document import Picture, Report


def to_html(report: Report) -> str:
    """Renders a report, with pictures and style in the same file."""
    from jinja2 import Environment, StrictUndefined  # noqa: PLC0415

    source = resources.files("grainserve.reports").joinpath("page.html.j2").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["data_uri"] = _data_uri
    environment.tests["block"] = lambda block, kind: type(block).__name__ == kind
    return environment.from_string(source).render(report=report)


def _data_uri(picture: Picture) -> str:
    return f"data:image/{picture.kind};base64,{b64encode(picture.data).decode('ascii')}"
