"""Promises of every rendered set of objects; each check describes what breaks its promise.

A check takes the objects and yields what is wrong, so a test can break an object and see that the check notices.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

Object = dict[str, Any]
Check = Callable[[list[Object]], Iterator[str]]

MANAGEMENT = {8081, 7070, 7071}
"""Ports of management, which registers code, and of gRPC, which nothing uses."""
WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet", "Job")
DNS = {"169.254.169.254/32", "169.254.20.10/32"}
"""Addresses of Cloud DNS for GKE, and of NodeLocal DNSCache."""
NOBODY = "default"
"""The namespace's own account, which has no identity for GCS."""
BY_HAND = {"gateway-keys"}
"""Secrets that people make as docs/kubernetes.md says."""


def kind(objects: list[Object], *kinds: str) -> list[Object]:
    """Returns the objects of these kinds."""
    return [each for each in objects if each["kind"] in kinds]


def name(of: Object) -> str:
    """Returns kind and name."""
    return f"{of['kind']}/{of['metadata']['name']}"


def pod(of: Object) -> Object:
    """Returns a workload's pod."""
    spec: Object = of["spec"]["template"]["spec"]
    return spec


def containers(of: Object) -> list[Object]:
    """Returns all containers of a workload, including init containers."""
    spec = pod(of)
    return [*spec["containers"], *spec.get("initContainers", [])]


def every_container(objects: list[Object]) -> Iterator[tuple[str, Object]]:
    """Yields the containers of all workloads, with their place."""
    for each in kind(objects, *WORKLOADS):
        for container in containers(each):
            yield f"{name(each)} {container['name']}", container


def images_are_pinned(objects: list[Object]) -> Iterator[str]:
    """Images are pinned by a version or a digest."""
    for where, container in every_container(objects):
        image = container["image"]
        tag = image.rpartition("/")[2].partition(":")[2]
        if "@sha256:" not in image and tag in ("", "latest"):
            yield f"{where}: {image} is no certain image"


def resources_are_bounded(objects: list[Object]) -> Iterator[str]:
    """Containers request and limit their share of a node."""
    for where, container in every_container(objects):
        resources = container.get("resources", {})
        for side in ("requests", "limits"):
            for what in ("cpu", "memory", "ephemeral-storage"):
                if what not in resources.get(side, {}):
                    yield f"{where}: no {what} in {side}"
    for each in kind(objects, *WORKLOADS):
        for volume in pod(each).get("volumes", []):
            if "emptyDir" in volume and "sizeLimit" not in volume["emptyDir"]:
                yield f"{name(each)}: volume {volume['name']} may fill the node"


def pods_are_locked(objects: list[Object]) -> Iterator[str]:
    """Pods do not run as root, and have nothing of the node's and no token of the cluster."""
    for each in kind(objects, *WORKLOADS):
        spec = pod(each)
        security = spec.get("securityContext", {})
        if security.get("runAsNonRoot") is not True or not security.get("runAsUser"):
            yield f"{name(each)}: may be root"
        if security.get("seccompProfile", {}).get("type") != "RuntimeDefault":
            yield f"{name(each)}: may make any system call"
        if spec.get("automountServiceAccountToken") is not False:
            yield f"{name(each)}: has a token of the cluster"
        for shared in ("hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace"):
            if spec.get(shared):
                yield f"{name(each)}: {shared}"
        for volume in spec.get("volumes", []):
            if "hostPath" in volume:
                yield f"{name(each)}: volume {volume['name']} is of the node"


def containers_are_locked(objects: list[Object]) -> Iterator[str]:
    """Containers do not run as root, cannot gain privileges, and can write only to volumes."""
    for where, container in every_container(objects):
        security = container.get("securityContext", {})
        if security.get("readOnlyRootFilesystem") is not True:
            yield f"{where}: may write to its root file system"
        if security.get("allowPrivilegeEscalation") is not False or security.get("privileged"):
            yield f"{where}: may gain privileges"
        if security.get("capabilities", {}).get("drop") != ["ALL"] or security.get("capabilities", {}).get("add"):
            yield f"{where}: has capabilities"
        if security.get("runAsNonRoot") is False or security.get("runAsUser") == 0:
            yield f"{where}: may be root"


