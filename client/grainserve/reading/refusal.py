"""The one error of this folder."""

from __future__ import annotations


class Refused(Exception):
    """An image file that is not read; who reads one turns this into an error of their own.

    Attributes:
        code: `not_an_image`, `unsupported_format`, `multiple_pages`, `truncated_image` or `decompression_bomb`.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def unsupported(message: str) -> Refused:
    """Makes the refusal of a kind that is not read; its message names the kind and says how to convert it."""
    return Refused("unsupported_format", message)


def damaged(kind: str, what: object) -> Refused:
    """A file that does not hold what its header promises."""
    return Refused("truncated_image", f"the {kind} is damaged or cut short ({what}): send it again")


def bomb(kind: str, what: str) -> Refused:
    """A small file that would take too much time or memory."""
    return Refused("decompression_bomb", f"the {kind} unpacks to too much: {what}")
