"""Renders deploy/ with kustomize, as `make render`. The output is committed, so that its changes are reviewed.

    python -m tools.render            writes deploy/rendered/*.yaml, valid for Kubernetes' schemas
    python -m tools.render --check    writes nothing; exit code 1 if the committed files differ

Also copies the configuration that pods read into deploy/base/config/: kustomize reads no files outside its folder, and
with the copies `kubectl apply -k` needs no flag. Also wraps the alerts of Prometheus and the dashboard of Grafana into
objects of a cluster: deploy/monitoring/rules.yaml and dashboard.yaml.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tools.mar import ROOT
from tools.problem import Problem, main_exit
from tools.properties import CONFIG

DEPLOY = ROOT / "deploy"
OVERLAYS = ("gpu", "cpu")
KSERVE = "kserve"
RENDERED = (*OVERLAYS, KSERVE)
HEAD = "# Rendered from deploy/overlays/{overlay} by `make render`; edit those files.\n"
WRAPPED = "# Written by `make render`; edit {source}.\n"
FOREIGN = {"InferenceService"}
"""Kinds that are not Kubernetes' own, so that its schemas do not cover them."""
PREDICTOR = "grainserve-predictor"
"""Name of the Deployment that KServe makes of the InferenceService `grainserve`."""

SETTINGS = {"job_queue_size": "4"}
"""Lines of config.properties that differ in a cluster. The queue is short because the wait in it counts towards the
dispatchers' patience of 600 s, and because a refused request goes to another pod."""

VERSIONS = ("1.29.0", "1.37.0")
"""Versions of Kubernetes whose schemas the output must pass: the first one with sidecars, and the latest."""


def configuration() -> dict[Path, str]:
    """Returns the files of deploy/base/config/ with their content."""
    folder = DEPLOY / "base" / "config"
    return {
        folder / "config.properties": _changed(CONFIG.read_text(), SETTINGS),
        folder / "metrics.yaml": (ROOT / "config" / "metrics.yaml").read_text(),
    }


def monitoring() -> dict[Path, str]:
    """Returns the files for the Prometheus Operator (alerts) and for Grafana (dashboard), with their content."""
    folder = DEPLOY / "monitoring"
    alerts, dashboard = folder / "alerts.yaml", folder / "dashboard.json"
    rule: dict[str, Any] = {"apiVersion": "monitoring.coreos.com/v1", "kind": "PrometheusRule"}
    rule |= {"metadata": {"name": "grainserve", "namespace": "grainserve"}}
    metadata = {"name": "grainserve-dashboard", "namespace": "monitoring", "labels": {"grafana_dashboard": "1"}}
    panel = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}
    return {
        folder / "rules.yaml": WRAPPED.format(source=alerts.name)
        + yaml.safe_dump(rule, sort_keys=False)
        + "spec:\n"
        + textwrap.indent(alerts.read_text(), "  "),
        folder / "dashboard.yaml": WRAPPED.format(source=dashboard.name)
        + yaml.safe_dump(panel, sort_keys=False)
        + "data:\n  grainserve.json: |\n"
        + textwrap.indent(dashboard.read_text(), "    "),
    }


def _changed(text: str, settings: Mapping[str, str]) -> str:
    """Returns the content of a config.properties, comments included, with some settings changed.

    Raises:
        Problem: a setting to change does not occur exactly once.
    """
    lines = text.splitlines()
    for key, value in settings.items():
        places = [number for number, line in enumerate(lines) if line.startswith(f"{key}=")]
        if len(places) != 1:
            raise Problem(f"{CONFIG.name} sets {key} {len(places)} times: tools/render.py changes it once.")
        lines[places[0]] = f"{key}={value}"
    return "\n".join(["# Written by `make render`; edit the file at the root of the repository.", *lines, ""])


