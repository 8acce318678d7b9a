"""The committed output of kustomize keeps its promises, and a broken promise is noticed."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from tests.unit.deploy import promises, sizes
from tests.unit.deploy.promises import Check, Object, containers, kind, pod
from tools.mar import ROOT
from tools.render import DEPLOY, OVERLAYS, PREDICTOR, RENDERED, objects, rendered

CHECKS = [*promises.CHECKS, *sizes.CHECKS]
Break = Callable[[list[Object]], None]


def load(overlay: str) -> list[Object]:
    """Loads a rendered file, with the Deployment that KServe makes in place of the InferenceService."""
    every = objects(rendered(overlay).read_text())
    return [deployment(each) if each["kind"] == "InferenceService" else each for each in every]


def deployment(service: Object) -> Object:
    predictor = dict(service["spec"]["predictor"])
    labels, strategy = predictor.pop("labels"), predictor.pop("deploymentStrategy")
    assert predictor.pop("minReplicas") == 2
    template = {"metadata": {"labels": labels}, "spec": predictor}
    return {
        "kind": "Deployment",
        "metadata": {"name": PREDICTOR, "labels": service["metadata"]["labels"]},
        "spec": {"selector": {"matchLabels": {}}, "strategy": strategy, "template": template},
    }


@pytest.mark.parametrize("overlay", RENDERED)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_every_promise_is_kept(overlay: str, check: Check) -> None:
    assert list(check(load(overlay))) == []


def found(every: list[Object], what: str, named: str) -> Object:
    return next(each for each in kind(every, what) if each["metadata"]["name"] == named)


def container(every: list[Object], deployment: str, number: int = 0) -> Object:
    return containers(found(every, "Deployment", deployment))[number]


def spec(every: list[Object], deployment: str) -> Object:
    return pod(found(every, "Deployment", deployment))


def policy(every: list[Object], named: str) -> Object:
    rules: Object = found(every, "NetworkPolicy", named)["spec"]
    return rules


def drop(holder: Any, *keys: Any) -> None:
    *path, last = keys
    for key in path:
        holder = holder[key]
    del holder[last]


def config(every: list[Object]) -> Object:
    data: Object = next(each["data"] for each in kind(every, "ConfigMap") if "config.properties" in each["data"])
    return data


def remove(every: list[Object], what: str, named: str) -> None:
    every.remove(found(every, what, named))


def variable(every: list[Object], named: str) -> Object:
    """Returns a variable of TorchServe's container."""
    given: Object
    (given,) = (each for each in container(every, "torchserve")["env"] if each["name"] == named)
    return given


def probe_by_ping(every: list[Object]) -> None:
    container(every, "torchserve")["readinessProbe"] = {"httpGet": {"path": "/ping", "port": "inference"}}


def open_management_by_policy(every: list[Object]) -> None:
    policy(every, "torchserve")["ingress"][0]["ports"] = [{"protocol": "TCP", "port": 8080, "endPort": 8082}]


def set_option(every: list[Object], deployment: str, option: str, value: str) -> None:
    given = container(every, deployment)["args"]
    given[given.index(option) + 1] = value


def listen_everywhere(every: list[Object]) -> None:
    held = config(every)
    held["config.properties"] = held["config.properties"].replace(
        "management_address=http://127.0.0.1:8081", "management_address=http://0.0.0.0:8081"
    )


