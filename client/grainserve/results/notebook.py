"""HTML of a result for notebooks: its picture, its size figure and its largest grains."""

from __future__ import annotations

import io
from base64 import b64encode
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from grainserve.errors import GrainserveError, MasksMissing
from grainserve.results.overlay import draw_overlay
from grainserve.results.rounding import number_text

if TYPE_CHECKING:
    from grainserve.results.data import Grain, ResultData

SIDE = 1200
"""Longest side of the picture, px: a larger image is reduced, so that the notebook's file stays small."""

SHOWN = 10
"""Grains in the table."""

PAGE = """\
<div style="max-width: 60em">
<p><b>{{ result.image_id }}</b>: {{ result.grains | length }} grains, {{ result.width }} × {{ result.height }} px,
{% if result.um_per_px %}{{ "%.5g" | format(result.um_per_px) }} µm per px{% else %}without scale{% endif %},
{{ result.metadata.model }} {{ result.metadata.version }}</p>
{% for warning in result.metadata.warnings %}<p>Warning: {{ warning }}</p>{% endfor %}
{% if picture %}<img src="{{ picture }}" alt="Outlines of the grains" style="max-width: 100%; max-height: 36em">
{% endif %}
{% if note %}<p>{{ note }}</p>{% endif %}
<img src="{{ figure }}" alt="Histogram and cumulative curves of the grain sizes" style="max-width: 100%">
{% if rows %}
<table>
<caption>{% if rows | length < result.grains | length %}The {{ rows | length }} largest grains{% else %}All grains
{%- endif %}</caption>
<thead><tr><th>id</th><th>class</th><th>diameter ({{ result.size_unit }})</th><th>area (px²)</th><th>aspect ratio</th>
<th>circularity</th><th>score</th><th>cut by the frame</th></tr></thead>
<tbody>
{% for grain, size in rows %}
<tr><td>{{ grain.id }}</td><td>{{ grain.label }}</td><td>{{ size | number }}</td><td>{{ grain.area }}</td>
<td>{{ grain.properties.aspectRatio | number }}</td><td>{{ grain.properties.circularity | number }}</td>
<td>{{ grain.score | number }}</td><td>{{ "yes" if grain.touches_edge }}</td></tr>
{% endfor %}
</tbody>
</table>
{% endif %}
</div>
"""


def to_html(result: ResultData) -> str:
    """Renders a result as a piece of HTML that loads nothing and in which all texts are escaped.

    The image is fetched from where it was submitted. Where it cannot be had, the outlines are drawn on grey, and a note
    says why.
    """
    from jinja2 import Environment, StrictUndefined  # noqa: PLC0415

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["number"] = lambda value: "" if value is None else number_text(value)
    picture, note = _picture(result)
    return environment.from_string(PAGE).render(
        result=result, picture=picture, note=note, figure=_data_uri(result.plot().png(), "png"), rows=_largest(result)
    )


def _picture(result: ResultData) -> tuple[str, str]:
    """Returns the picture as a data URI, and a note on what it lacks; both may be empty."""
    note = ""
    try:
        labels = result.label_map
    except MasksMissing as error:
        return "", f"No outlines: {error}."
    try:
        pixels = result.pixels()
    except (GrainserveError, OSError) as error:
        pixels = np.full((*labels.shape, 3), 128, np.uint8)
        note = f"The outlines alone: {error}."
    step = -(-max(labels.shape) // SIDE)
    scale = None if result.um_per_px is None else result.um_per_px * step
    small = np.asarray(Image.fromarray(pixels).reduce(step)) if step > 1 else pixels
    buffer = io.BytesIO()
    draw_overlay(small, labels[::step, ::step], scale).save(buffer, "JPEG", quality=85)
    return _data_uri(buffer.getvalue(), "jpeg"), note


def _largest(result: ResultData) -> list[tuple[Grain, float]]:
    """Returns the largest grains, each with its diameter in `size_unit`, the largest first."""
    sized = zip(result.grains, result.sizes.tolist(), strict=True)
    return sorted(sized, key=lambda each: -np.nan_to_num(each[1]))[:SHOWN]


def _data_uri(data: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{b64encode(data).decode('ascii')}"
