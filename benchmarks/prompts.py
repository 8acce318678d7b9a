"""Measures clicks on kept images, through gateway and TorchServe, beside the obvious design.

    python -m benchmarks.prompts            everything (half an hour; the machine should do nothing else)
    python -m benchmarks.prompts --quick    few clicks, to see whether it works

sam_tiny has its weights, ViT-B random ones. The image has 1024 × 1024 px. The obvious design is FastAPI with
segment_anything's SamPredictor, which keeps one image (benchmarks/side_by_side/obvious_clicks.py). One server of a kind
runs at a time. Writes benchmarks/results/prompts.json.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
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
from rich.console import Console
from segment_anything import build_sam_vit_b

from benchmarks.against_stock.random_sam import random_sam
from benchmarks.clicks.load import Route, ask, click, points, saturated
from benchmarks.clicks.servers import Served, obvious
from benchmarks.serving import machine, make_image
from tools import launch
from tools.mar import ROOT
from tools.problem import main_exit
from tools.stack import prompt_decoders, weights_file

SIDE = 1024
MANY, BATCH = 32, 8
GOALS = {
    "p50_ms": 100,
    "worker_overhead_ms": 20,
    "batch_gain": 1.5,
    "many_over_one": 8,
    "redis_over_in_process_ms": 40,
    "saturated_over_idle": 3,
}
"""Goals for the figures, each an upper bound but `batch_gain`, a lower one."""

console = Console(width=None if sys.stdout.isatty() else 110)
Case = dict[str, Any]


class Bench:
    """The measurements of one model.

    Args:
        served: the servers.
        model: name of the model.
        checkpoint: its checkpoint.
        image: bytes of the image file.
        count: clicks of each client.
    """

    def __init__(self, served: Served, model: str, checkpoint: Path, image: bytes, count: int) -> None:
        self.served, self.model, self.checkpoint, self.count = served, model, checkpoint, count
        self.image = base64.b64encode(image).decode()
        self.clicks = [{"prompts": [{"points": [point]}]} for point in points(SIDE, 64)]
        self.cases: list[Case] = []

    def measure(self) -> dict[str, Any]:
        """Measures everything; the cases go to `cases`."""
        stock = self.stock()
        served, config = self.served, f"{self.model}-prompt"
        found: dict[str, Any] = {"model": self.model}
        with served.variant(config, config) as url, served.gateway(self.model) as (front, headers):
            kept = self.digest(url)
            direct = Route("torchserve", url, {"imageDigest": kept})
            through = Route("gateway", front, {"imageDigest": self.digest(front, headers)}, headers)
            one = self.case(direct, "in_process", 1, BATCH, stock)
            found["through_gateway_p50_ms"] = self.case(through, "in_process", 1, BATCH, stock)["p50_ms"]
            together = self.case(direct, "in_process", BATCH, BATCH, stock)
            many = [{"prompts": [each["prompts"][0] for each in self.clicks[:MANY]]}]
            several = click(direct, many, 1, max(3, self.count // 8))
            found |= {
                "many_prompts_p50_ms": several["p50_ms"],
                "many_over_one": ratio(several["p50_ms"], one["p50_ms"]),
            }
            found |= self.beside(direct)
        with served.variant(config, f"{self.model}-single", {"batchSize": 1, "maxBatchDelay": 0}) as url:
            apart = self.case(
                Route("torchserve", url, {"imageDigest": self.digest(url)}), "in_process", BATCH, 1, stock
            )
        found["batch_gain"] = ratio(together["per_second"], one["per_second"])
        found["batch_gain_over_as_many_clients"] = ratio(together["per_second"], apart["per_second"])
        # Too little for an image with its embedding: every click looks in Redis.
        with served.variant(config, f"{self.model}-redis", {"grainserve": {"embedding_cache_mib": 1}}) as url:
            self.until_in_redis(url, kept := self.digest(url))
            shared = self.case(Route("torchserve", url, {"imageDigest": kept}), "redis", 1, BATCH, stock)
        found["redis_over_in_process_ms"] = round(shared["p50_ms"] - one["p50_ms"], 1)
        with served.variant(config, f"{self.model}-none", {"grainserve": {"embedding_cache_mib": 0}}) as url:
            self.case(
                Route("torchserve", url, {"image": self.image}), "none", 1, BATCH, stock, max(2, self.count // 20)
            )
        return found | self.bare()

    def stock(self) -> float:
        """Measures the obvious design: p50 of one client, ms."""
        clicks = [{"point": each["prompts"][0]["points"][0]} for each in self.clicks]
        with obvious(self.served.folder, self.model, self.checkpoint) as url, requests.Session() as session:
            route = Route("stock", url, {"image": self.image})
            ask(session, route, clicks[0])  # encodes the image
            found = click(route, clicks, 1, self.count)
        console.print(f"{self.model}: the obvious design: {found}")
        return found["p50_ms"]

    def case(  # noqa: PLR0917 - the keys of a case
        self, route: Route, cache: str, clients: int, batch: int, stock: float, count: int | None = None
    ) -> Case:
        """Measures one case and keeps it."""
        found = click(route, self.clicks, clients, count or self.count)
        case = {"model": self.model, "route": route.name, "cache": cache, "clients": clients, "batch_size": batch}
        self.cases.append({**case, **found, "stock_p50_ms": stock})
        console.print(self.cases[-1])
        return self.cases[-1]

    def beside(self, clicks: Route) -> dict[str, Any]:
        """Measures one client's clicks while two clients keep the model of automatic masks busy, against idle."""
        with self.served.variant(self.model, self.model) as url:
            automatic = Route("torchserve", url, {"image": self.image, "points_per_side": 16, "points": "grid"})
            idle = click(clicks, self.clicks, 1, self.count)
            with saturated(automatic, 2):
                time.sleep(1)  # until they are at work
                busy = click(clicks, self.clicks, 1, self.count)
        return {
            "idle_p95_ms": idle["p95_ms"],
            "saturated_p95_ms": busy["p95_ms"],
            "saturated_over_idle": ratio(busy["p95_ms"], idle["p95_ms"]),
        }

    def bare(self) -> dict[str, Any]:
        """Measures a click without servers, in a process with a worker's settings."""
        image = self.served.folder / "image.png"
        command = ["benchmarks.clicks.bare", self.model, str(self.checkpoint), str(image), str(self.count)]
        variables = launch.variables(os.environ, self.served.folder / "bare")
        done = subprocess.run([sys.executable, "-m", *command], env=variables, check=True, stdout=subprocess.PIPE)
        figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return figures | {"worker_overhead_ms": round(figures["worker_ms"] - figures["decoder_ms"], 1)}

    def digest(self, url: str, headers: dict[str, str] | None = None) -> str:
        """Sends the image; returns the digest that stands for it from now on."""
        with requests.Session() as session:
            answer = ask(session, Route("", url, {"image": self.image}, headers or {}), self.clicks[0])
        return str(answer["metadata"]["imageDigest"])

    def until_in_redis(self, url: str, digest: str) -> None:
        """Waits until an image's embedding, which is stored in the background, is in Redis."""
        while requests.post(url, json={"imageDigest": digest, **self.clicks[0]}, timeout=600).status_code != 200:
            time.sleep(0.1)


