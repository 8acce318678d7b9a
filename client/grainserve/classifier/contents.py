"""Checks a classifier's file before skops reads it, as `grain_handler.grains.classify` does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from zipfile import ZIP_STORED, BadZipFile, ZipFile

SCHEMA = "schema.json"
"""The member in which skops keeps the tree of objects."""
MOST, MOST_SCHEMA = 64 * 2**20, 4 * 2**20
"""Bytes that the parts of a file may unpack to, and its tree: of a thousand labelled grains it has 200 kB in all."""
NODES = {"DictNode", "JsonNode", "ListNode", "NdArrayNode", "ObjectNode", "TupleNode", "TypeNode"}
"""Kinds of objects that a classifier is made of. A sparse matrix, say, is an archive itself, and unpacks once more."""


def odd_nodes(path: Path) -> list[str]:
    """Checks a file by what it says of itself; names kinds of objects that no classifier is made of.

    skops reads a part as often as the tree names it.

    Raises:
        BadZipFile: It is no archive, compressed, or larger than any classifier.
        LookupError, ValueError, TypeError, RecursionError: Its tree is none.
    """
    with ZipFile(path) as archive:
        members = archive.infolist()
        sizes = {member.filename: member.file_size for member in members}
        size = sum(member.file_size for member in members)
        if size > path.stat().st_size or any(member.compress_type != ZIP_STORED for member in members):
            raise BadZipFile(f"it is compressed, and would unpack to {size / 2**20:.0f} MiB")
        if sizes[SCHEMA] > MOST_SCHEMA:
            raise BadZipFile(f"its tree has over {MOST_SCHEMA >> 20} MiB")
        nodes: list[dict[str, Any]] = []
        json.loads(archive.read(SCHEMA), object_hook=nodes.append)
    if sum(sizes.get(node.get("file", ""), 0) for node in nodes) > MOST:
        raise BadZipFile(f"its parts would unpack to over {MOST >> 20} MiB")
    return sorted({str(node["__loader__"]) for node in nodes if "__loader__" in node} - NODES)
