"""Builds both images, and shows that the server's loses no request when it is told to end.

    python -m tools.image_test            what `make image-test` runs (root; buildah and debootstrap; 40 GB, 20 minutes)

No container engine is needed: buildah builds in a chroot on a bare Debian, and the containers are processes with
mounts and process ids of their own, the image's user and a read-only root. They are started with what a VM gives to
`docker run` (deploy/gce/run.sh), without a GPU. docs/image.md says what that leaves open.
"""

from __future__ import annotations

import argparse
import io
import json
import platform
import signal
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import requests
from PIL import Image as Picture

from grainserve.gateway.keys import make_key
from image.management import Management
from tools import docker_run, ports
from tools.emulator import Emulator
from tools.image_build import BASE, DEBIAN, Builder, Image
from tools.image_run import Container
from tools.mar import ROOT
from tools.problem import Problem, main_exit
from tools.stack import prompt_decoders, weights_file
from training.synthetic import synthesize

OUT = ROOT / "benchmarks" / "results" / "image.json"
MODEL = "sam_tiny"
IN_FLIGHT, LATE, CONTROL = 8, 4, 3
"""Requests that are queued or worked on at SIGTERM, that still come while it settles, and that have no drain."""

# Seconds of work each, so that most are queued when the signal comes.
FIELDS = {"points_per_side": "16", "crop_n_layers": "0", "mask_format": "none"}
DIFFERENCES = [
    f"The base is Debian {DEBIAN} made by debootstrap instead of nvidia/cuda: no CUDA run-time library and no NVIDIA_* "
    "variables of the base, though torch's own CUDA libraries are in the image as they would be.",
    "Python 3.11 is Debian's; on NVIDIA's Ubuntu, which has none, the build fetches a pinned one with uv.",
    "No GPU is used: the model runs on the CPU. TORCH_BACKEND=cpu, torch without CUDA's libraries, is not built.",
    "No engine asks the HEALTHCHECK; its program, `ready`, is run instead.",
    "Containers have this machine's network, and no limits of memory or CPU; of what deploy/gce/run.sh gives to "
    f"`docker run` these are an engine's and not carried out: {', '.join(sorted(docker_run.ENGINES))}.",
]
_READY_S, _END_S = 300.0, 300.0


class Checks:
    """What was found out; one that fails ends the test."""

    def __init__(self) -> None:
        self.passed: list[str] = []

    def that(self, holds: bool, claim: str, otherwise: object = "") -> None:
        """Notes a claim that holds.

        Raises:
            Problem: It does not.
        """
        if not holds:
            raise Problem(f"Not so: {claim}. {otherwise}")
        print(f"  ok: {claim}", flush=True)
        self.passed.append(claim)


def picture() -> bytes:
    """A synthetic image, PNG."""
    buffer = io.BytesIO()
    Picture.fromarray(synthesize(np.random.default_rng(7), "matrix", 384, 512, grain_px=40).image).save(buffer, "PNG")
    return buffer.getvalue()


class Ground:
    """What the containers of one run stand on: the emulator's address, ports, a folder."""

    def __init__(self, emulator: Emulator, folder: Path) -> None:
        self.folder = folder
        chosen = ports.choose_free(5)
        self.inference, management, metrics, grpc, self.gateway = chosen
        self.management = Management(f"http://127.0.0.1:{management}", f"http://127.0.0.1:{metrics}/metrics")
        self.key, entry = make_key("image-test")
        keys = folder / "etc" / "grainserve" / "keys.toml"
        keys.parent.mkdir(parents=True)
        keys.write_text(entry)
        changes = {"MODEL": MODEL, "GPU": "none", "BUCKET": "grainserve", "WEIGHTS_BUCKET": "grainserve-weights"}
        self.worker, self.gate = (
            docker_run.parse(docker_run.on_vm(name, folder, **changes)) for name in ("worker", "gateway")
        )
        # All containers have the same network here, and Google's storage is the emulator.
        self.server = {
            "STORAGE_EMULATOR_HOST": emulator.url,
            "GRAINSERVE_PORT": str(self.inference),
            "GRAINSERVE_MANAGEMENT_PORT": str(management),
            "GRAINSERVE_METRICS_PORT": str(metrics),
            "GRAINSERVE_GRPC_PORT": str(grpc),
        }
        self.client = {
            "STORAGE_EMULATOR_HOST": emulator.url,
            "GRAINSERVE_TORCHSERVE": f"http://127.0.0.1:{self.inference}",
            "GRAINSERVE_READY_URL": f"http://127.0.0.1:{self.gateway}/readyz",
        }

        self._volumes = folder / "volumes"

    def serve(self, image: Image, log: str) -> Container:
        """Starts the server; its volumes are kept between containers."""
        return Container(image, self.folder / log, self.worker, volumes=self._volumes, environment=self.server)

    def receive(self, image: Image, log: str) -> Container:
        """Starts the gateway."""
        return Container(
            image,
            self.folder / log,
            self.gate,
            volumes=self._volumes,
            environment=self.client,
            arguments=("--port", str(self.gateway)),
        )


