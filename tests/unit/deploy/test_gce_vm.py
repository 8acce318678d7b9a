"""deploy/gce/vm.sh: what it tells gcloud."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest

from grainserve.gateway.keys import make_key
from tests.unit.deploy.gce import FAKES, GCE, link_programs, write_program, write_settings
from tools.mar import ROOT


@dataclass
class Cloud:
    """A project that is empty at first, and vm.sh in front of it."""

    state: Path
    bin: Path
    settings: Path

    def vm(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "deploy/gce/vm.sh", *arguments, "--settings", str(self.settings)],
            cwd=ROOT,
            env={"PATH": str(self.bin), "HOME": str(self.state)},
            capture_output=True,
            text=True,
            check=False,
        )

    def does(self, *arguments: str) -> str:
        done = self.vm(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def sign_in(self) -> None:
        """Puts gcloud there."""
        write_program(self.bin / "gcloud", "bash", FAKES / "fake_gcloud.sh", self.state)

    def lines(self, name: str) -> list[str]:
        file = self.state / name
        return file.read_text().splitlines() if file.exists() else []

    def calls(self) -> list[list[str]]:
        """Every command that gcloud got, by words."""
        return [line.split("\t") for line in self.lines("calls")]

    def leave(self, made: Iterable[str]) -> None:
        """Changes what is there."""
        (self.state / "made").write_text("".join(line + "\n" for line in made))

    def bring(self) -> None:
        """Pushes both images and the weights."""
        (self.state / "images").write_text("0.1.0-cuda;0.1.0\n")
        (self.state / "weights").write_text("sam_vit_h.pth\n")


def make_cloud(folder: Path) -> Cloud:
    link_programs(folder / "bin", "bash", "cat", "grep", "mv", "sed", "touch", "tr")
    keys = folder / "keys.toml"
    keys.write_text(make_key("lab-a")[1])
    settings = folder / "settings.env"
    write_settings(settings, KEYS=str(keys))
    for name in ("images", "weights"):
        (folder / name).write_text("")
    return Cloud(folder, folder / "bin", settings)


@pytest.fixture
def cloud(tmp_path: Path) -> Cloud:
    """An empty project; gcloud is not installed."""
    return make_cloud(tmp_path)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What `up --yes` makes in an empty project, in that order."""
    cloud = make_cloud(tmp_path_factory.mktemp("cloud"))
    cloud.sign_in()
    cloud.bring()
    cloud.does("up", "--yes")
    return cloud.lines("made")


@pytest.fixture
def full(cloud: Cloud, whole: list[str]) -> Cloud:
    """A project in which all is made."""
    cloud.sign_in()
    cloud.bring()
    cloud.leave(whole)
    return cloud


def commands(output: str) -> list[str]:
    return [line for line in output.splitlines() if line.startswith("gcloud ")]


def kinds(made: Iterable[str]) -> list[str]:
    """What was made, by the words before its name."""
    return [re.split(r" (?:create|add-iam-policy-binding|enable|update) ", line)[0] for line in made]


def test_help_names_every_command() -> None:
    told = subprocess.run(["bash", GCE / "vm.sh", "--help"], capture_output=True, text=True, check=True).stdout
    for word in ("up", "update", "status", "stop", "start", "delete", "--yes", "--settings", "--with-buckets"):
        assert re.search(rf"^  {word} ", told, re.MULTILINE), word


def test_without_gcloud_all_commands_are_printed_alike_and_in_order(cloud: Cloud) -> None:
    told = cloud.does("up")
    assert told == cloud.does("up")
    assert len(set(commands(told))) == len(commands(told))
    # What a command needs was made before it.
    for first, then in (
        ("services enable compute", "networks create"),
        ("service-accounts create", "buckets add-iam-policy-binding"),
        ("buckets create gs://my-project-grainserve ", "binding gs://my-project-grainserve "),
        ("networks create", "subnets create"),
        ("subnets create", "instances create"),
        ("addresses create", "instances create"),
        ("repositories create", "repositories add-iam-policy-binding"),
    ):
        assert told.index(first) < told.index(then)
    assert commands(told)[-1].startswith("gcloud compute instances create")
    assert told.rstrip().endswith("Nothing was changed. With --yes the commands are run.")


