"""The trace that a job belongs to: W3C Trace Context, carried from the submission to the result.

Nothing here makes spans. The header is kept as it came, so that the submitter's tracing, the job's record, the logs of
dispatcher and worker, and the result's metadata all have the same trace id.
"""

from __future__ import annotations

import re
import secrets

HEADER = "traceparent"
_FORM = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-[\x21-\x7e]{0,200})?")


def traceparent(given: str | None) -> str:
    """Returns the given traceparent, or a new one if none is given.

    A traceparent that W3C's form does not allow is replaced by a new one, as W3C prescribes.
    """
    if given is not None and _FORM.fullmatch(given) and (len(given) == 55 or not given.startswith("00")):
        return given
    return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-00"


def trace_id(parent: str) -> str:
    """Returns the trace id of a traceparent, 32 hexadecimal digits."""
    return parent.split("-")[1]
