from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from grainserve.cli.stopping import Stopping, stop_signals

STORM = """
import os, random, signal, sys, time
from grainserve.cli.stopping import stop_signals

ours, theirs = os.pipe()
if os.fork() == 0:  # from another process, so that it comes at any of this one's instructions
    os.close(theirs)  # else it would outlive its parent
    while os.read(ours, 1) == b"g":
        until = time.perf_counter() + random.random() * 2e-4
        while time.perf_counter() < until:
            pass
        os.kill(os.getppid(), signal.SIGTERM)
    os._exit(0)
end = time.monotonic() + 2
while time.monotonic() < end:
    with stop_signals() as stopping:
        os.write(theirs, b"g")
        while not stopping.wait(1e-6):
            pass
os.write(theirs, b"x")
os.wait()
"""


def test_a_signal_may_come_at_any_instruction() -> None:
    subprocess.run([sys.executable, "-c", STORM], check=True, timeout=60)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_every_wait_and_the_next_is_as_before(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with stop_signals() as stopping:
        assert not stopping.wait(0.01)
        os.kill(os.getpid(), number)
        assert stopping.wait()
        assert stopping.wait(0)
        assert signal.getsignal(number) is before
    assert signal.getsignal(number) is before


def test_it_can_be_set_before_anybody_waits() -> None:
    stopping = Stopping()
    stopping.set()
    assert stopping.wait(0)