def test_a_dry_run_shows_no_key(cloud: Cloud) -> None:
    key, entry = make_key("lab-b")
    (cloud.state / "keys.toml").write_text(entry)
    told = "".join(cloud.does(command) for command in ("up", "update", "stop", "start", "delete"))
    assert re.findall(r"[0-9a-f]{64}", entry)[0] not in told
    assert key not in told


def test_a_printed_command_is_what_gcloud_gets(cloud: Cloud, whole: list[str]) -> None:
    printed = [" ".join(shlex.split(line)[1:]) for line in commands(cloud.does("up"))]
    files = r"settings=\S+,keys=\S+"  # each project's own, here
    assert [re.sub(files, "", line) for line in printed] == [re.sub(files, "", line) for line in whole]


def test_a_dry_run_changes_nothing(cloud: Cloud) -> None:
    cloud.sign_in()
    for command in ("up", "update", "stop", "start", "delete"):
        cloud.does(command)
    asked = [" ".join(call) for call in cloud.calls()]
    assert asked
    assert [call for call in asked if not re.search(r"^projects describe| list | get-iam-policy ", call)] == []


def test_what_is_there_is_not_made_again(full: Cloud, whole: list[str]) -> None:
    assert kinds(whole).count("storage buckets") == 5  # two, a role on each, versions of one
    assert kinds(whole)[-1] == "compute instances"
    assert commands(full.does("up", "--yes")) == []
    assert full.lines("made") == whole


@pytest.mark.parametrize("first", [0, 1])
def test_what_is_missing_is_made_where_the_rest_is_there(full: Cloud, whole: list[str], first: int) -> None:
    """As after a VM is lost, or a run that broke off; every second step, so that each has a neighbour that is there."""
    # Roles would go with what they are on.
    lost = [line for line in whole[first::2] if not re.search("(buckets|accounts|repositories) create", line)]
    full.leave(line for line in whole if line not in lost)
    printed = [" ".join(shlex.split(line)[1:]) for line in commands(full.does("up", "--yes"))]
    files = r"settings=\S+,keys=\S+"
    assert [re.sub(files, "", line) for line in printed] == [re.sub(files, "", line) for line in lost]


def test_no_gpu_waits_for_images_and_weights(cloud: Cloud) -> None:
    cloud.sign_in()
    (cloud.state / "images").write_text("0.1.0\n")
    done = cloud.vm("up", "--yes")
    assert done.returncode == 1
    assert "torchserve:0.1.0-cuda, sam_vit_h.pth;" in done.stderr
    assert "docker push europe-west4-docker.pkg.dev/my-project/grainserve/torchserve:0.1.0-cuda" in done.stdout
    assert "compute instances" not in kinds(cloud.lines("made"))
    cloud.bring()
    cloud.does("up", "--yes")
    assert kinds(cloud.lines("made"))[-1] == "compute instances"


def test_a_small_model_s_vm_waits_for_its_prompt_decoder(cloud: Cloud) -> None:
    """Its worker for prompts does not start without it, and the container would never be ready."""
    cloud.sign_in()
    write_settings(cloud.settings, KEYS=str(cloud.state / "keys.toml"), MODEL="sam_tiny")
    cloud.bring()
    (cloud.state / "weights").write_text("sam_tiny.pth\n")
    done = cloud.vm("up", "--yes")
    assert done.returncode == 1
    assert "waits for what is missing: sam_tiny_prompt_decoder.pth;" in done.stderr
    assert "grainserve weights push sam_tiny_prompt_decoder.pth --bucket my-project-grainserve-weights" in done.stdout


