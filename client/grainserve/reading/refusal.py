"""The one error of this folder: a file that is not read."""

from __future__ import annotations


class Refused(Exception):
    """An image file that is not read; callers turn this into errors of their own.

    Attributes:
        code: `not_an_image`, `unsupported_format`, `multiple_pages`, `truncated_image` or `decompression_bomb`.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def unsupported(message: str) -> Refused:
    """Makes the refusal of a kind of file that is not read; the message names the kind and says how to convert it."""
    return Refused("unsupported_format", message)


def damaged(kind: str, what: object) -> Refused:
    """Makes the refusal of a file that does not hold what its header promises."""
    return Refused("truncated_image", f"the {kind} is damaged or cut short ({what}): send it again")


def bomb(kind: str, what: str) -> Refused:
    """Makes the refusal of a small file that would take too much time or memory."""
    return Refused("decompression_bomb", f"the {kind} unpacks to too much: {what}")
