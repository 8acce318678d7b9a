"""The emulator and TorchServe together. `make serve`, the demo and the tests start them from here.

    python -m tools.stack                 serves sam_tiny until Ctrl-C

Flags set ports and folders. The environment variable named in a flag's help changes the flag's default.
"""

from __future__ import annotations

import argparse
import os
import signal
import time
from contextlib import ExitStack
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

from grainserve import local_service
from grainserve.errors import GrainserveError
from grainserve.rollout.declared import NAME, Declarations
from grainserve.rollout.reconcile import Reconciliation
from grainserve.rollout.swap import Rollout
from grainserve.rollout.versions import Versions
from grainserve.storage.bucket import Bucket
from grainserve.torchserve.management import Management
from tools import mar
from tools.emulator import Emulator
from tools.gateway import Gateway
from tools.problem import Problem, main_exit
from tools.process import Say
from tools.torchserve import Ports, TorchServe

__all__ = ["Emulator", "Ports", "Stack", "TorchServe", "weights_file", "worker_environment"]

ROOT = Path(__file__).resolve().parent.parent
RUN = ROOT / ".run"
EMULATOR_PORT = 4443
GATEWAY_PORT = 8000
DEFAULT_MODEL = "sam_tiny"


def worker_environment(emulator_url: str, weights_cache: Path) -> dict[str, str]:
    """Returns the environment variables of workers and clients.

    Buckets and model keep the values that are set already.

    Args:
        emulator_url: address of the GCS emulator.
        weights_cache: folder where workers keep verified checkpoints.
    """
    return {
        "GRAINSERVE_BUCKET": os.environ.get("GRAINSERVE_BUCKET", "grainserve"),
        "GRAINSERVE_WEIGHTS_BUCKET": os.environ.get("GRAINSERVE_WEIGHTS_BUCKET", "grainserve-weights"),
        "GRAINSERVE_MODEL": os.environ.get("GRAINSERVE_MODEL", DEFAULT_MODEL),
        "GRAINSERVE_WEIGHTS_CACHE": str(weights_cache.resolve()),
        "STORAGE_EMULATOR_HOST": emulator_url,
    }


def weights_file(model: str) -> Path:
    """Returns the checkpoint of a model in this repository's folder `weights/`.

    Raises:
        Problem: there is no such file.
    """
    file = ROOT / "weights" / f"{model}.pth"
    if not file.is_file():
        raise Problem(f"No checkpoint of {model}: put it there as {file}.")
    return file


def prompt_decoders(model: str) -> list[Path]:
    """Returns the model's prompt decoder in `weights/`; nothing where the checkpoint's own answers prompts."""
    return [*(ROOT / "weights").glob(f"{model}_prompt_decoder.pth")]


class Stack:
    """An emulator with the two buckets, and a TorchServe that serves one model from them, with or without prompts.

    Attributes:
        emulator: GCS emulator.
        torchserve: TorchServe.
        environment: environment variables for workers and clients of this stack.
        logs: folder under which each server writes its log.
    """

    def __init__(
        self,
        folder: Path = RUN,
        *,
        model: str = DEFAULT_MODEL,
        model_store: Path = mar.MODEL_STORE,
        ports: Ports | None = None,
        emulator: Emulator | None = None,
        emulator_port: int = EMULATOR_PORT,
        prompts: bool = False,
        say: Say = print,
    ) -> None:
        """Describes the stack; `start` starts it.

        Args:
            folder: folder for objects, checkpoints and logs.
            model: model to pack and serve.
            model_store: folder for its .mar.
            ports: TorchServe's ports; None: its usual ones.
            emulator: emulator to use, left running if it runs already; None: one of this stack's own.
            emulator_port: port of the stack's own emulator.
            prompts: whether to serve the interactive model, too: `<model>-prompt`.
            say: receives messages of progress.
        """
        self.model = model
        self.models = [model, f"{model}-prompt"] if prompts else [model]
        self.logs = folder
        self._say = say
        if emulator is None:
            emulator = Emulator(folder / "gcs", port=emulator_port, log=folder / "gcs.log", say=say)
        self.emulator = emulator
        self.environment = worker_environment(self.emulator.url, folder / "weights")
        self.torchserve = TorchServe(
            model_store=model_store,
            logs=folder / "torchserve",
            environment=self.environment,
            ports=ports,
            say=say,
        )
        self.environment["GRAINSERVE_TORCHSERVE"] = self.torchserve.inference
        self.environment["GRAINSERVE_MANAGEMENT"] = self.torchserve.management
        self.environment["GRAINSERVE_MODEL_STORE"] = str(self.torchserve.model_store)
        self._started = ExitStack()

    def start(self) -> None:
        """Starts both servers, uploads the weights and waits until each model is ready.

        Raises:
            Problem: something is missing, or a server does not start; nothing is left running.
        """
        weights = [weights_file(self.model), *prompt_decoders(self.model)]
        with ExitStack() as starting:
            if not self.emulator.running:
                starting.enter_context(self.emulator)
            self.emulator.create_bucket(self.environment["GRAINSERVE_BUCKET"])
            for file in weights:
                self.emulator.upload(self.environment["GRAINSERVE_WEIGHTS_BUCKET"], file)
            starting.enter_context(self.torchserve)
            self._load()
            self._started = starting.pop_all()

    def _load(self) -> None:
        """Loads the versions that `models.yaml` in the weights bucket declares, and version 1.0 of every other model.

        The declarations outlast a restart of the stack.

        Raises:
            Problem: a declared version cannot be loaded.
        """
        bucket = Bucket(self.environment["GRAINSERVE_WEIGHTS_BUCKET"], self.emulator.client())
        declarations = Declarations(bucket)
        try:
            declared = declarations.read()
            for model in self.models:
                if model not in declared or declared[model].default is None:
                    store = self.torchserve.model_store
                    self.torchserve.register(mar.pack(model, "1.0", out=store / f"{model}-1.0.mar"))
            if not declared:
                return
            named = ", ".join(f"{model} {each.default}" for model, each in declared.items() if each.default)
            self._say(f"Loading what {NAME} in the weights bucket declares: {named} ...")
            management = Management(self.torchserve.management)
            versions = Versions(management, self.torchserve.model_store, bucket, self._say)
            Reconciliation(Rollout(versions, declarations)).apply()
        except GrainserveError as error:
            raise Problem(
                f"What {NAME} declares cannot be loaded: {error}. To begin anew with {self.model} 1.0, delete "
                f"{self.emulator.root / bucket.name / NAME}."
            ) from error

    def stop(self) -> None:
        """Stops TorchServe, then the emulator that its workers use."""
        self._started.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()


