"""deploy/gce/startup.sh: what a VM does at a boot."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from grainserve.gateway.keys import make_key
from tests.unit.deploy.gce import CONTAINERS, FAKES, GCE, link_programs, write_settings
from tools import docker_run


@dataclass
class Machine:
    """A VM whose programs are fakes."""

    folder: Path

    @property
    def root(self) -> Path:
        """What stands for its root folder."""
        return self.folder / "root"

    def start(self) -> subprocess.CompletedProcess[str]:
        """Runs the start-up file, as a boot does."""
        (self.folder / "calls").write_text("")
        return subprocess.run(
            ["bash", self.folder / "metadata" / "startup-script"],
            env={"PATH": str(self.folder / "bin"), "GRAINSERVE_ROOT": str(self.root)},
            capture_output=True,
            text=True,
            check=False,
        )

    def boots(self) -> list[list[str]]:
        """Starts, and returns the calls of programs that came of it."""
        done = self.start()
        assert done.returncode == 0, done.stdout + done.stderr
        return self.calls()

    def calls(self) -> list[list[str]]:
        return [line.split("\t") for line in (self.folder / "calls").read_text().splitlines()]

    def set(self, name: str, value: str) -> None:
        (self.folder / name).write_text(f"{value}\n")

    def tell(self, **settings: str) -> None:
        """Sets the VM's metadata, as vm.sh does, with a new key."""
        metadata = self.folder / "metadata"
        write_settings(metadata / "settings", **settings)
        for name, file in (("startup-script", "startup.sh"), ("run", "run.sh"), ("Caddyfile", "Caddyfile")):
            shutil.copy(GCE / file, metadata / name)
        (metadata / "keys").write_text(make_key("lab-a")[1])


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A VM that was just made."""
    vm, programs = Machine(tmp_path), tmp_path / "bin"
    for name in ("etc/apt/apt.conf.d", "etc/apt/sources.list.d", "etc/docker", "usr/share/keyrings"):
        (vm.root / name).mkdir(parents=True)
    link_programs(
        programs, "bash", "cat", "chmod", "cut", "grep", "ln", "mkdir", "mv", "rm", "sed", "sha256sum", "touch"
    )
    link_programs(programs, "xargs")
    (programs / "python3").symlink_to(sys.executable)
    for name in ("docker", "curl", "gpg", "apt-get", "modprobe", "nvidia-smi", "systemctl", "sleep"):
        (programs / name).write_text(f'#!/bin/sh\nexec bash {FAKES / "fake_machine.sh"} {tmp_path} "$0" "$@"\n')
        (programs / name).chmod(0o755)
    (tmp_path / "metadata").mkdir()
    vm.tell()
    vm.set("module", "for this kernel")
    vm.set("pushed", "once")
    return vm


def started(calls: list[list[str]]) -> dict[str, list[str]]:
    """Arguments of `docker run` by container, without those that only vary."""
    runs = [call[5:] for call in calls if call[:4] == ["docker", "run", "--detach", "--label"]]
    return {run[run.index("--name") + 1]: run for run in runs}


def without_gpu(arguments: list[str]) -> list[str]:
    at = arguments.index("--gpus")
    assert arguments[at : at + 4] == ["--gpus", "all", "--env", "GRAINSERVE_REQUIRE_GPU=1"]
    return arguments[:at] + arguments[at + 4 :]


def test_a_vm_starts_what_image_test_tests_but_for_the_gpu(machine: Machine) -> None:
    runs = started(machine.boots())
    assert list(runs) == list(CONTAINERS)
    tested = {name: docker_run.on_vm(name, machine.root, GPU="none") for name in CONTAINERS}
    assert runs["gateway"] == tested["gateway"]
    assert runs["caddy"] == tested["caddy"]
    assert without_gpu(runs["worker"]) == tested["worker"]
    for name in ("worker", "gateway"):
        docker_run.parse(runs[name])


def test_a_second_boot_installs_and_replaces_nothing(machine: Machine) -> None:
    machine.boots()
    calls = machine.boots()
    assert started(calls) == {}
    assert [call for call in calls if call[0] == "apt-get" or call[:2] in (["docker", "stop"], ["docker", "rm"])] == []


def test_only_what_changed_is_replaced(machine: Machine) -> None:
    machine.boots()
    machine.tell(DOMAIN="other.example.org", KEYS="keys.toml")  # with another key as well
    calls = machine.boots()
    assert list(started(calls)) == ["gateway", "caddy"]
    stopped = [call[2] for call in calls if call[:2] == ["docker", "stop"]]
    assert stopped == ["gateway", "caddy"]
    machine.tell(DOMAIN="other.example.org", TORCHSERVE_TAG="0.2.0-cuda")
    shutil.copy(machine.root / "etc/grainserve/keys.toml", machine.folder / "metadata" / "keys")
    assert list(started(machine.boots())) == ["worker"]


def test_an_image_that_was_pushed_again_is_run(machine: Machine) -> None:
    machine.boots()
    machine.set("pushed", "twice")
    assert list(started(machine.boots())) == list(CONTAINERS)


def test_a_driver_for_the_next_kernel_takes_one_reboot(machine: Machine) -> None:
    machine.set("module", "for the next kernel")
    calls = machine.boots()
    assert calls[-1] == ["systemctl", "reboot"]
    assert started(calls) == {}
    calls = machine.boots()
    assert list(started(calls)) == list(CONTAINERS)
    assert ["systemctl", "reboot"] not in calls


def test_a_driver_that_never_works_reboots_once_and_says_so(machine: Machine) -> None:
    machine.set("module", "for no kernel")
    assert machine.boots()[-1] == ["systemctl", "reboot"]
    done = machine.start()
    assert done.returncode == 1
    assert "the driver does not work after a reboot either" in done.stderr
    assert ["systemctl", "reboot"] not in machine.calls()


def test_the_toolkit_keeps_the_gpu_over_a_reload(machine: Machine) -> None:
    machine.boots()
    docker = json.loads((machine.root / "etc/docker/daemon.json").read_text())
    assert docker == {"exec-opts": ["native.cgroupdriver=cgroupfs"], "runtimes": {"nvidia": {}}}
    listed = (machine.root / "etc/apt/sources.list.d/nvidia-container-toolkit.list").read_text()
    assert listed.startswith(f"deb [signed-by={machine.root}/usr/share/keyrings/")


def test_a_rehearsal_without_gpu_needs_no_driver(machine: Machine) -> None:
    machine.tell(GPU="none", MODEL="sam_tiny")
    calls = machine.boots()
    assert {call[0] for call in calls} == {"curl", "docker"}
    assert started(calls)["worker"] == docker_run.on_vm("worker", machine.root, GPU="none", MODEL="sam_tiny")


def test_a_start_that_fails_says_where(machine: Machine) -> None:
    (machine.folder / "metadata" / "keys").unlink()
    done = machine.start()
    assert done.returncode != 0
    assert "grainserve: failed in line" in done.stderr


def test_the_token_is_in_no_argument(machine: Machine) -> None:
    assert not [call for call in machine.boots() if "a token" in " ".join(call)]
    assert (machine.folder / "token").read_text() == "a token\n"
