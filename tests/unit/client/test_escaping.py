"""Foreign text cannot forge a log or control a terminal."""

from __future__ import annotations

import io
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grainserve.escaping import LineFormatter, steerless, visible

FORGED = "no\n2026-11-30 09:00:00,000 INFO image x done\x1b[2J\x9b1A\r\u2028\u202e"


def test_what_ends_a_line_or_steers_a_terminal_is_written_out() -> None:
    assert visible(FORGED) == r"no\n2026-11-30 09:00:00,000 INFO image x done\x1b[2J\x9b1A\r\u2028\u202e"
    assert steerless("one\ntwo\x1b[31m") == "one\ntwo\\x1b[31m"
    assert visible("süd φ 2.5 µm 😀") == "süd φ 2.5 µm 😀"


@given(st.text())
def test_any_text_is_one_printable_line(text: str) -> None:
    assert len(visible(text).splitlines()) <= 1


@pytest.fixture
def log() -> tuple[logging.Logger, io.StringIO]:
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(LineFormatter("%(levelname)s %(message)s"))
    logger = logging.Logger("test")
    logger.addHandler(handler)
    return logger, written


def test_an_error_makes_one_line_of_a_log(log: tuple[logging.Logger, io.StringIO]) -> None:
    logger, written = log
    logger.warning("attempt failed: %s", ValueError(FORGED))
    assert written.getvalue() == f"WARNING attempt failed: {visible(FORGED)}\n"


def test_no_line_of_a_traceback_looks_like_an_event(log: tuple[logging.Logger, io.StringIO]) -> None:
    logger, written = log
    try:
        raise ValueError(FORGED)
    except ValueError:
        logger.exception("it failed")
    head, *rest = written.getvalue().splitlines()
    assert head == "ERROR it failed"
    assert rest[0] == "    Traceback (most recent call last):"
    assert all(line.startswith("    ") for line in rest)
    assert "\x1b" not in written.getvalue()
