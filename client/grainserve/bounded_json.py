"""Reads JSON from elsewhere within bounds, so that a short text cannot become a large object."""

from __future__ import annotations

import json
import math
import re
from typing import Any, NoReturn

import numpy as np

BYTES_A_PART = 16
"""Fewest bytes, on average, that an answer may have for each array or object in it. Results have more: the smallest
part of a result, the outline of a single pixel, has 34 bytes (`[0.0,0.0,1.0,0.0,1.0,1.0,0.0,1.0],`), and a grain
without a mask has some 80 for each. An empty list has 3 bytes, and takes 24 times as many in memory."""
FREE_PARTS = 1000
"""Arrays and objects that an answer may have however short it is."""
SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
"""JSON's escape for a surrogate: half of a character outside the basic plane. A lone surrogate is no text, and has no
UTF-8."""


def parse(body: bytes) -> Any:
    """Parses JSON into values that can be stored again; lone surrogates, which could not be, become `?`.

    Args:
        body: JSON, UTF-8.

    Raises:
        ValueError: the body is no JSON, is nested too deeply, holds a number that is not finite, or has more arrays and
            objects than a result of its length may have.
    """
    if _parts(body) > FREE_PARTS + len(body) // BYTES_A_PART:
        raise ValueError("it has more arrays and objects than a result of its length")
    text = body.decode("utf-8", "replace")
    try:
        found = loads(text)
        if SURROGATE.search(text):
            found = json.loads(json.dumps(found, ensure_ascii=False).encode("utf-8", "replace"))
    except RecursionError:
        raise ValueError("it is too deep") from None
    return found


def loads(text: str | bytes) -> Any:
    """Parses JSON whose numbers are all finite.

    Raises:
        ValueError: the text is no JSON, or holds a number that is not finite.
        RecursionError: it is nested too deeply.
    """
    return json.loads(text, parse_constant=_no_constant, parse_float=_finite)


def _parts(body: bytes) -> int:
    """Counts the arrays and objects of JSON by their brackets.

    Brackets inside strings do not count: run lengths of masks hold some, too.
    """
    letters = np.frombuffer(body.replace(b"\\\\", b"").replace(b'\\"', b""), np.uint8)
    outside = ~np.logical_xor.accumulate(letters == ord('"'))
    return int(np.count_nonzero(outside & ((letters == ord("[")) | (letters == ord("{")))))


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):  # 1e999 is JSON, but infinity cannot be stored
        raise ValueError(f"{digits[:30]} is too large")
    return number