def test_only_caddy_and_ssh_through_googles_proxy_are_let_in(cloud: Cloud) -> None:
    rules = [line for line in commands(cloud.does("up")) if "firewall-rules create" in line]
    assert [re.findall(r"--allow=(\S+) --source-ranges=(\S+)", rule) for rule in rules] == [
        [("tcp:80,tcp:443", "0.0.0.0/0")],
        [("tcp:22", "35.235.240.0/20")],
    ]
    (machine,) = (line for line in commands(cloud.does("up")) if "instances create" in line)
    assert "--subnet=grainserve " in machine  # of the network that has these two rules alone


def test_the_vm_has_the_least_roles(cloud: Cloud) -> None:
    roles = {
        (words[words.index("add-iam-policy-binding") + 1], re.findall(r"--role=(\S+)", line)[0])
        for line in commands(cloud.does("up"))
        if "add-iam-policy-binding" in (words := line.split())
    }
    assert roles == {
        ("my-project", "roles/logging.logWriter"),
        ("gs://my-project-grainserve", "roles/storage.objectUser"),
        ("gs://my-project-grainserve-weights", "roles/storage.objectViewer"),
        ("grainserve", "roles/artifactregistry.reader"),
    }


@pytest.mark.parametrize(
    ("gpu", "machine"),
    [
        ("l4", "g2-standard-8"),
        ("t4", "n1-standard-8 --accelerator=type=nvidia-tesla-t4,count=1"),
        ("none", "e2-standard-8"),
    ],
)
def test_the_machine_is_the_one_for_the_gpu(cloud: Cloud, gpu: str, machine: str) -> None:
    write_settings(cloud.settings, KEYS=str(cloud.state / "keys.toml"), GPU=gpu)
    assert f"--machine-type={machine} --maintenance-policy=TERMINATE" in commands(cloud.does("up"))[-1]


def test_an_update_hands_over_the_files_and_runs_the_startup_file(cloud: Cloud) -> None:
    cloud.sign_in()
    cloud.does("update", "--yes")
    changes = [call for call in cloud.calls() if call[:2] != ["projects", "describe"]]
    assert [call[:3] for call in changes] == [
        ["compute", "instances", "add-metadata"],
        ["compute", "ssh", "grainserve"],
    ]
    assert f"settings={cloud.settings},keys={cloud.state}/keys.toml" in " ".join(changes[0])


def test_a_deletion_removes_what_was_made_but_for_the_buckets(full: Cloud, whole: list[str]) -> None:
    full.does("delete", "--yes")
    assert full.lines("made") == [
        line for line in whole if re.match(r"services enable|storage buckets (create|update) ", line)
    ]
    assert commands(full.does("delete", "--yes")) == []


def test_a_deletion_takes_the_buckets_too_when_told(full: Cloud) -> None:
    full.does("delete", "--yes", "--with-buckets")
    assert [line for line in full.lines("made") if not line.startswith("services enable")] == []


def test_an_answer_that_does_not_come_is_no_empty_one(cloud: Cloud) -> None:
    """Else a network that fails for a moment makes everything anew, or leaves a VM that costs money."""
    write_program(cloud.bin / "gcloud", "bash", "-c", '[ "$1" = projects ] && echo a-project || exit 1', "gcloud")
    for command in ("up", "delete"):
        done = cloud.vm(command)
        assert done.returncode == 1
        assert "gcloud could not answer" in done.stderr
        assert commands(done.stdout) == []


