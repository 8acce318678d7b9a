"""Serves SAM's ViT-H at full size once, from storage to answer, on this machine's CPU.

    python -m benchmarks.vit_h

A closed network has no access to public weights, so the checkpoint has random numbers in the official layout (2.4 GB).
Download, verification, loading, memory and the encoder's time are those of the real checkpoint; the masks are not. The
benchmark also kills a download half way and resumes it, and damages a download and lets it be repaired.
Needs 6 GB of disk and 16 GB of memory (the emulator holds what it serves); takes some minutes. Writes
benchmarks/results/vit_h.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import requests
import torch
from PIL import Image

from grain_handler.sam.models import REGISTRY
from tools import ports
from tools.emulator import Emulator
from tools.mar import pack
from tools.torchserve import Ports, TorchServe
from training.synthetic import synthesize

ROOT = Path(__file__).parent.parent
BUCKET = "vit-h-weights"
FETCH = """
import json, sys, time
from pathlib import Path
from grain_handler import weights
began = time.perf_counter()
checkpoint = weights.fetch(sys.argv[1], Path(sys.argv[2]))
print(json.dumps({"seconds": time.perf_counter() - began, "path": str(checkpoint.path), "crc32c": checkpoint.crc32c}))
"""


def random_checkpoint(path: Path) -> None:
    """Writes a state dict with ViT-H's names and shapes and small random numbers, in single precision."""
    with torch.device("meta"):
        layout = REGISTRY["sam_vit_h"]().state_dict()
    generator = torch.Generator().manual_seed(0)
    state = {name: 0.02 * torch.randn(value.shape, generator=generator) for name, value in layout.items()}
    torch.save(state, path)


def fetch(uri: str, cache: Path, kill_at: int | None = None) -> dict[str, Any] | None:
    """Downloads in a separate process, as a worker does.

    Args:
        uri: URI of the checkpoint.
        cache: folder for the download.
        kill_at: number of arrived bytes at which the process is killed (-9).

    Returns:
        Seconds, path and CRC32C; None if it was killed.
    """
    process = subprocess.Popen([sys.executable, "-c", FETCH, uri, str(cache)], stdout=subprocess.PIPE, text=True)
    while kill_at is not None and process.poll() is None:
        if partial_bytes(cache) >= kill_at:
            process.send_signal(signal.SIGKILL)
            process.wait()
            return None
        time.sleep(0.02)
    out, _ = process.communicate()
    if process.returncode != 0:
        raise RuntimeError(f"the download of {uri} failed with exit code {process.returncode}")
    answer: dict[str, Any] = json.loads(out)
    return answer


def partial_bytes(cache: Path) -> int:
    """Returns the bytes that the present download has."""
    return sum(path.stat().st_size for path in cache.rglob("*.partial"))


def peak_mib(pid: int) -> float:
    """Returns the most memory a process has held, MiB (Linux: VmHWM, which counts pages mapped from the checkpoint)."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def serve(emulator: Emulator, cache: Path, folder: Path) -> dict[str, Any]:
    """Registers sam_vit_h in a real TorchServe with an empty cache and sends it one image."""
    mar = pack("sam_vit_h", "1.0", out=folder / "sam_vit_h.mar")
    environment = {
        "STORAGE_EMULATOR_HOST": emulator.url,
        "GRAINSERVE_WEIGHTS_BUCKET": BUCKET,
        "GRAINSERVE_WEIGHTS_CACHE": str(cache),
    }
    image = folder / "image.png"
    Image.fromarray(synthesize(np.random.default_rng(1), "matrix", 768, 1024).image).save(image)
    with TorchServe(
        model_store=folder, logs=folder / "logs", environment=environment, ports=Ports.choose_free()
    ) as server:
        began = time.perf_counter()
        server.register(mar, timeout=1800)
        ready = time.perf_counter() - began
        description = server.describe("sam_vit_h")
        assert description is not None
        pid = int(description["workers"][0]["pid"])
        loaded = peak_mib(pid)
        began = time.perf_counter()
        answer = requests.post(
            f"{server.inference}/predictions/sam_vit_h",
            files={"image": image.read_bytes(), "points_per_side": (None, "4")},
            timeout=1800,
        )
        answer.raise_for_status()
        return {
            "register_to_ready_seconds": ready,
            "first_answer_seconds": time.perf_counter() - began,
            "worker_peak_mib_loaded": loaded,
            "worker_peak_mib_after_answer": peak_mib(pid),
            "checkpoint_in_answer": answer.json()["metadata"]["checkpoint"],
        }


def run(folder: Path) -> dict[str, Any]:
    """Runs all steps in a temporary folder."""
    figures: dict[str, Any] = {"machine": {"cpus": os.cpu_count(), "processor": platform.machine()}}
    checkpoint = folder / "sam_vit_h.pth"
    print("making a checkpoint of random numbers ...", flush=True)
    random_checkpoint(checkpoint)
    size = checkpoint.stat().st_size
    figures["checkpoint_bytes"] = size
    with Emulator(folder / "gcs", port=ports.choose_free(1)[0], log=folder / "emulator.log") as emulator:
        os.environ["STORAGE_EMULATOR_HOST"] = emulator.url
        began = time.perf_counter()
        uri = emulator.upload(BUCKET, checkpoint)
        figures["upload_seconds"] = time.perf_counter() - began
        checkpoint.unlink()

        print("download, killed half way, then resumed ...", flush=True)
        cache = folder / "cache"
        assert fetch(uri, cache, kill_at=size // 2) is None
        figures["bytes_when_killed"] = partial_bytes(cache)
        resumed = fetch(uri, cache)
        assert resumed is not None
        figures["resumed_download_seconds"] = resumed["seconds"]

        print("download, damaged, then repaired ...", flush=True)
        path = Path(resumed["path"])
        partial = path.with_name(path.name + ".partial")
        path.rename(partial)
        with partial.open("r+b") as file:
            file.truncate(size // 2)
            file.seek(size // 4)
            file.write(b"damage")
        repaired = fetch(uri, cache)
        assert repaired is not None
        assert repaired["crc32c"] == resumed["crc32c"]
        figures["repaired_download_seconds"] = repaired["seconds"]
        path.unlink()

        print("whole download ...", flush=True)
        whole = fetch(uri, cache)
        assert whole is not None
        figures["download_seconds"] = whole["seconds"]
        figures["download_mib_per_second"] = size / 2**20 / whole["seconds"]

        print("serving from the verified file ...", flush=True)
        figures["served"] = serve(emulator, cache, folder)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "vit_h.json")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="vit-h-", ignore_cleanup_errors=True) as folder:
        figures = run(Path(folder))
    arguments.out.write_text(json.dumps(figures, indent=1) + "\n")
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