def wait_ready(container: Container, began: float) -> float:
    """Waits until the container's own `ready` says so; returns the seconds since `began`."""
    while container.run("ready").returncode:
        if not container.running or time.monotonic() - began > _READY_S:
            raise Problem(f"The container was not ready:\n{container.log.read_text()[-4000:]}")
        time.sleep(0.5)
    return time.monotonic() - began


def predict(ground: Ground, image_id: str, image: bytes) -> tuple[str, int, int]:
    """Image id, status and number of grains of one request; status 0 for a lost one."""
    try:
        answer = requests.post(
            f"http://127.0.0.1:{ground.inference}/predictions/{MODEL}",
            files={"image": image},
            data={**FIELDS, "imageId": image_id},
            timeout=600,
        )
    except requests.RequestException as error:
        print(f"  {image_id} was lost: {error}")
        return image_id, 0, 0
    return image_id, answer.status_code, len(answer.json().get("segmentedObjects", []))


def check_walls(container: Container, ground: Ground, checks: Checks) -> None:
    """User, root file system, what is inside, and who listens where."""
    family = container.processes()
    checks.that(family[0].name() == "tini", "tini is the container's first process")
    checks.that(all(0 not in process.uids() for process in family), "no process is root")
    written = container.run("touch", "/opt/grainserve/written")
    checks.that("Read-only file system" in written.stderr, "the root file system is read-only", written.stderr)
    weights = container.run("find", "/opt", "/usr", "-name", "*.pth", "-size", "+1k", "-o", "-name", "*.pt2")
    checks.that(not weights.stdout, "no weights are in the image", weights.stdout)
    java = next(process for process in family if process.name() == "java")
    listening = {
        (each.laddr.ip.removeprefix("::ffff:"), each.laddr.port)
        for each in java.net_connections(kind="tcp")
        if each.status == psutil.CONN_LISTEN
    }
    local = {port for ip, port in listening if ip == "127.0.0.1"}
    served = {int(ground.server[name]) for name in ("GRAINSERVE_PORT", "GRAINSERVE_METRICS_PORT")}
    managed = int(ground.server["GRAINSERVE_MANAGEMENT_PORT"])
    checks.that({port for _, port in listening} - local == served, "others reach inference and metrics alone")
    checks.that(managed in local, "management listens on loopback")


def check_driver(server: Image, checks: Checks) -> None:
    """Where GKE mounts the driver, TorchServe and torch look."""
    paths = dict(pair.split("=", 1) for pair in server.config["Env"])
    named = "/usr/local/nvidia/bin" in paths["PATH"].split(":") and paths["LD_LIBRARY_PATH"].split(":")
    checks.that(named == ["/usr/local/nvidia/lib64"], "GKE's driver would be found", paths)


def check_log(container: Container, image_ids: set[str], checks: Checks) -> dict[str, int]:
    """Every line is JSON; every image has one of its own."""
    lines = [json.loads(line) for line in container.log.read_text().splitlines()]
    answered = {line["imageId"]: line for line in lines if line.get("event") == "answered"}
    checks.that(answered.keys() >= image_ids, "each image has its line in the log", image_ids - answered.keys())
    told = {(line["model"], line["version"]) for line in answered.values()}
    checks.that(told == {(MODEL, "1.0")}, "which names model and version", told)
    return {"lines, all JSON": len(lines), "of them one per image": len(answered)}


