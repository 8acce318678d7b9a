"""A small model beside sam_tiny to test TorchServe itself: it answers with its code and version."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from tools import mar
from tools.stack import Stack
from tools.torchserve import TorchServe

Pack = Callable[..., Path]

PROBE = """
import os
import time

import grain_handler
import grain_handler.errors
from ts.torch_handler.base_handler import BaseHandler


class Probe(BaseHandler):
    def initialize(self, context):
        self.context = context
        if grain_handler.MARK == "broken":
            raise ValueError("this checkpoint is not for this model")
        self.initialized = True

    def preprocess(self, rows):
        for row in rows:
            if bytes(row.get("body") or b"").startswith(b"sleep "):
                time.sleep(float(bytes(row["body"]).split()[1]))
        return rows

    def inference(self, rows):
        model = self.context.manifest["model"]
        return [
            {"mark": grain_handler.MARK, "package": grain_handler.__file__, "version": model["modelVersion"]}
            for _ in rows
        ]

    def postprocess(self, answers):
        return answers

    def describe_handle(self):
        return {"mark": grain_handler.MARK, "pid": os.getpid()}
"""


@pytest.fixture(scope="session")
def pack_probe(tmp_path_factory: pytest.TempPathFactory) -> Pack:
    """Packs a version of `probe`, or of another name: a changed copy of the handler with its own entry."""

    def pack(
        version: str,
        mark: str,
        config: str = "minWorkers: 1\nmaxWorkers: 1\n",
        entry: str = PROBE,
        *,
        model: str = "probe",
    ) -> Path:
        folder = tmp_path_factory.mktemp("probe")
        package = folder / "grain_handler"
        shutil.copytree(mar.PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
        (package / "__init__.py").write_text(f'"""A changed copy."""\n\nMARK = "{mark}"\n')
        (package / "service.py").write_text(entry)
        (folder / "config.yaml").write_text(config)
        out = folder / f"{model}-{version}.mar"
        return mar.pack(model, version, config=folder / "config.yaml", package=package, out=out)

    return pack


@pytest.fixture
def server(stack: Stack) -> Iterator[TorchServe]:
    """The stack's TorchServe; deletes versions of `probe` that a test leaves behind."""
    yield stack.torchserve
    management = f"{stack.torchserve.management}/models/probe"
    while requests.get(management, timeout=10).ok:
        listed = requests.get(f"{management}/all", timeout=10).json()
        # The default version can only be deleted last.
        default = requests.get(management, timeout=10).json()[0]["modelVersion"]
        versions = [each["modelVersion"] for each in listed]
        for version in sorted(versions, key=lambda each: each == default):
            requests.delete(f"{management}/{version}", timeout=120)