def main() -> int:
    """Serves in the foreground until Ctrl-C or SIGTERM."""
    arguments = _arguments()
    ports = Ports(
        inference=arguments.port,
        management=arguments.management_port,
        metrics=arguments.metrics_port,
        grpc_inference=arguments.grpc_port,
        grpc_management=arguments.grpc_port + 1,
    )
    # Set before anything starts, so that a stop while the model loads is as clean as a later one.
    signal.signal(signal.SIGTERM, _interrupt)
    stack = Stack(
        arguments.folder, model=arguments.model, ports=ports, emulator_port=arguments.emulator_port, prompts=True
    )
    try:
        with (
            stack,
            Gateway(stack.environment, port=arguments.gateway_port, log=stack.logs / "gateway.log") as gateway,
            local_service.announced(stack.environment),
        ):
            print(_welcome(stack, gateway), flush=True)
            _watch(stack, gateway)
    except KeyboardInterrupt:
        print("Stopped.", flush=True)
    return 0


def _watch(stack: Stack, gateway: Gateway) -> None:
    parts: dict[str, TorchServe | Emulator | Gateway] = {
        "TorchServe": stack.torchserve,
        "The GCS emulator": stack.emulator,
        "The gateway": gateway,
    }
    while all(part.running for part in parts.values()):
        time.sleep(0.5)
    dead = next(name for name, part in parts.items() if not part.running)
    raise Problem(f"{dead} ended by itself; its log is under {stack.logs}.")


def _interrupt(number: int, frame: FrameType | None) -> None:
    del number, frame
    raise KeyboardInterrupt


def _welcome(stack: Stack, gateway: Gateway) -> str:
    server = stack.torchserve
    exports = "\n".join(f"  export {name}={value}" for name, value in sorted(stack.environment.items()))
    return f"""
Serving {stack.model}. Drop an image on the page at {gateway.url}, or try:

  curl -T image.jpg {server.inference}/predictions/{stack.model}
  curl -F image=@image.jpg -F 'prompts=[{{"points": [[120, 80]]}}]' {server.inference}/predictions/{stack.model}-prompt

`grainserve analyze image.jpg` finds this service by itself. The client in Python takes its address from:

{exports}

Management is on {server.management}, metrics on {server.metrics}/metrics, logs in {server.logs}.
Ctrl-C stops everything."""


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tools.stack", description="Serves a model until Ctrl-C.")

    def port(flag: str, variable: str, default: int, what: str) -> None:
        value = os.environ.get(variable, str(default))
        parser.add_argument(flag, type=int, default=value, help=f"{what} ({variable}, default {default})")

    port("--port", "GRAINSERVE_PORT", 8080, "inference port")
    port("--management-port", "GRAINSERVE_MANAGEMENT_PORT", 8081, "management port")
    port("--metrics-port", "GRAINSERVE_METRICS_PORT", 8082, "metrics port")
    port("--grpc-port", "GRAINSERVE_GRPC_PORT", 7070, "gRPC port; the next one is taken too")
    port("--gateway-port", "GRAINSERVE_GATEWAY_PORT", GATEWAY_PORT, "port of the gateway and its page")
    port("--emulator-port", "GRAINSERVE_EMULATOR_PORT", EMULATOR_PORT, "port of the GCS emulator")
    model = os.environ.get("GRAINSERVE_MODEL", DEFAULT_MODEL)
    parser.add_argument("--model", default=model, help=f"model to serve (GRAINSERVE_MODEL, default {DEFAULT_MODEL})")
    parser.add_argument("--folder", type=Path, default=RUN, help="folder for objects, checkpoints and logs")
    return parser.parse_args()


if __name__ == "__main__":
    main_exit(main)
