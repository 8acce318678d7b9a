from __future__ import annotations

from pathlib import Path

import pytest

from tools import docker_run
from tools.docker_run import DockerRun
from tools.problem import Problem


def test_what_docker_is_given_is_read() -> None:
    given = [
        *("--name", "worker", "--read-only", "--tmpfs", "/tmp:rw,exec,size=4g", "--volume", "models:/var/models"),
        *("--volume", "/etc/keys.toml:/keys.toml:ro", "--env", "A=1", "--env", "B=x=y", "--gpus", "all"),
        *("registry/image:1.0", "gateway", "--port", "8000"),
    ]
    assert docker_run.parse(given) == DockerRun(
        image="registry/image:1.0",
        command=("gateway", "--port", "8000"),
        environment={"A": "1", "B": "x=y"},
        volumes={"/var/models": "models", "/keys.toml": "/etc/keys.toml"},
        tmpfs={"/tmp": "rw,exec,size=4g"},
        engines=("--name", "worker", "--gpus", "all"),
    )


def test_an_option_is_not_passed_over() -> None:
    with pytest.raises(Problem, match="does not know docker's --user"):
        docker_run.parse(["--read-only", "--user", "0", "image"])


def test_a_root_that_may_be_written_to_is_no_container_of_ours() -> None:
    with pytest.raises(Problem, match="--read-only is missing"):
        docker_run.parse(["--env", "A=1", "image"])


def test_a_vms_containers_have_its_settings() -> None:
    worker = docker_run.parse(docker_run.on_vm("worker", Path("/root"), MODEL="sam_tiny", GPU="none"))
    assert worker.environment["GRAINSERVE_MODELS"] == "sam_tiny sam_tiny-prompt"
    assert worker.environment["GRAINSERVE_WEIGHTS_BUCKET"] == "my-project-grainserve-weights"
    gateway = docker_run.parse(docker_run.on_vm("gateway", Path("/folder"), BUCKET="grains"))
    assert gateway.environment["GRAINSERVE_BUCKET"] == "grains"
    assert gateway.volumes == {"/keys.toml": "/folder/etc/grainserve/keys.toml"}
    assert gateway.command[:2] == ("gateway", "--host")
