"""The containers of the VM: how run.sh starts them, and what Caddy lets through."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.unit.deploy.gce import CONTAINERS, GCE
from tools import docker_run
from tools.mar import ROOT


@pytest.mark.parametrize("container", CONTAINERS)
def test_a_container_is_locked_and_comes_back_after_a_failure(container: str) -> None:
    arguments = docker_run.on_vm(container, Path("/"))
    options = arguments[: next(i for i, part in enumerate(arguments) if re.search(r"^\w.*/.*:[\w.-]+$", part))]
    pairs = set(itertools.pairwise(options))
    assert "--read-only" in options
    assert {
        ("--cap-drop", "ALL"),
        ("--security-opt", "no-new-privileges"),
        ("--restart", "unless-stopped"),
        ("--log-driver", "gcplogs"),
        ("--network", "grainserve"),
    } <= pairs
    published = [value for option, value in pairs if option == "--publish"]
    if container == "caddy":
        assert sorted(published) == ["443:443", "80:80"]
    else:
        assert [value for value in published if not value.startswith("127.0.0.1:")] == []


def test_torchserves_inference_and_management_are_published_nowhere() -> None:
    published = [
        part
        for name in CONTAINERS
        for part in docker_run.on_vm(name, Path("/"))
        if re.search(r"^[\d.]*:?\d+:\d+$", part)
    ]
    assert not {"8080", "8081", "7070", "7071"} & {part.rpartition(":")[2] for part in published}


def test_the_engine_stops_the_server_after_it_has_drained() -> None:
    arguments = docker_run.on_vm("worker", Path("/"))
    assert int(arguments[arguments.index("--stop-timeout") + 1]) > 5 + 600  # image/drain.py


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.skipif(shutil.which("docker") is None, reason="docker is not installed, which knows its own options")
def test_docker_knows_every_option(container: str, tmp_path: Path) -> None:
    told = subprocess.run(
        ["docker", "--host", f"unix://{tmp_path}/none.sock", "create", *docker_run.on_vm(container, tmp_path)],
        env={**os.environ, "DOCKER_CONFIG": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    # It has read its arguments, and asks the daemon next.
    assert "docker daemon" in told.stderr.lower(), told.stderr


def test_caddy_lets_through_what_people_need() -> None:
    """Those paths that docs/kubernetes.md routes, and no others."""
    routed = re.findall(r"path: \{type: (\w+), value: ([^}]+)\}", (ROOT / "docs" / "kubernetes.md").read_text())
    expected = {path for kind, value in routed for path in ([value] if kind == "Exact" else [value, f"{value}/*"])}
    (line,) = re.findall(r"@public path (.+)", (GCE / "Caddyfile").read_text())
    assert set(line.split()) == expected
    assert "/metrics" not in expected
