"""The servers that are clicked at: TorchServe with variants of a model, a gateway before it, and the obvious design."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import requests
import yaml

from grainserve.gateway.keys import make_key
from tools import mar, ports
from tools.emulator import Emulator
from tools.mar import ROOT
from tools.process import Server
from tools.redis_server import RedisServer
from tools.stack import worker_environment
from tools.torchserve import Ports, TorchServe

PATIENCE_S = 60.0


class Served:
    """TorchServe with an emulator and a Redis.

    Args:
        folder: folder for logs and archives.
        checkpoints: checkpoints and prompt decoders, named as model configs name them.

    Attributes:
        torchserve: the running TorchServe.
    """

    def __init__(self, folder: Path, checkpoints: list[Path]) -> None:
        self.folder = folder
        self._running = ExitStack()
        port, redis_port = ports.choose_free(2)
        emulator = self._running.enter_context(Emulator(folder / "gcs", port=port, log=folder / "gcs.log"))
        redis = self._running.enter_context(RedisServer(folder / "redis", redis_port))
        self.environment = worker_environment(emulator.url, folder / "weights") | {"GRAINSERVE_REDIS": redis.url}
        emulator.create_bucket(self.environment["GRAINSERVE_BUCKET"])
        for checkpoint in checkpoints:
            emulator.upload(self.environment["GRAINSERVE_WEIGHTS_BUCKET"], checkpoint)
        self.torchserve = TorchServe(
            model_store=folder / "store",
            logs=folder / "torchserve",
            environment=self.environment,
            ports=Ports.choose_free(),
            say=lambda _: None,
        )
        self._running.enter_context(self.torchserve)

    def close(self) -> None:
        """Stops all of them."""
        self._running.close()

    @contextmanager
    def variant(self, config: str, name: str, changes: dict[str, Any] | None = None) -> Iterator[str]:
        """Serves a model under a name of its own; yields its address.

        Args:
            config: name of the model config.
            name: TorchServe model name.
            changes: what the config says otherwise: keys of TorchServe's, and under `grainserve` keys of ours.
        """
        said = yaml.safe_load((ROOT / "config" / f"{config}.yaml").read_text())
        ours = said["grainserve"] | (changes or {}).get("grainserve", {})
        file = self.folder / f"{name}.yaml"
        file.write_text(yaml.safe_dump({**said, **(changes or {}), "responseTimeout": 1200, "grainserve": ours}))
        self.torchserve.register(mar.pack(name, "1.0", config=file, out=self.folder / f"{name}.mar"))
        try:
            yield f"{self.torchserve.inference}/predictions/{name}"
        finally:
            requests.delete(f"{self.torchserve.management}/models/{name}", timeout=120).raise_for_status()

    @contextmanager
    def gateway(self, model: str) -> Iterator[tuple[str, dict[str, str]]]:
        """Runs a gateway whose prompts go to `<model>-prompt`; yields the address of its prompts, and headers.

        It has a key: without keys all callers share 600 requests a minute.
        """
        port = ports.choose_free(1)[0]
        key, entry = make_key("lab")
        keys = self.folder / "keys.toml"
        keys.write_text(entry.replace("requests_per_minute = 600", "requests_per_minute = 1000000"))
        environment = self.environment | {
            "GRAINSERVE_TORCHSERVE": self.torchserve.inference,
            "GRAINSERVE_MANAGEMENT": self.torchserve.management,
            "GRAINSERVE_MODEL": model,
        }
        command = ["grainserve", "gateway", "--port", str(port), "--keys", str(keys)]
        with _running(command, environment, self.folder / "gateway.log", f"http://127.0.0.1:{port}/healthz"):
            yield f"http://127.0.0.1:{port}/segment", {"Authorization": f"Bearer {key}"}


@contextmanager
def obvious(folder: Path, model: str, checkpoint: Path) -> Iterator[str]:
    """Runs the obvious design; yields the address of its clicks."""
    port = ports.choose_free(1)[0]
    command = ["benchmarks.side_by_side.obvious_clicks", str(port), model, str(checkpoint)]
    with _running(command, {}, folder / "stock.log", f"http://127.0.0.1:{port}/"):
        yield f"http://127.0.0.1:{port}/segment"


@contextmanager
def _running(command: list[str], environment: Mapping[str, str], log: Path, url: str) -> Iterator[None]:
    """Runs a Python module, once it answers at a URL."""
    server = Server(command[0], [sys.executable, "-m", *command], log, {**os.environ, **environment})
    try:
        server.wait_until(lambda: _answers(url), PATIENCE_S)
        yield
    finally:
        server.stop()


def _answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=2).ok
    except requests.RequestException:
        return False
