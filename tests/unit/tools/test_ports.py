"""The error for a port in use names the variable with which `make serve` takes another port."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest

from tools.emulator import Emulator
from tools.gateway import Gateway
from tools.mar import ROOT
from tools.problem import Problem
from tools.torchserve import Ports, TorchServe


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield int(listening.getsockname()[1])


def starts(port: int, folder: Path) -> list[TorchServe | Emulator | Gateway]:
    free = {field.name: number for number, field in enumerate(fields(Ports), start=20_000)}
    servers = [
        TorchServe(model_store=folder, logs=folder, environment={}, ports=Ports(**free | {name: port})) for name in free
    ]
    return [
        *servers,
        Emulator(folder / "gcs", port=port, log=folder / "log"),
        Gateway({}, port=port, log=folder / "log"),
    ]


def test_the_variable_is_named_that_make_serve_reads(taken: int, tmp_path: Path) -> None:
    known = re.findall(r'"(GRAINSERVE_\w*PORT)"', (ROOT / "tools" / "stack.py").read_text())
    named = set()
    for server in starts(taken, tmp_path):
        with pytest.raises(Problem, match=f"Port {taken}") as problem:
            server.start()
        assert "--" not in str(problem.value)
        named |= set(re.findall(r"GRAINSERVE_\w+", str(problem.value)))
    assert named == set(known)
