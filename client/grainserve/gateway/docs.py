"""The page /docs: the OpenAPI description as plain HTML that loads nothing from other sites."""

from __future__ import annotations

import re
from html import escape
from typing import Any

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}: REST API</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/page/style.css">
</head>
<body class="docs">
<header>
  <h1>{title}: REST API</h1>
  <p>{about} <a href="/">The page</a>, <a href="/openapi.json">OpenAPI as JSON</a>.</p>
  <p>In the examples $G is this gateway's address. Where keys are asked for, add
  <code>-H "Authorization: Bearer $KEY"</code>.</p>
</header>
<main>
{operations}
</main>
</body>
</html>
"""
_SENT = {
    "application/octet-stream": "--data-binary @image.jpg",
    "multipart/form-data": "-F image=@image.jpg",
    "application/json": "-H 'Content-Type: application/json' -d @request.json",
}
"""curl's arguments that send a body, by content type."""


def render(api: dict[str, Any]) -> str:
    """Returns the page as HTML.

    Args:
        api: OpenAPI description.
    """
    operations = (
        _operation(method.upper(), path, operation)
        for path, methods in api["paths"].items()
        for method, operation in methods.items()
    )
    info = api["info"]
    return _PAGE.format(title=_html(info["title"]), about=_html(info["description"]), operations="\n".join(operations))


def _operation(method: str, path: str, operation: dict[str, Any]) -> str:
    parameters = operation.get("parameters", [])
    parts = [
        f"<h2>{method} {_html(path)}</h2>",
        *(f"<p>{_html(paragraph)}</p>" for paragraph in operation["description"].split("\n\n")),
        *(f"<pre>{_html(line)}</pre>" for line in _examples(method, path, operation)),
        _table([(each["name"], each["in"], each.get("description", "")) for each in parameters]),
        _table([(status, answer["description"]) for status, answer in operation["responses"].items()]),
    ]
    return "\n".join(["<section>", *parts, "</section>"])


def _examples(method: str, path: str, operation: dict[str, Any]) -> list[str]:
    """Returns a curl command for each kind of body that the operation takes."""
    parameters = operation.get("parameters", [])
    query = "&".join(f"{each['name']}=ID" for each in parameters if each["in"] == "query" and each.get("required"))
    url = "$G" + re.sub(r"{\w+}", "ID", path) + (f"?{query}" if query else "")
    bodies = operation.get("requestBody", {}).get("content", {})
    given = [body.get("x-curl", _SENT[kind]) for kind, body in bodies.items()] or [
        "" if method == "GET" else f"-X {method}"
    ]  # a body makes it a POST
    return [" ".join(filter(None, ("curl", each, f'"{url}"'))) for each in given]


def _table(rows: list[tuple[str, ...]]) -> str:
    lines = "\n".join("<tr>" + "".join(f"<td>{_html(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table>\n{lines}\n</table>" if rows else ""


def _html(text: str) -> str:
    """Returns the text as HTML, with words in backticks as code."""
    return re.sub("`([^`]+)`", r"<code>\1</code>", escape(text))