def probes_mean_it(objects: list[Object]) -> Iterator[str]:
    """TorchServe is ready with a READY worker, which /ping does not tell; every listening container is probed."""
    for each in kind(objects, "Deployment"):
        for container in pod(each)["containers"]:
            where = f"{name(each)} {container['name']}"
            if container.get("ports"):
                for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                    if probe not in container:
                        yield f"{where}: no {probe}"
            if "torchserve" not in container["image"].rpartition("/")[2]:
                continue
            for probe in ("startupProbe", "readinessProbe"):
                if container.get(probe, {}).get("exec", {}).get("command") != ["/usr/local/bin/ready"]:
                    yield f"{where}: {probe} does not ask for a READY worker"
            if container.get("livenessProbe", {}).get("httpGet") != {"path": "/metrics", "port": "metrics"}:
                yield f"{where}: a model that does not load would have it restarted, /ping fails with it"


def readiness_names_a_model(objects: list[Object]) -> Iterator[str]:
    """`ready` asks for a worker of the dispatchers' model; without a name, any model's worker would do."""
    for where, container in every_container(objects):
        if container.get("readinessProbe", {}).get("exec"):
            variables = {each["name"]: each for each in container.get("env", [])}
            given = variables.get("GRAINSERVE_MODEL", {}).get("valueFrom", {}).get("configMapKeyRef", {})
            if not given.get("name", "").startswith("settings") or given.get("key") != "GRAINSERVE_MODEL":
                yield f"{where}: ready with a worker of any model"


def volumes_fit_the_limits(objects: list[Object]) -> Iterator[str]:
    """Volumes on disk fit the containers' limits: a pod whose volumes hold more than their sum is evicted."""
    for each in kind(objects, *WORKLOADS):
        drives = [volume["emptyDir"] for volume in pod(each).get("volumes", []) if "emptyDir" in volume]
        held = sum(_bytes(drive["sizeLimit"]) for drive in drives if drive.get("medium") != "Memory")
        allowed = sum(_bytes(container["resources"]["limits"]["ephemeral-storage"]) for container in containers(each))
        if held > allowed:
            yield f"{name(each)}: volumes may hold {held / 2**30:.1f} GiB, its limits are {allowed / 2**30:.1f} GiB"


def _bytes(quantity: str) -> int:
    return int(quantity[:-2]) * {"Mi": 2**20, "Gi": 2**30}[quantity[-2:]]


def management_has_no_port(objects: list[Object]) -> Iterator[str]:
    """No container and no Service has a port for management, and it listens on loopback."""
    for where, container in every_container(objects):
        for port in container.get("ports", []):
            if port["containerPort"] in MANAGEMENT or "hostPort" in port:
                yield f"{where}: opens {port}"
    for service in kind(objects, "Service"):
        if service["spec"].get("type", "ClusterIP") != "ClusterIP":
            yield f"{name(service)}: reachable from outside"
        for port in service["spec"]["ports"]:
            if {port["port"], port.get("targetPort")} & MANAGEMENT:
                yield f"{name(service)}: opens {port}"
    for each in kind(objects, "ConfigMap"):
        for line in each.get("data", {}).get("config.properties", "").splitlines():
            if re.match(r"(management_address|grpc_management_address)=", line) and "127.0.0.1" not in line:
                yield f"{name(each)}: {line}"


def management_has_no_way_in(objects: list[Object]) -> Iterator[str]:
    """No policy opens management, every port, or a port for everybody."""
    for policy in kind(objects, "NetworkPolicy"):
        for rule in policy["spec"].get("ingress", []):
            if not rule.get("ports") or not rule.get("from"):
                yield f"{name(policy)}: opens every port, or to everybody"
            for port in rule.get("ports", []):
                reached = range(port["port"], port.get("endPort", port["port"]) + 1)
                if MANAGEMENT & set(reached):
                    yield f"{name(policy)}: opens {port}"


def everything_is_denied_but(objects: list[Object]) -> Iterator[str]:
    """One policy without rules selects every pod, and each pod that listens has a policy that names its clients."""
    denied = [
        policy
        for policy in kind(objects, "NetworkPolicy")
        if policy["spec"]["podSelector"] == {}
        and set(policy["spec"].get("policyTypes", [])) == {"Ingress", "Egress"}
        and not policy["spec"].get("ingress")
        and not policy["spec"].get("egress")
    ]
    if not denied:
        yield "nothing denies by default"
    for each in kind(objects, *WORKLOADS):
        opened = {port for policy in _policies(objects, each) for port in _opened(policy)}
        listened = {port["containerPort"] for container in containers(each) for port in container.get("ports", [])}
        if opened != listened:
            yield f"{name(each)}: listens on {sorted(listened)}, policies open {sorted(opened)}"


