"""Checks a classifier's file before skops reads it; `grain_handler.grains.classify` has the same checks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from zipfile import ZIP_STORED, BadZipFile, ZipFile

SCHEMA = "schema.json"
"""Member of the archive in which skops keeps the tree of objects."""
MOST, MOST_SCHEMA = 64 * 2**20, 4 * 2**20
"""Largest size of all parts of a file together, and of its tree, unpacked, bytes.

A classifier of a thousand labelled grains has 200 kB in all.
"""
NODES = {"DictNode", "JsonNode", "ListNode", "NdArrayNode", "ObjectNode", "TupleNode", "TypeNode"}
"""Kinds of objects that a classifier consists of. Other kinds could hide their size: a sparse matrix, for example, is
an archive inside the archive."""


def odd_nodes(path: Path) -> list[str]:
    """Checks a file's size and lists the kinds of objects in it that no classifier has.

    Counts a part as often as the tree names it, since skops reads it that often.

    Args:
        path: file of the classifier.

    Raises:
        BadZipFile: the file is no archive, is compressed, or is larger than any classifier.
        LookupError, ValueError, TypeError, RecursionError: the file holds no valid tree.
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