BREAKS: list[tuple[Check, Break]] = [
    (promises.images_are_pinned, lambda e: container(e, "gateway").update(image="registry/grainserve/client:latest")),
    (
        promises.images_are_pinned,
        lambda e: container(e, "torchserve", 1).update(image="r:5000/grainserve/client"),
    ),
    (promises.resources_are_bounded, lambda e: drop(container(e, "dispatcher"), "resources", "limits", "memory")),
    (promises.resources_are_bounded, lambda e: drop(container(e, "torchserve", 2), "resources", "requests")),
    (
        promises.resources_are_bounded,
        lambda e: drop(spec(e, "gateway"), "volumes", 1, "emptyDir", "sizeLimit"),
    ),
    (promises.containers_are_locked, lambda e: container(e, "gateway")["securityContext"].update(runAsUser=0)),
    (
        promises.containers_are_locked,
        lambda e: container(e, "torchserve")["securityContext"].update(readOnlyRootFilesystem=False),
    ),
    (promises.containers_are_locked, lambda e: drop(container(e, "torchserve", 1), "securityContext", "capabilities")),
    (
        promises.pods_are_locked,
        lambda e: drop(spec(e, "dispatcher"), "securityContext", "seccompProfile"),
    ),
    (promises.pods_are_locked, lambda e: spec(e, "dispatcher").update(hostNetwork=True)),
    (
        promises.pods_are_locked,
        lambda e: drop(spec(e, "gateway"), "automountServiceAccountToken"),
    ),
    (promises.probes_mean_it, probe_by_ping),
    (
        promises.probes_mean_it,
        lambda e: container(e, "torchserve")["livenessProbe"].update(httpGet={"path": "/ping", "port": "inference"}),
    ),
    (promises.probes_mean_it, lambda e: drop(container(e, "torchserve"), "startupProbe")),
    (promises.probes_mean_it, lambda e: drop(container(e, "gateway"), "livenessProbe")),
    (promises.readiness_names_a_model, lambda e: variable(e, "GRAINSERVE_MODEL").update(name="GRAINSERVE_MODELS")),
    (
        promises.readiness_names_a_model,
        lambda e: variable(e, "GRAINSERVE_MODEL")["valueFrom"]["configMapKeyRef"].update(key="GRAINSERVE_BUCKET"),
    ),
    (
        promises.volumes_fit_the_limits,
        lambda e: container(e, "torchserve")["resources"]["limits"].update({"ephemeral-storage": "16Gi"}),
    ),
    (
        promises.management_has_no_port,
        lambda e: container(e, "torchserve")["ports"].append({"name": "management", "containerPort": 8081}),
    ),
    (
        promises.management_has_no_port,
        lambda e: found(e, "Service", "torchserve")["spec"]["ports"].append({"port": 80, "targetPort": 8081}),
    ),
    (promises.management_has_no_port, lambda e: found(e, "Service", "torchserve")["spec"].update(type="LoadBalancer")),
    (promises.management_has_no_way_in, open_management_by_policy),
    (promises.management_has_no_way_in, lambda e: drop(policy(e, "torchserve")["ingress"][0], "ports")),
    (promises.management_has_no_way_in, lambda e: drop(policy(e, "gateway")["ingress"][0], "from")),
    (promises.management_has_no_port, listen_everywhere),
    (promises.everything_is_denied_but, lambda e: remove(e, "NetworkPolicy", "default-deny")),
    (promises.everything_is_denied_but, lambda e: policy(e, "default-deny").update(egress=[{}])),
    (promises.everything_is_denied_but, lambda e: policy(e, "default-deny").update(policyTypes=["Ingress"])),
    (promises.everything_is_denied_but, lambda e: remove(e, "NetworkPolicy", "gateway")),
    (promises.evictions_are_bounded, lambda e: remove(e, "PodDisruptionBudget", "dispatcher")),
    (
        promises.evictions_are_bounded,
        lambda e: found(e, "PodDisruptionBudget", "torchserve")["spec"].update(maxUnavailable=0),
    ),
    (promises.ends_are_clean, lambda e: drop(container(e, "torchserve"), "lifecycle")),
    (promises.ends_are_clean, lambda e: drop(container(e, "gateway"), "lifecycle")),
    (promises.ends_are_clean, lambda e: container(e, "torchserve", 1).update(command=["grainserve"])),
    (
        promises.ends_are_clean,
        lambda e: spec(e, "torchserve").update(terminationGracePeriodSeconds=120),
    ),
    (
        promises.ends_are_clean,
        lambda e: spec(e, "dispatcher").update(terminationGracePeriodSeconds=60),
    ),
    (
        promises.deployments_select_themselves,
        lambda e: found(e, "Deployment", "gateway")["spec"]["selector"]["matchLabels"].update(track="canary"),
    ),
    (
        promises.services_find_ports,
        lambda e: found(e, "Service", "gateway")["spec"]["selector"].update({"app.kubernetes.io/name": "gatway"}),
    ),
    (
        promises.services_find_ports,
        lambda e: found(e, "Service", "torchserve")["spec"]["ports"][0].update(targetPort="management"),
    ),
    (
        promises.services_find_ports,
        lambda e: found(e, "Service", "torchserve-metrics")["spec"]["ports"][1].update(targetPort="exporter"),
    ),
    (
        promises.services_find_ports,
        lambda e: found(e, "Service", "dispatcher-metrics")["spec"]["ports"][1].update(targetPort=9104),
    ),
    (promises.nobody_goes_nowhere, lambda e: policy(e, "redis").update(egress=[{"to": [], "ports": []}])),
    (promises.nobody_goes_nowhere, lambda e: spec(e, "gateway").update(serviceAccountName=promises.NOBODY)),
    (promises.names_are_found, lambda e: drop(policy(e, "storage")["egress"][0]["to"], 1)),
    (promises.names_are_found, lambda e: drop(policy(e, "storage")["egress"][0]["ports"], 0)),
    (sizes.memory_holds_the_worst, lambda e: drop(container(e, "gateway")["args"], slice(-2, None))),
    (sizes.memory_holds_the_worst, lambda e: set_option(e, "gateway", "--uploads", "16")),
    (
        sizes.memory_holds_the_worst,
        lambda e: spec(e, "gateway")["volumes"][1]["emptyDir"].update(sizeLimit="128Mi"),
    ),
    (
        sizes.memory_holds_the_worst,
        lambda e: container(e, "gateway")["resources"]["limits"].update({"ephemeral-storage": "256Mi"}),
    ),
    (
        sizes.memory_holds_the_worst,
        lambda e: container(e, "dispatcher")["resources"]["limits"].update(memory="512Mi"),
    ),
    (sizes.requests_suit_the_workers, lambda e: set_option(e, "dispatcher", "--concurrency", "24")),
    (sizes.requests_suit_the_workers, lambda e: set_option(e, "dispatcher", "--concurrency", "2")),
    (
        sizes.requests_suit_the_workers,
        lambda e: found(e, "HorizontalPodAutoscaler", "torchserve")["spec"]["metrics"][0]["pods"]["target"].update(
            averageValue="2"
        ),
    ),
    (
        promises.policies_select_pods,
        lambda e: policy(e, "torchserve")["podSelector"]["matchLabels"].update({"app.kubernetes.io/name": "server"}),
    ),
    (promises.references_exist, lambda e: e.remove(next(each for each in kind(e, "ConfigMap")))),
    (promises.references_exist, lambda e: remove(e, "ServiceAccount", "dispatcher")),
    (
        promises.identities_are_apart,
        lambda e: spec(e, "gateway").update(serviceAccountName="dispatcher"),
    ),
    (
        promises.references_exist,
        lambda e: spec(e, "gateway")["volumes"][0]["secret"].update(secretName="keys"),
    ),
    (
        promises.identities_are_apart,
        lambda e: container(e, "gateway")["env"].append(
            {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "gateway-keys", "key": "keys.toml"}}}
        ),
    ),
    (
        promises.references_exist,
        lambda e: container(e, "gateway")["volumeMounts"].append({"name": "data", "mountPath": "/data"}),
    ),
    (promises.identities_are_apart, lambda e: drop(found(e, "ServiceAccount", "gateway")["metadata"], "annotations")),
    (
        sizes.scaling_has_targets,
        lambda e: found(e, "HorizontalPodAutoscaler", "torchserve")["spec"]["scaleTargetRef"].update(name="server"),
    ),
    (sizes.scaling_has_targets, lambda e: found(e, "Deployment", "torchserve")["spec"].update(replicas=2)),
    (
        sizes.scaling_has_targets,
        lambda e: found(e, "HorizontalPodAutoscaler", "torchserve")["spec"]["metrics"][1]["external"]["metric"].update(
            name="ts_queue_latency_microseconds"
        ),
    ),
]


