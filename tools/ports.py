"""TCP ports on the loopback address."""

from __future__ import annotations

import random
import socket

from tools.problem import Problem

LOOPBACK = "127.0.0.1"
# Below the range that Linux and macOS use for outgoing connections, so that none of those takes a chosen port before a
# server does.
_RANGE = range(20_000, 32_000)


def is_free(port: int) -> bool:
    """Tells whether a server could listen on `port` now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # Servers set this option too: a port that only has connections in TIME_WAIT is free for them.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


def choose_free(count: int) -> list[int]:
    """Chooses `count` different free ports at random.

    Raises:
        Problem: there are not enough free ports.
    """
    chosen: list[int] = []
    for port in random.sample(_RANGE, k=2_000):
        if is_free(port):
            chosen.append(port)
        if len(chosen) == count:
            return chosen
    raise Problem(f"No {count} free TCP ports on {LOOPBACK} between {_RANGE.start} and {_RANGE.stop}.")


def require_free(port: int, what: str, remedy: str) -> None:
    """Checks that a port is free.

    Args:
        port: port to check.
        what: server that needs it, in words.
        remedy: what else to do than to free the port, in words.

    Raises:
        Problem: the port is taken; the message names the server and the remedy.
    """
    if not is_free(port):
        raise Problem(f"Port {port}, which {what} needs, is in use. Stop what uses it, or {remedy}.")