def drain_under_load(container: Container, ground: Ground, image: bytes, checks: Checks) -> dict[str, Any]:
    """SIGTERM with requests in flight; they and those that come while it settles are all answered."""
    before = ground.management.requests_taken()
    with ThreadPoolExecutor(IN_FLIGHT + LATE) as pool:
        asked = [pool.submit(predict, ground, f"in-flight-{i}", image) for i in range(IN_FLIGHT)]
        while ground.management.requests_taken() < before + IN_FLIGHT:
            time.sleep(0.05)
        unanswered = sum(not each.done() for each in asked)
        began = time.monotonic()
        container.terminate()
        for i in range(LATE):
            time.sleep(0.8)
            asked.append(pool.submit(predict, ground, f"late-{i}", image))
        told = container.run("ready")
        checks.that(told.returncode == 1 and "draining" in told.stdout, "`ready` says no while it drains", told.stdout)
        code = container.wait(_END_S)
        seconds = time.monotonic() - began
        answers = [each.result() for each in asked]
    lost = [image_id for image_id, status, _ in answers if status != 200]
    checks.that(unanswered == IN_FLIGHT, f"{IN_FLIGHT} requests were without an answer at SIGTERM", unanswered)
    checks.that(not lost, f"all {len(answers)} were answered", lost)
    checks.that(len({grains for _, _, grains in answers}) == 1, "with the same grains", answers)
    checks.that(code == 0, "the exit code is 0", code)
    return {
        "unanswered at SIGTERM": unanswered,
        "sent after SIGTERM": LATE,
        "answered": len(answers) - len(lost),
        "lost": len(lost),
        "seconds from SIGTERM to exit": round(seconds, 1),
    }


def end_without_drain(container: Container, ground: Ground, image: bytes, checks: Checks) -> dict[str, Any]:
    """What the drain is for: SIGTERM goes to Java itself, as an engine would send it to a container without this."""
    before = ground.management.requests_taken()
    with ThreadPoolExecutor(CONTROL) as pool:
        asked = [pool.submit(predict, ground, f"control-{i}", image) for i in range(CONTROL)]
        while ground.management.requests_taken() < before + CONTROL:
            time.sleep(0.05)
        next(process for process in container.processes() if process.name() == "java").terminate()
        lost = sum(each.result()[1] == 0 for each in asked)
    checks.that(lost > 0, f"without the drain {lost} of {CONTROL} are lost, so the test can tell", lost)
    code = container.wait(_END_S)
    checks.that(code == 1, "TorchServe's end by itself is exit code 1", code)
    return {"unanswered at SIGTERM": CONTROL, "lost": lost}


def serve(server: Image, client: Image, emulator: Emulator, folder: Path, checks: Checks) -> dict[str, Any]:
    """Starts server and gateway, asks both, and ends them."""
    ground = Ground(emulator, folder)
    image = picture()
    with ExitStack() as ending:
        print("Starting the server's image ...", flush=True)
        began = time.monotonic()
        container = ground.serve(server, "torchserve.log")
        ending.callback(container.kill)
        ready = wait_ready(container, began)
        checks.that(True, f"a worker of {MODEL} was ready after {ready:.1f} s, its weights from the bucket")
        check_walls(container, ground, checks)
        check_driver(server, checks)
        began = time.monotonic()
        _, status, grains = predict(ground, "first", image)
        first = time.monotonic() - began
        checks.that(status == 200 and grains > 0, f"a request was answered: {grains} grains in {first:.1f} s", status)
        gateway = gateway_answers(client, ground, image, checks)
        drained = drain_under_load(container, ground, image, checks)
        log = check_log(container, {"first", *(f"in-flight-{i}" for i in range(IN_FLIGHT))}, checks)
        print("Starting it again on the same volumes ...", flush=True)
        began = time.monotonic()
        again = ground.serve(server, "again.log")
        ending.callback(again.kill)
        ready_again = wait_ready(again, began)
        checks.that(True, f"it starts again on its volumes: ready after {ready_again:.1f} s")
        control = end_without_drain(again, ground, image, checks)
    return {
        "seconds to ready": {"first start": round(ready, 1), "weights in the cache": round(ready_again, 1)},
        "first request": {"grains": grains, "seconds": round(first, 1)},
        "gateway": gateway,
        "drain": drained,
        "without the drain": control,
        "log": log,
    }