@pytest.mark.parametrize(("check", "damage"), BREAKS, ids=lambda each: getattr(each, "__name__", "damage"))
def test_a_broken_promise_is_noticed(check: Check, damage: Break) -> None:
    every = load("gpu")
    before = copy.deepcopy(every)
    damage(every)
    assert every != before, "the damage did nothing"
    assert list(check(every)) != []


def test_every_promise_has_a_break() -> None:
    assert {check for check, _ in BREAKS} == set(CHECKS)


def test_the_gpu_overlay_gives_each_torchserve_one_gpu_and_the_cpu_overlay_none() -> None:
    gpus = {
        overlay: [one["resources"]["limits"].get("nvidia.com/gpu") for one in containers(server)]
        for overlay in OVERLAYS
        for server in [found(load(overlay), "Deployment", "torchserve")]
    }
    assert gpus == {"gpu": ["1", None, None], "cpu": [None, None, None]}


def test_the_autoscaler_asks_for_metrics_that_the_adapter_computes() -> None:
    rules = yaml.safe_load((DEPLOY / "monitoring" / "adapter.yaml").read_text())["rules"]
    offered = {each["name"]["as"] for each in [*rules["custom"], *rules["external"]]}
    scaler = found(load("gpu"), "HorizontalPodAutoscaler", "torchserve")
    asked = {metric[metric["type"].lower()]["metric"]["name"] for metric in scaler["spec"]["metrics"]}
    assert asked == offered


def test_secrets_that_are_made_by_hand_are_in_the_instructions() -> None:
    page = (ROOT / "docs" / "kubernetes.md").read_text()
    assert set(re.findall(r"create secret generic (\S+)", page)) == promises.BY_HAND