def test_nothing_runs_where_gcloud_is_missing_or_not_signed_in(cloud: Cloud) -> None:
    assert "gcloud is not installed" in cloud.vm("up", "--yes").stderr
    write_program(cloud.bin / "gcloud", "false")
    (cloud.bin / "false").symlink_to(shutil.which("false") or "/bin/false")
    assert "gcloud auth login" in cloud.vm("up", "--yes").stderr
    assert "for an empty one" in cloud.does("up")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"PROJECT": "My Project"}, "PROJECT=My Project is not a project id"),
        ({"ZONE": "europe-west4"}, "ZONE=europe-west4 is not a zone"),
        ({"GPU": "a100"}, "GPU=a100 is not l4, t4 or none"),
        ({"DOMAIN": "https://grains.example.org"}, "DOMAIN=https://grains.example.org is not a domain name"),
        ({"BUCKET": "gs://grains"}, "BUCKET=gs://grains is not 3 to 63"),
        ({"BUCKET": "one", "WEIGHTS_BUCKET": "one"}, "are the same"),
        ({"MODEL": "sam_vit_x"}, "there is no config/sam_vit_x.yaml"),
        ({"CLIENT_TAG": "latest"}, "name a version"),
        ({"NAME": ""}, "NAME= is not 6 to 20"),
        ({"DOMAIN": "$(reboot).org"}, "is not a domain name"),
        ({"COLOUR": "blue"}, "line 12 is no setting: COLOUR=blue"),
        ({"KEYS": "deploy/gce/Caddyfile"}, "holds no key: grainserve keygen"),
    ],
)
def test_a_wrong_setting_is_named(cloud: Cloud, changes: dict[str, str], told: str) -> None:
    write_settings(cloud.settings, **({"KEYS": str(cloud.state / "keys.toml")} | changes))
    done = cloud.vm("up")
    assert done.returncode == 1
    assert told in done.stderr
    assert commands(done.stdout) == []


def test_all_faults_are_told_at_once(cloud: Cloud) -> None:
    cloud.settings.write_text("PROJECT=my-project\nPROJECT=other\nZONE\nGPU=big\n")
    told = cloud.vm("up").stderr
    for fault in (
        "PROJECT is there twice",
        "line 3 is no setting: ZONE",
        "GPU=big",
        "ZONE is missing",
        "KEYS is missing",
    ):
        assert fault in told


@pytest.mark.parametrize("arguments", [[], ["up", "down"], ["up", "stop"], ["up", "--with-buckets"]])
def test_a_wrong_command_line_is_refused(cloud: Cloud, arguments: list[str]) -> None:
    assert cloud.vm(*arguments).returncode != 0


def as_linted(words: list[str]) -> str:
    """A command in the form that gcloud's linter reads: of a flag only the value is quoted."""
    return " ".join(re.sub(r"^(--[\w-]+=)?(.*[^\w./:=@,%+-].*)$", r"\1'\2'", word) for word in ["gcloud", *words])


@pytest.mark.skipif(shutil.which("gcloud") is None, reason="gcloud is not installed, which knows its own flags")
def test_gcloud_knows_every_command_and_flag(full: Cloud, tmp_path: Path) -> None:
    full.does("up")
    full.does("update", "--yes")
    full.does("delete")
    asked = full.calls()
    told = full.does("delete", "--with-buckets") + "".join(
        full.does(word) for word in ("delete", "stop", "start", "update")
    )
    full.leave([])
    told += full.does("up")
    every = [*asked, *(shlex.split(line)[1:] for line in commands(told))]
    # One of each shape: its words, and of flags their names. The linter takes its time.
    shapes = {(*words[:3], *(word.partition("=")[0] for word in words if "--" in word)): words for words in every}
    file = tmp_path / "commands.json"
    file.write_text(json.dumps([{"command_string": as_linted(words)} for words in shapes.values()]))
    linted = subprocess.run(
        ["gcloud", "meta", "lint-gcloud-commands", f"--commands-file={file}"],
        env={**os.environ, "CLOUDSDK_CONFIG": str(tmp_path / "config"), "CLOUDSDK_CORE_DISABLE_PROMPTS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert linted.returncode == 0, linted.stdout + linted.stderr
    verdicts = json.loads(linted.stdout)
    refused = [(each["command_string"], each["error_message"]) for each in verdicts if not each["success"]]
    assert not refused, "\n".join(map(str, refused))
    assert len(verdicts) == len(shapes)