def render(overlay: str) -> str:
    """Renders an overlay with kustomize.

    Raises:
        Problem: kubectl is missing or fails.
    """
    kubectl = find_kubectl()
    if kubectl is None:
        raise Problem(
            "kubectl is not installed, which renders deploy/: get one from 1.29 on (kubernetes.io/docs/tasks/tools)"
        )
    command = [kubectl, "kustomize", str(DEPLOY / "overlays" / overlay)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Problem(f"deploy/overlays/{overlay} does not render: {done.stderr.strip()}")
    return HEAD.format(overlay=overlay) + done.stdout


def kserve(text: str) -> str:
    """Returns the rendered `gpu` overlay with an InferenceService in place of TorchServe's Deployment.

    The pods and their labels stay the same, so Services, policies and the disruption budget still apply to them. The
    autoscaler's target becomes the Deployment that KServe makes.

    Args:
        text: `gpu` overlay, rendered.
    """
    documents = text.removeprefix(HEAD.format(overlay="gpu")).split("\n---\n")
    return HEAD.format(overlay="gpu") + "\n---\n".join(map(_for_kserve, documents)).rstrip("\n") + "\n"


def _for_kserve(document: str) -> str:
    given = yaml.safe_load(document)
    which = (given["kind"], given["metadata"]["name"])
    if which == ("HorizontalPodAutoscaler", "torchserve"):
        given["spec"]["scaleTargetRef"]["name"] = PREDICTOR
        return _dumped(given)
    if which != ("Deployment", "torchserve"):
        return document
    template = given["spec"]["template"]
    server = template["spec"]["containers"][0]
    server["name"] = "kserve-container"  # the name that KServe expects
    for variable in server["env"]:
        if limit := variable.get("valueFrom", {}).get("resourceFieldRef"):
            limit["containerName"] = server["name"]
    service = {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {
            "name": PREDICTOR.removesuffix("-predictor"),
            "namespace": given["metadata"]["namespace"],
            "labels": given["metadata"]["labels"],
            "annotations": {
                # A plain Deployment: Knative takes neither the sidecars nor a drain of minutes.
                "serving.kserve.io/deploymentMode": "Standard",
                "serving.kserve.io/autoscalerClass": "external",
            },
        },
        "spec": {
            "predictor": {
                "minReplicas": 2,
                "labels": template["metadata"]["labels"],
                "deploymentStrategy": given["spec"]["strategy"],
                **template["spec"],
            }
        },
    }
    return _dumped(service)


def _dumped(given: dict[str, Any]) -> str:
    return str(yaml.safe_dump(given, width=1000)).rstrip("\n")


def find_kubectl() -> str | None:
    """Returns the path of kubectl; None if it is not installed."""
    return shutil.which("kubectl")


def rendered(overlay: str) -> Path:
    """Returns the file of the committed output of an overlay, or of `kserve`."""
    return DEPLOY / "rendered" / f"{overlay}.yaml"


def objects(text: str) -> list[dict[str, Any]]:
    """Returns the objects of a YAML stream."""
    return [each for each in yaml.safe_load_all(text) if each]


def invalid(text: str) -> list[str]:
    """Returns in words what violates Kubernetes' schemas, unknown fields included.

    Args:
        text: objects as a YAML stream.

    Raises:
        Problem: kubernetes-validate, which holds the schemas, is not installed.
    """
    try:
        import kubernetes_validate  # noqa: PLC0415 - tests without it say so
    except ModuleNotFoundError:
        raise Problem("kubernetes-validate is not installed: run `make setup`.") from None
    found = []
    for version in VERSIONS:
        for each in objects(text):
            if each["kind"] in FOREIGN:
                continue
            try:
                kubernetes_validate.validate(each, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                where = ".".join(map(str, error.path))
                found.append(
                    f"Kubernetes {version}: {each['kind']}/{each['metadata']['name']} {where}: {error.message}"
                )
    return found


def main() -> int:
    """Command line entry."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail when the committed files are others")
    arguments = parser.parse_args()
    stale = _settle(configuration() | monitoring(), write=not arguments.check)
    output = {rendered(overlay): render(overlay) for overlay in OVERLAYS}
    output[rendered(KSERVE)] = kserve(output[rendered("gpu")])
    stale += _settle(output, write=not arguments.check)
    for file, text in output.items():
        if problems := invalid(text):
            raise Problem("\n".join(problems))
        print(f"{file.relative_to(ROOT)}: {len(objects(text))} objects, valid for Kubernetes {' and '.join(VERSIONS)}")
    if arguments.check and stale:
        raise Problem(f"not what `make render` writes: {', '.join(str(file.relative_to(ROOT)) for file in stale)}")
    return 0


def _settle(files: Mapping[Path, str], *, write: bool) -> list[Path]:
    """Returns the files whose content differs from what it should be; writes them if `write` is set."""
    stale = [file for file, text in files.items() if not file.is_file() or file.read_text() != text]
    for file in stale if write else []:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(files[file])
    return stale


if __name__ == "__main__":
    main_exit(main)