def _policies(objects: list[Object], workload: Object) -> list[Object]:
    labels = workload["spec"]["template"]["metadata"]["labels"]
    return [
        policy
        for policy in kind(objects, "NetworkPolicy")
        if policy["spec"]["podSelector"].get("matchLabels", {}).items() <= labels.items()
    ]


def _opened(policy: Object) -> list[int]:
    return [port["port"] for rule in policy["spec"].get("ingress", []) for port in rule["ports"]]


def evictions_are_bounded(objects: list[Object]) -> Iterator[str]:
    """Disruption budgets select the right pods and let a node be drained."""
    for each in kind(objects, "Deployment"):
        labels = each["spec"]["template"]["metadata"]["labels"]
        budgets = [
            budget
            for budget in kind(objects, "PodDisruptionBudget")
            if budget["spec"]["selector"]["matchLabels"].items() <= labels.items()
        ]
        if len(budgets) != 1:
            yield f"{name(each)}: has {len(budgets)} PodDisruptionBudgets"
        for budget in budgets:
            if budget["spec"].get("maxUnavailable") in (0, "0%", None):
                yield f"{name(budget)}: no node with such a pod could be emptied"


def ends_are_clean(objects: list[Object]) -> Iterator[str]:
    """TorchServe drains before it ends, and servers go on until nobody sends requests."""
    for each in kind(objects, "Deployment"):
        spec = pod(each)
        grace = spec.get("terminationGracePeriodSeconds", 30)
        for container in spec["containers"]:
            where = f"{name(each)} {container['name']}"
            hook = container.get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command")
            if container.get("ports") and not hook and "--grace" not in container.get("args", []):
                yield f"{where}: no preStop, and it is sent requests"
            if "torchserve" in container["image"].rpartition("/")[2] and hook != ["/usr/local/bin/drain"]:
                yield f"{where}: does not drain"
            settings = {each["name"]: each.get("value") for each in container.get("env", [])}
            if drains := settings.get("GRAINSERVE_DRAIN_SECONDS"):
                needed = float(drains) + float(settings["GRAINSERVE_SETTLE_SECONDS"])
                if needed >= grace:
                    yield f"{where}: killed after {grace} s, draining may take {needed:.0f} s"
            given = container.get("args", [])
            if "--grace" in given and float(given[given.index("--grace") + 1]) >= grace:
                yield f"{where}: killed after {grace} s, before its --grace has passed"
    for where, container in every_container(objects):
        if "command" in container:
            yield f"{where}: without its image's tini a process 1 does not hear SIGTERM"


