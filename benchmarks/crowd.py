"""Measures honest uploads beside a crowd of silent and slow clients, and what the crowd costs the gateway.

    python -m benchmarks.crowd            three minutes (nothing else on the machine)
    python -m benchmarks.crowd --quick    under a minute, into .run/crowd.json

The crowd has its own key and address: 200 connections with half-sent headers, 60 readers of a 20-MB image that take a
kilobyte a second, 16 uploads that drip a byte a second. A client that is cut off or refused comes again a second later.
The honest client uploads five small images a second, alone before and after, and beside the crowd in between.

Writes benchmarks/results/crowd.json. Needs Linux (127.0.0.2) and the emulator.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Any

import psutil
import requests

from benchmarks.machinery.bench import Bench, Gateway, png
from grainserve.gateway.keys import make_key
from tests.faults.part import Part
from tools import ports
from tools.emulator import Emulator
from tools.mar import ROOT
from tools.problem import main_exit

CROWD = {"idle": 200, "slow": 60, "dripping": 16}
TIMES, MIB = 5.0, 700.0
"""Promises: ratio of p99 beside the crowd to p99 without it, and the gateway's memory, at most."""
EVERY = 0.2
"""Seconds between two honest uploads."""
LARGE = png() + bytes(20_000_000)
HERE, THERE = "127.0.0.1", "127.0.0.2"
Client = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def main() -> int:
    """Runs the benchmark; returns 1 if a promise is broken."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="short, into .run/crowd.json")
    quick = parser.parse_args().quick
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), 10.0 if quick else 45.0)
    out = ROOT / (".run/crowd.json" if quick else "benchmarks/results/crowd.json")
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(found, indent=2) + "\n")
    print(json.dumps(found, indent=2))
    return 0 if found["kept"] else 1


def measure(folder: Path, seconds: float) -> dict[str, Any]:
    """Measures uploads without the crowd, with it for twice as long, and again without it."""
    with Emulator(folder / "gcs", port=ports.choose_free(1)[0], log=folder / "emulator.log") as emulator:
        bench = Bench(folder, emulator)
        gateway, theirs = two_keys(bench)
        with gateway.running() as session:
            process, log = psutil.Process(gateway.part.pid), gateway.part.logs[-1]
            large = requests.post(
                f"{gateway.url}/upload", data=LARGE, headers={"Authorization": f"Bearer {theirs}"}, timeout=60
            ).json()["imageId"]
            phases: dict[str, list[float]] = {"calm": [], "crowd": []}
            most = 0.0

            def honest(phase: str, seconds: float) -> None:
                nonlocal most
                end = time.monotonic() + seconds
                while (began := time.monotonic()) < end:
                    gateway.upload(session, png())
                    phases[phase].append(1000 * (time.monotonic() - began))
                    most = max(most, process.memory_info().rss / 2**20)
                    time.sleep(max(0.0, began + EVERY - time.monotonic()))

            honest("calm", seconds)
            logged = log.stat().st_size
            spawn = multiprocessing.get_context("spawn")
            met = {name: spawn.Value("i", 0) for name in CROWD}
            crowd = spawn.Process(target=come, args=(gateway.url, theirs, large, met))
            crowd.start()
            try:
                time.sleep(5)
                honest("crowd", 2 * seconds)
            finally:
                crowd.terminate()
                crowd.join()
            honest("calm", seconds)
            logged = log.stat().st_size - logged
    calm, beside = (summary(phases[name]) for name in ("calm", "crowd"))
    times = beside["p99"] / calm["p99"]
    return {
        "crowd": CROWD,
        "connections_made": {name: count.value for name, count in met.items()},
        "upload_ms": {"calm": calm, "crowd": beside},
        "p99_times": round(times, 2),
        "gateway_mib_at_most": round(most, 1),
        "log_bytes": logged,
        "load_average": psutil.getloadavg()[1],
        "promised": {"p99_times": TIMES, "gateway_mib": MIB},
        "kept": times <= TIMES and most <= MIB,
    }


def two_keys(bench: Bench) -> tuple[Gateway, str]:
    """Starts a gateway with default settings but for rates, a key for the honest client, and one for the crowd."""
    store, port = bench.store(), ports.choose_free(1)[0]
    (mine, entry), (theirs, other) = make_key("lab"), make_key("crowd")
    keys = bench.folder / "keys.toml"
    keys.write_text((entry + other).replace("requests_per_minute = 600", "requests_per_minute = 1000000"))
    command = ["gateway", "--port", str(port), "--keys", str(keys), "--dispatch", "0"]
    part = Part("gateway", "grainserve", command, bench.environment(store), bench.folder / "gateway")
    return Gateway(part, port, mine), theirs


def summary(milliseconds: list[float]) -> dict[str, float]:
    """Returns percentiles of the uploads' times, ms."""
    cuts = statistics.quantiles(milliseconds, n=100, method="inclusive")
    return {
        "uploads": len(milliseconds),
        "p50": round(cuts[49], 1),
        "p99": round(cuts[98], 1),
        "max": round(max(milliseconds), 1),
    }


def come(url: str, key: str, image_id: str, met: dict[str, Synchronized[int]]) -> None:
    """Runs the crowd until it is ended."""
    asyncio.run(gathered(url, key, image_id, met))


async def gathered(url: str, key: str, image_id: str, met: dict[str, Synchronized[int]]) -> None:
    """Runs all clients of the crowd."""
    head = f"HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\n"
    port = int(url.rpartition(":")[2])

    async def idle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"GET / " + head.encode())
        await reader.read()

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(f"GET /images/{image_id} {head}\r\n".encode())
        while await reader.read(1024):
            await asyncio.sleep(1)

    async def dripping(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(f"POST /upload {head}Content-Length: 1000000\r\n\r\n".encode())
        while not reader.at_eof():
            writer.write(b"x")
            await asyncio.sleep(1)
            await writer.drain()

    async def again(name: str, client: Client) -> None:
        while True:
            try:
                reader, writer = await asyncio.open_connection(HERE, port, local_addr=(THERE, 0), limit=2048)
                with met[name].get_lock():
                    met[name].value += 1
                try:
                    await client(reader, writer)
                finally:
                    writer.close()
            except OSError:
                pass  # cut off or refused, as it should be
            await asyncio.sleep(1)

    clients: dict[str, Client] = {"idle": idle, "slow": slow, "dripping": dripping}
    wanted = Counter(CROWD)
    await asyncio.gather(*(again(name, clients[name]) for name in wanted.elements()))


if __name__ == "__main__":
    main_exit(main)