def test_the_queue_of_a_pod_is_shorter_than_the_patience_of_dispatchers() -> None:
    every = load("cpu")
    queue = int(re.findall(r"^job_queue_size=(\d+)$", config(every)["config.properties"], re.MULTILINE)[0])
    slowest = 90  # seconds for an image of 1024 px on two cores, by docs/capacity.md
    assert (queue + 1) * slowest < 600
    grace = spec(every, "torchserve")["terminationGracePeriodSeconds"]
    assert (queue + 1) * slowest < grace


def test_torchserve_knows_the_weights_bucket_alone() -> None:
    for container in containers(found(load("gpu"), "Deployment", "torchserve")):
        assert "envFrom" not in container
        assert "GRAINSERVE_BUCKET" not in {each["name"] for each in container.get("env", [])}


def test_a_gpu_is_required_where_there_is_one() -> None:
    """A model that is a hundred times as slow on the CPU must not serve there."""
    needed = {
        overlay: {"name": "GRAINSERVE_REQUIRE_GPU", "value": "1"} in containers(server)[0]["env"]
        for overlay in OVERLAYS
        for server in [found(load(overlay), "Deployment", "torchserve")]
    }
    assert needed == {"gpu": True, "cpu": False}


def test_redis_is_a_cache_that_torchserve_alone_reaches() -> None:
    every = load("gpu")
    (rule,) = policy(every, "redis")["ingress"]
    torchserve = {"podSelector": {"matchLabels": {"app.kubernetes.io/name": "torchserve"}}}
    assert rule == {"from": [torchserve], "ports": [{"protocol": "TCP", "port": 6379}]}
    (way,) = policy(every, "torchserve-to-redis")["egress"]
    assert way["ports"] == rule["ports"]
    assert variable(every, "GRAINSERVE_REDIS")["value"] == "redis://redis:6379"
    assert found(every, "Service", "redis")["spec"]["ports"] == [{"name": "redis", "port": 6379, "targetPort": "redis"}]
    args = container(every, "redis")["args"]
    given = dict(zip(args[::2], args[1::2], strict=True))
    assert given["--maxmemory-policy"] == "allkeys-lru"
    assert (given["--save"], given["--appendonly"]) == ("", "no")
    most = container(every, "redis")["resources"]["limits"]["memory"]
    assert int(given["--maxmemory"].removesuffix("mb")) * 2**20 <= 0.8 * promises._bytes(most)


def test_redis_is_optional() -> None:
    every = load("cpu")
    assert not [each for each in every if each["metadata"]["name"] == "redis"]
    assert "GRAINSERVE_REDIS" not in str(every)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_prompts_have_a_model_of_their_own_that_the_gateway_reaches(overlay: str) -> None:
    every = load(overlay)
    data = next(each["data"] for each in kind(every, "ConfigMap") if "GRAINSERVE_MODEL" in each["data"])
    wanted = f"{data['GRAINSERVE_MODEL']}-prompt"
    variants = dict(each.split("=") for each in data["GRAINSERVE_VARIANTS"].split(","))
    assert data["GRAINSERVE_PROMPT_MODEL"] == wanted
    assert wanted in variants.values()
    given = {each["name"]: each["value"] for each in container(every, "gateway")["env"]}
    assert given == {"GRAINSERVE_TORCHSERVE": "http://torchserve:8080", "GRAINSERVE_MANAGEMENT": "none"}
    assert sizes.option(container(every, "gateway"), "--dispatch") == 0
    gateway = {"podSelector": {"matchLabels": {"app.kubernetes.io/name": "gateway"}}}
    assert gateway in policy(every, "torchserve")["ingress"][0]["from"]
    assert policy(every, "gateway")["egress"] == policy(every, "dispatcher")["egress"]


def test_kserves_pods_are_those_of_the_gpu_overlay() -> None:
    ours = found(load("gpu"), "Deployment", "torchserve")
    theirs = found(load("kserve"), "Deployment", PREDICTOR)
    pods = [copy.deepcopy(each["spec"]["template"]) for each in (ours, theirs)]
    assert pods[1]["spec"]["containers"][0]["name"] == "kserve-container"
    text = str(pods[1]).replace("kserve-container", "torchserve")
    assert yaml.safe_load(text) == pods[0]
    assert theirs["spec"]["strategy"] == ours["spec"]["strategy"]
    others = [each for each in load("gpu") if each != ours]
    assert [each for each in load("kserve") if each not in others] == [
        theirs,
        found(load("kserve"), "HorizontalPodAutoscaler", "torchserve"),
    ]