def deployments_select_themselves(objects: list[Object]) -> Iterator[str]:
    """Deployments select their own pods, also for anti-affinity and spread."""
    for each in kind(objects, "Deployment"):
        labels = each["spec"]["template"]["metadata"]["labels"]
        if not each["spec"]["selector"]["matchLabels"].items() <= labels.items():
            yield f"{name(each)}: selects other pods than its own"
        for rule in pod(each).get("topologySpreadConstraints", []):
            if not rule["labelSelector"]["matchLabels"].items() <= labels.items():
                yield f"{name(each)}: spreads other pods than its own"
        if each["spec"].get("replicas") == 1:  # no other pod to keep away from
            continue
        for term in pod(each)["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]:
            if not term["podAffinityTerm"]["labelSelector"]["matchLabels"].items() <= labels.items():
                yield f"{name(each)}: keeps away from other pods than its own"


def services_find_ports(objects: list[Object]) -> Iterator[str]:
    """Each Service selects pods that have its ports."""
    for service in kind(objects, "Service"):
        selected = [
            each
            for each in kind(objects, *WORKLOADS)
            if service["spec"]["selector"].items() <= each["spec"]["template"]["metadata"]["labels"].items()
        ]
        if not selected:
            yield f"{name(service)}: selects no pod"
        for each in selected:
            opened = [port for container in containers(each) for port in container.get("ports", [])]
            # Kubernetes looks up names of a sidecar's ports only from 1.32 on.
            named = {port["name"] for container in pod(each)["containers"] for port in container.get("ports", [])}
            for port in service["spec"]["ports"]:
                if port["targetPort"] not in named | {port["containerPort"] for port in opened}:
                    yield f"{name(service)}: {port['targetPort']} is no port of its pods"


def policies_select_pods(objects: list[Object]) -> Iterator[str]:
    """Policies select existing pods, for themselves and as peers in this namespace."""
    pods = [each["spec"]["template"]["metadata"]["labels"] for each in kind(objects, *WORKLOADS)]
    for policy in kind(objects, "NetworkPolicy"):
        chosen = [policy["spec"]["podSelector"]]
        for side, way in (("ingress", "from"), ("egress", "to")):
            for rule in policy["spec"].get(side, []):
                others = [to for to in rule[way] if "podSelector" in to and "namespaceSelector" not in to]
                chosen += [to["podSelector"] for to in others]
        for selector in chosen:
            if not any(selector.get("matchLabels", {}).items() <= labels.items() for labels in pods):
                yield f"{name(policy)}: selects no pod"


def references_exist(objects: list[Object]) -> Iterator[str]:
    """ConfigMaps, Secrets, accounts and volumes that pods name exist, or are documented as made by hand."""
    there = {name(each) for each in objects} | {f"Secret/{each}" for each in BY_HAND}
    there.add(f"ServiceAccount/{NOBODY}")  # every namespace has it
    for each in kind(objects, *WORKLOADS):
        spec = pod(each)
        wanted = {f"ServiceAccount/{spec.get('serviceAccountName', 'default')}"}
        for volume in spec.get("volumes", []):
            if "configMap" in volume:
                wanted.add(f"ConfigMap/{volume['configMap']['name']}")
            if "secret" in volume:
                wanted.add(f"Secret/{volume['secret']['secretName']}")
        volumes = {volume["name"] for volume in spec.get("volumes", [])}
        for container in containers(each):
            wanted |= {f"ConfigMap/{source['configMapRef']['name']}" for source in container.get("envFrom", [])}
            references = [variable.get("valueFrom", {}).get("configMapKeyRef") for variable in container.get("env", [])]
            wanted |= {f"ConfigMap/{reference['name']}" for reference in references if reference}
            mounted = {mount["name"] for mount in container.get("volumeMounts", [])}
            if missing := mounted - volumes:
                yield f"{name(each)}: no volume {', '.join(sorted(missing))}"
        for absent in sorted(wanted - there):
            yield f"{name(each)}: {absent} is not there"


def identities_are_apart(objects: list[Object]) -> Iterator[str]:
    """Each part has its own identity for GCS, and secrets are files, not variables, which crash reports show."""
    accounts = [pod(each).get("serviceAccountName") for each in kind(objects, *WORKLOADS)]
    if len(set(accounts)) != len(accounts):
        yield "two parts share an account"
    for account in kind(objects, "ServiceAccount"):
        if "iam.gke.io/gcp-service-account" not in account["metadata"].get("annotations", {}):
            yield f"{name(account)}: no identity for GCS"
    for where, container in every_container(objects):
        for variable in container.get("env", []):
            if "secretKeyRef" in variable.get("valueFrom", {}):
                yield f"{where}: {variable['name']} is a secret in the environment"
        if any("secretRef" in source for source in container.get("envFrom", [])):
            yield f"{where}: secrets in the environment"


def nobody_goes_nowhere(objects: list[Object]) -> Iterator[str]:
    """A part without an identity of its own reaches nothing."""
    for each in kind(objects, *WORKLOADS):
        if pod(each).get("serviceAccountName") == NOBODY:
            for policy in _policies(objects, each):
                if policy["spec"].get("egress"):
                    yield f"{name(each)}: {name(policy)} lets it out"


def names_are_found(objects: list[Object]) -> Iterator[str]:
    """Every pod that may go anywhere may use DNS, also where DNS servers are no pods."""
    for each in kind(objects, *WORKLOADS):
        if pod(each).get("serviceAccountName") == NOBODY:
            continue
        asked = {
            to["ipBlock"]["cidr"]
            for policy in _policies(objects, each)
            for rule in policy["spec"].get("egress", [])
            if {("UDP", 53), ("TCP", 53)} <= {(port["protocol"], port["port"]) for port in rule["ports"]}
            for to in rule["to"]
            if "ipBlock" in to
        }
        if not asked >= DNS:
            yield f"{name(each)}: may not ask {', '.join(sorted(DNS - asked))} for names"


CHECKS: list[Check] = [
    images_are_pinned,
    resources_are_bounded,
    pods_are_locked,
    containers_are_locked,
    probes_mean_it,
    readiness_names_a_model,
    volumes_fit_the_limits,
    management_has_no_port,
    management_has_no_way_in,
    everything_is_denied_but,
    evictions_are_bounded,
    ends_are_clean,
    deployments_select_themselves,
    services_find_ports,
    policies_select_pods,
    references_exist,
    identities_are_apart,
    names_are_found,
    nobody_goes_nowhere,
]