def gateway_answers(client: Image, ground: Ground, image: bytes, checks: Checks) -> dict[str, Any]:
    """The client's image as a gateway: a job goes through bucket, dispatcher and the server's container."""
    print("Starting the client's image as a gateway ...", flush=True)
    began = time.monotonic()
    container = ground.receive(client, "gateway.log")
    try:
        ready = wait_ready(container, began)
        torch = container.run("python", "-c", "import torch")
        checks.that("No module named 'torch'" in torch.stderr, "the client's image has no torch", torch.stderr)
        url = f"http://127.0.0.1:{ground.gateway}"
        stranger = requests.post(f"{url}/upload", files={"image": image}, data=FIELDS, timeout=60)
        checks.that(stranger.status_code == 401, "it takes nothing from who has no key", stranger.text[:300])
        key = {"Authorization": f"Bearer {ground.key}"}
        sent = requests.post(f"{url}/upload", files={"image": image}, data=FIELDS, headers=key, timeout=60)
        ask = {"imageId": sent.json().get("imageId", "")}
        while (answer := requests.get(f"{url}/image-analysis", ask, headers=key, timeout=60)).status_code == 202:
            time.sleep(0.5)
        grains = len(answer.json().get("segmentedObjects", []))
        checks.that(answer.ok and grains > 0, f"a job through it was answered: {grains} grains", answer.text[:300])
        container.terminate()
        checks.that(container.wait(60) == 0, "it ends on SIGTERM")
    finally:
        container.kill()
    return {"seconds to ready": round(ready, 1), "grains": grains}


def main() -> int:
    """Command line entry."""
    parser = argparse.ArgumentParser(prog="python -m tools.image_test", description="Builds and tests the images.")
    parser.add_argument("--folder", type=Path, help="where to build (default: a temporary one, removed at the end)")
    parser.add_argument("--keep", action="store_true", help="leave what was built, for another run on the same folder")
    parser.add_argument("--out", type=Path, default=OUT, help="file of findings")
    arguments = parser.parse_args()
    # `timeout` sends it; what was built is tens of GB, and is removed then, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="grainserve-image-"))
    checks = Checks()
    builder = Builder(folder)
    built: dict[str, Image] = {}
    try:
        for target in ("client", "torchserve"):
            print(f"Building {target} on {BASE} (log: {folder}/build.log) ...", flush=True)
            built[target] = builder.build(target)
            print(f"  {built[target].mib} MiB in {built[target].seconds:.0f} s", flush=True)
        run = Path(tempfile.mkdtemp(dir=folder))
        with Emulator(run / "gcs", port=ports.choose_free(1)[0], log=run / "gcs.log") as emulator:
            emulator.create_bucket("grainserve")
            for file in (weights_file(MODEL), *prompt_decoders(MODEL)):
                emulator.upload("grainserve-weights", file)
            found = serve(built["torchserve"], built["client"], emulator, run, checks)
    finally:
        if not arguments.keep:
            builder.remove()
    report = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.machine()}, {psutil.cpu_count()} cores",
        "images": {name: {"MiB": image.mib, "build seconds": round(image.seconds)} for name, image in built.items()},
        **found,
        "checks": checks.passed,
        "differs from the image on nvidia/cuda": DIFFERENCES,
    }
    arguments.out.write_text(json.dumps(report, indent=2) + "\n")
    print(f"\nAll {len(checks.passed)} checks passed; lost requests: 0. Differs from the image on nvidia/cuda:")
    print("\n".join(f"- {line}" for line in DIFFERENCES))
    print(f"Findings: {arguments.out}")
    return 0


if __name__ == "__main__":
    main_exit(main)