def ratio(one: float, other: float) -> float:
    """Returns a quotient, rounded."""
    return round(one / other, 2)


def random_checkpoint(folder: Path, image: Path) -> Path:
    """Writes ViT-B's checkpoint with random weights whose masks are no noise."""
    file = folder / "sam_vit_b.pth"
    torch.save(random_sam(build_sam_vit_b, np.asarray(Image.open(image).convert("RGB"))).state_dict(), file)
    return file


def main() -> int:
    """Measures, writes, shows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few clicks, and sam_tiny alone")
    parser.add_argument("--clicks", type=int, help="clicks of each client (default: 100; --quick: 8)")
    parser.add_argument(
        "--out", type=Path, help="JSON (default: benchmarks/results/prompts.json; --quick: .run/prompts.json)"
    )
    arguments = parser.parse_args()
    out = arguments.out or ROOT / (".run" if arguments.quick else "benchmarks/results") / "prompts.json"
    count = arguments.clicks or (8 if arguments.quick else 100)
    results: dict[str, Any] = {"date": time.strftime("%Y-%m-%d"), "machine": machine(), "goals": GOALS}
    results |= {"image_side": SIDE, "clicks": count, "cases": [], "models": []}
    with tempfile.TemporaryDirectory(prefix="prompts-", ignore_cleanup_errors=True) as name:
        folder, image = Path(name), make_image(SIDE)
        (folder / "image.png").write_bytes(image)
        checkpoints = [weights_file("sam_tiny")]
        if not arguments.quick:
            checkpoints.append(random_checkpoint(folder, folder / "image.png"))
        served = Served(folder, [*checkpoints, *prompt_decoders("sam_tiny")])
        try:
            for checkpoint in checkpoints:
                bench = Bench(served, checkpoint.stem, checkpoint, image, count)
                results["models"].append(bench.measure())
                results["cases"] += bench.cases
                console.print(results["models"][-1])
        finally:
            served.close()
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(results, indent=1) + "\n")
    console.print(f"Written: {out}", soft_wrap=True)
    return 0


if __name__ == "__main__":
    main_exit(main)
