"""Promises of every rendered set of objects on memory, disk, replicas and requests; see `promises.py`."""

from __future__ import annotations

import re
from collections.abc import Iterator

from grainserve.admission import DECODING_MIB, MAX_MEGAPIXELS, MAX_MIB
from grainserve.gateway import pictures
from grainserve.gateway.service import Limits
from grainserve.gateway.uploads import LARGE_TIMES, LARGEST_MIB
from grainserve.pictures.album import FILES, PIXELS
from tests.unit.deploy.promises import WORKLOADS, Check, Object, kind, name, pod

IDLE_MIB = 110
"""Memory of an idle gateway or dispatcher, MiB; measured."""
PLACE_MIB = 120
"""Most memory of a dispatcher's place, MiB: the largest image (24 MiB) and three steps to its request (32 MiB each)."""
READS_MIB = 2 * Limits.reads + Limits.read_bytes // 2**20
"""Most memory of a gateway's readers, MiB: two parts of each image, and results."""
LARGE_FILE_MIB = LARGE_TIMES * MAX_MIB
"""Largest file of an image that is measured in tiles, MiB."""
PICTURES_MIB = (FILES + PIXELS) // 2**20 + DECODING_MIB + pictures.AT_ONCE * LARGE_FILE_MIB
"""Most memory of a gateway's pictures, MiB: those kept, one decoding, and the files of those that are made."""
CUTTING_MIB = DECODING_MIB + 3 * MAX_MEGAPIXELS * 10**6 // 2**20 + LARGE_FILE_MIB
"""Most memory of a dispatcher's large images, MiB: one decoding, and the pixels and the file of the one that is cut."""
UNITS = {"Mi": 1, "Gi": 1024}


def scaling_has_targets(objects: list[Object]) -> Iterator[str]:
    """Autoscalers scale existing objects whose replicas nothing else sets; TorchServe's metrics fall again."""
    for scaler in kind(objects, "HorizontalPodAutoscaler"):
        target = scaler["spec"]["scaleTargetRef"]
        found = [each for each in objects if name(each) == f"{target['kind']}/{target['name']}"]
        if not found:
            yield f"{name(scaler)}: {target['kind']}/{target['name']} is not there"
        if any("replicas" in each["spec"] for each in found):
            yield f"{name(scaler)}: every apply would set the replicas back"
        if scaler["spec"]["minReplicas"] < 2:
            yield f"{name(scaler)}: one replica is none while its node is emptied"
        for metric in scaler["spec"]["metrics"]:
            source = metric[metric["type"].lower()]
            named = source.get("metric", {}).get("name", "")
            if named.startswith("ts_"):
                yield f"{name(scaler)}: {named} is a counter of TorchServe's, which never falls"
            if metric["type"] == "External" and source["target"]["type"] != "AverageValue":
                yield f"{name(scaler)}: {named} is a sum, to be shared by the replicas"


def option(container: Object, named: str) -> int | None:
    """Returns a number from a container's arguments."""
    given = container.get("args", [])
    return int(given[given.index(named) + 1]) if named in given else None


def mib(quantity: str) -> int:
    """Parses an amount of memory or disk, MiB."""
    return int(quantity[:-2]) * UNITS[quantity[-2:]]


def memory_holds_the_worst(objects: list[Object]) -> Iterator[str]:
    """Limits hold the largest uploads, so that nobody can get a pod killed for its memory or disk."""
    for each in kind(objects, *WORKLOADS):
        disk = {volume["name"]: volume.get("emptyDir", {}).get("sizeLimit") for volume in pod(each).get("volumes", [])}
        for container in pod(each)["containers"]:
            where, limits = f"{name(each)} {container['name']}", container["resources"]["limits"]
            places, uploads = option(container, "--concurrency") or 0, option(container, "--uploads")
            segments = option(container, "--segments")
            reads = READS_MIB + PICTURES_MIB if container.get("args", [""])[0] == "gateway" else 0
            cutting = CUTTING_MIB if places else 0
            needed = IDLE_MIB + places * PLACE_MIB + cutting + ((uploads or 0) + (segments or 0)) * LARGEST_MIB + reads
            if mib(limits["memory"]) < needed:
                yield f"{where}: {needed} MiB may be needed, {limits['memory']} are allowed"
            if container.get("args", [""])[0] == "gateway":
                if uploads is None or segments is None:
                    yield f"{where}: nobody says how many uploads and requests with prompts fit"
                # A form lies in /tmp while it arrives.
                elif mib(disk["tmp"]) < (uploads + segments) * MAX_MIB:
                    yield f"{where}: {uploads + segments} forms do not fit into /tmp"
            written = [disk[mount["name"]] for mount in container["volumeMounts"] if mount["mountPath"] == "/tmp"]
            if any(mib(size) > mib(limits["ephemeral-storage"]) for size in written):
                yield f"{where}: killed before its /tmp is full"


def requests_suit_the_workers(objects: list[Object]) -> Iterator[str]:
    """Dispatchers have places for the autoscaler's largest number of pods, and not many more.

    Full queues do not add pods: dispatchers fill queues even if there are few jobs.
    """
    scalers = [each for each in kind(objects, "HorizontalPodAutoscaler") if each["metadata"]["name"] == "torchserve"]
    queue = next(
        int(found[1])
        for each in kind(objects, "ConfigMap")
        if (found := re.search(r"^job_queue_size=(\d+)$", each["data"].get("config.properties", ""), re.MULTILINE))
    )
    for scaler in scalers:
        most = scaler["spec"]["maxReplicas"]
        for each in kind(objects, "Deployment"):
            for container in pod(each)["containers"]:
                places = (option(container, "--concurrency") or 0) * each["spec"].get("replicas", 1)
                if places and not 2 * most <= places <= 4 * most:
                    yield f"{name(each)}: {places} requests for {most} workers"
        for metric in scaler["spec"]["metrics"]:
            asked = metric.get("pods", {"metric": {}})
            depth = asked["metric"].get("name") == "grainserve_queue_depth"
            if depth and int(asked["target"]["averageValue"]) < queue:
                yield f"{name(scaler)}: full queues ask for more pods, however short the backlog"


CHECKS: list[Check] = [scaling_has_targets, memory_holds_the_worst, requests_suit_the_workers]
