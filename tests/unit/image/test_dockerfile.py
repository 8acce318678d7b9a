"""Promises of the Dockerfile, checked on its text; tools/image_test.py builds it."""

from __future__ import annotations

import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import NamedTuple

import pytest

from tools.mar import ROOT

DOCKERFILE = ROOT / "Dockerfile"
TARGETS = ("client", "torchserve")


class Line(NamedTuple):
    word: str
    rest: str


def instructions() -> list[Line]:
    text = re.sub(r"^\s*#.*\n", "", DOCKERFILE.read_text(), flags=re.MULTILINE)
    joined = re.sub(r"\\\n\s*", "", text)
    return [Line(*line.split(maxsplit=1)) for line in joined.splitlines() if line.strip()]


def stages() -> dict[str, list[Line]]:
    """Returns the instructions by stage, including those of the stages below."""
    found: dict[str, list[Line]] = {}
    current: list[Line] = []
    for line in instructions():
        if line.word == "FROM":
            source, _, name = line.rest.partition(" AS ")
            current = found[name] = [*found.get(source, []), line]
        else:
            current.append(line)
    return found


def last(target: str, word: str) -> str:
    return [line.rest for line in stages()[target] if line.word == word][-1]


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_runs_as_a_numbered_user_under_an_init(target: str) -> None:
    # The user is a number, since Kubernetes cannot tell that a name is not root.
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", last(target, "USER"))
    assert re.match(r'\["tini", ("-e", "143", )?"--",', last(target, "ENTRYPOINT"))
    words = [line.word for line in stages()[target]]
    # Nothing is installed or copied as that user.
    assert not {"RUN", "COPY"} & set(words[len(words) - words[::-1].index("USER") :])


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_asks_itself_whether_it_is_ready(target: str) -> None:
    assert last(target, "HEALTHCHECK").endswith('CMD ["ready"]')
    texts = " ".join(line.rest for line in stages()[target])
    assert "/usr/local/bin" in texts


def test_the_base_is_an_argument_with_a_pinned_cuda_image() -> None:
    (default,) = [line.rest for line in instructions() if line.word == "ARG" and line.rest.startswith("BASE=")]
    assert re.fullmatch(r"BASE=nvidia/cuda:\d+\.\d+\.\d+-(base|runtime)-ubuntu\d\d\.\d\d", default)
    images = {line.rest.split(" AS ")[0] for line in instructions() if line.word == "FROM"}
    assert images - set(stages()) == {"${BASE}"}


def test_everything_installed_is_pinned() -> None:
    for line in instructions():
        assert ":latest" not in line.rest
        if "pip install" in line.rest:
            assert "--constraint requirements.txt" in line.rest or "grep '^uv==' requirements.txt" in line.rest
    (python,) = [line.rest for line in instructions() if line.word == "ARG" and line.rest.startswith("PYTHON=")]
    assert re.fullmatch(r"PYTHON=3\.11\.\d+", python)


def test_nothing_is_fetched_by_address_and_no_weights_go_in() -> None:
    for line in instructions():
        assert line.word != "ADD"
        assert "://" not in line.rest
        assert "weights" not in line.rest or line.word in {"ENV", "VOLUME", "RUN"}
        assert ".pth" not in line.rest
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in ignored
    assert not any(line.startswith(("!weights", "!.")) for line in ignored)


def test_what_is_copied_is_there_and_not_ignored() -> None:
    let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for line in instructions():
        if line.word == "COPY" and "--from" not in line.rest:
            for source in line.rest.split()[:-1]:
                assert (ROOT / source).exists(), source
                assert source.split("/")[0] in let_in, source


def test_torch_stays_out_of_the_client() -> None:
    client = " ".join(line.rest for line in stages()["build-client"] + stages()["client"])
    assert "handler" not in client
    assert "torch" not in client.replace("TORCH_BACKEND", "")


def test_volumes_are_where_the_entrypoint_writes() -> None:
    environment = last("torchserve", "ENV")
    for variable, folder in (("MODEL_STORE", "model_store"), ("WEIGHTS_CACHE", "weights")):
        assert f"GRAINSERVE_{variable}=/var/lib/grainserve/{folder}" in environment
        assert f"/var/lib/grainserve/{folder}" in last("torchserve", "VOLUME")
    assert "GOMP_SPINCOUNT=3000" in environment


def test_gke_s_driver_is_found() -> None:
    environment = last("torchserve", "ENV").split()
    assert "PATH=$PATH:/usr/local/nvidia/bin" in environment
    assert any(each.startswith("LD_LIBRARY_PATH=/usr/local/nvidia/lib64${LD_LIBRARY_PATH:+") for each in environment)


def test_management_is_not_exposed() -> None:
    assert last("torchserve", "EXPOSE").split() == ["8080", "8082"]


@pytest.mark.parametrize("name", ["ready", "drain", "gateway_ready"])
def test_programs_can_be_run(name: str) -> None:
    program = ROOT / "image" / "bin" / name
    assert program.stat().st_mode & 0o111
    assert (ROOT / "image" / f"{name}.py").is_file()
    subprocess.run(["sh", "-n", program], check=True)


def test_logs_go_to_standard_output_alone() -> None:
    tree = ET.parse(ROOT / "config" / "log4j2.xml")
    assert {each.tag for each in tree.iterfind("Appenders/*")} == {"Console"}
    off = {each.get("name") for each in tree.iterfind("Loggers/Logger") if each.get("level") == "off"}
    assert {"ACCESS_LOG", "TS_METRICS", "MODEL_METRICS"} <= off


def test_hadolint_has_nothing_to_say() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, DOCKERFILE], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
