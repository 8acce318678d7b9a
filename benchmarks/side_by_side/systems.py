"""The two servers, each a real TorchServe with one worker, and their requests."""

from __future__ import annotations

import base64
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
import yaml

from benchmarks.side_by_side.load import Ask
from tools import ports
from tools.problem import Problem
from tools.stack import Ports, Stack, TorchServe, weights_file

MODEL = "sam_tiny"
EXAMPLE = "sam_example"
AS_THEY_ARE = {"mode": "masks", "min_area": 0, "max_area_fraction": 1}
"""Options with which our answer holds stock SAM's masks, not the grains made from them."""

_ARCHIVER = "from model_archiver.model_packaging import generate_model_archive; generate_model_archive()"
_PATIENCE_S = 600.0


@dataclass(frozen=True)
class System:
    """One of the two, running.

    Attributes:
        name: name in tables and pictures.
        server: TorchServe of this system.
        model: name of the model there.
        ask: request with the image in this system's form.
        ask_masks: request for SAM's plain masks.
        count: number of objects in an answer.
    """

    name: str
    server: TorchServe
    model: str
    ask: Ask
    ask_masks: Ask
    count: Callable[[bytes], int]

    def warm_up(self) -> dict[str, int]:
        """Sends two requests before anything is timed.

        Returns:
            Numbers of `masks` and of `objects` found.

        Raises:
            Problem: the answer is an error.
        """
        return {"masks": self._answer(self.ask_masks), "objects": self._answer(self.ask)}

    def _answer(self, ask: Ask) -> int:
        url, headers = self.server.inference + ask.path, {"Content-Type": ask.content_type}
        answer = requests.post(url, data=ask.body, headers=headers, timeout=_PATIENCE_S)
        if not answer.ok:
            raise Problem(f"{self.name} answers {answer.status_code}: {answer.text:.500}")
        return self.count(answer.content)

    def threads(self) -> int | None:
        """Returns torch's number of threads in the worker; None if its handler does not tell."""
        url = f"{self.server.management}/models/{self.model}/1.0"
        (description,) = requests.get(url, params={"customized": "true"}, timeout=60).json()
        told = description.get("customizedMetadata") or {}
        if isinstance(told, str):
            told = json.loads(told)
        threads: int | None = told.get("threads")
        return threads


@contextmanager
def ours(folder: Path, image: bytes, options: Mapping[str, Any], say: Callable[[str], None]) -> Iterator[System]:
    """Starts our handler and its storage, as `make serve` does."""
    with Stack(
        folder,
        model=MODEL,
        model_store=folder / "model_store",
        ports=Ports.choose_free(),
        emulator_port=ports.choose_free(1)[0],
        say=say,
    ) as stack:
        ask, ask_masks = ask_ours(image, options), ask_ours(image, {**options, **AS_THEY_ARE})
        yield System("grainserve", stack.torchserve, MODEL, ask, ask_masks, count_ours)


@contextmanager
def example(folder: Path, image: bytes, options: Mapping[str, Any], say: Callable[[str], None]) -> Iterator[System]:
    """Starts a TorchServe, configured as ours, with a handler like its example's."""
    archive = pack_example(folder, weights_file(MODEL), options)
    with TorchServe(
        model_store=folder / "model_store",
        logs=folder / "torchserve",
        environment={},
        ports=Ports.choose_free(),
        say=say,
    ) as server:
        server.register(archive)
        ask = ask_example(image)
        yield System("TorchServe's example", server, EXAMPLE, ask, ask, count_example)


def ask_ours(image: bytes, options: Mapping[str, Any]) -> Ask:
    """Makes a form with the image and a field for each option."""
    form = {name: str(value) for name, value in options.items()}
    prepared = requests.Request("POST", "http://host/", files={"image": image}, data=form).prepare()
    assert isinstance(prepared.body, bytes)
    return Ask(f"/predictions/{MODEL}", prepared.body, str(prepared.headers["Content-Type"]))


def count_ours(answer: bytes) -> int:
    """Counts the grains in one of our answers."""
    return len(json.loads(answer)["segmentedObjects"])


def ask_example(image: bytes) -> Ask:
    """Makes a request with the image as base64 text; the example takes no options from a request."""
    return Ask(f"/predictions/{EXAMPLE}", base64.b64encode(image), "text/plain")


def count_example(answer: bytes) -> int:
    """Counts the masks in an answer of the example, which must be trusted: a pickle can run any code."""
    return len(pickle.loads(base64.b64decode(answer)))


def pack_example(folder: Path, checkpoint: Path, options: Mapping[str, Any]) -> Path:
    """Packs the example's archive with torch-model-archiver, as its README does.

    Args:
        folder: folder for the archive and its model config.
        checkpoint: checkpoint file, which the worker reads from there.
        options: options of `SamAutomaticMaskGenerator`, for every request.

    Raises:
        Problem: the archiver refuses.
    """
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "model-config.yaml"
    settings = {"checkpoint": str(checkpoint), "options": dict(options)}
    config.write_text(
        yaml.safe_dump({"minWorkers": 1, "maxWorkers": 1, "batchSize": 1, "responseTimeout": 600, "handler": settings})
    )
    handler = Path(__file__).with_name("example_handler.py")
    command = [
        *(sys.executable, "-c", _ARCHIVER, "--model-name", EXAMPLE, "--version", "1.0", "--runtime", "python"),
        *("--handler", str(handler), "--config-file", str(config), "--export-path", str(folder)),
    ]
    # The archiver works in <temporary folder>/<model name>, where another run may work too.
    environment = {**os.environ, "TMPDIR": str(folder)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Problem(f"torch-model-archiver could not pack {EXAMPLE}: {done.stderr.strip()}")
    return folder / f"{EXAMPLE}.mar"
