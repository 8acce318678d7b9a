"""A real gateway on loopback, with the emulator and an imitation of TorchServe."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import requests
import uvicorn
from PIL import Image

from grainserve.dispatch.dispatcher import Dispatcher
from grainserve.gateway import connections
from grainserve.gateway.app import create_app
from grainserve.gateway.keys import Keys
from grainserve.gateway.service import Service
from grainserve.jobs.store import JobStore
from grainserve.storage.bucket import Bucket
from grainserve.torchserve.inference import TorchServe
from tests.unit.client.conftest import bucket_name, emulator, gcs, names, picture, torchserve  # noqa: F401
from tests.unit.client.fake_torchserve import FakeTorchServe

Start = Callable[..., "Gateway"]


class Gateway:
    """A running gateway, with methods for requests."""

    def __init__(self, service: Service, url: str) -> None:
        self.service = service
        self.url = url

    def ask(self, method: str, path: str, key: str | None = None, **given: Any) -> requests.Response:
        headers = given.pop("headers", {}) | ({"Authorization": f"Bearer {key}"} if key else {})
        return requests.request(method, self.url + path, headers=headers, **{"timeout": 30} | given)

    def upload(self, image: bytes, key: str | None = None, **given: Any) -> str:
        answer = self.ask("POST", "/upload", key, data=image, **given)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["imageId"])

    def until_done(self, image_id: str, key: str | None = None) -> requests.Response:
        while (answer := self.ask("GET", f"/image-analysis?imageId={image_id}", key)).status_code == 202:
            time.sleep(0.02)
        return answer


@contextmanager
def serving(service: Service) -> Iterator[Gateway]:
    limits = connections.settings(service.limits)
    config = uvicorn.Config(create_app(service), port=0, log_config=None, server_header=False, **limits)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the gateway did not start"
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield Gateway(service, f"http://127.0.0.1:{port}")
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture
def service(bucket_name: str, torchserve: FakeTorchServe) -> Service:  # noqa: F811
    """A service without a dispatcher, so that jobs stay as they are."""
    store, server = JobStore(Bucket(bucket_name)), TorchServe(torchserve.url, torchserve.url)
    return Service(store, server, "sam_tiny", None, Keys({}))


@pytest.fixture
def start(service: Service) -> Iterator[Start]:
    """Starts gateways; `dispatch=True` lets one work on jobs, other settings are the service's."""
    with ExitStack() as running:

        def make(*, dispatch: bool = False, **changes: Any) -> Gateway:
            if dispatch and service.torchserve:
                changes["dispatcher"] = Dispatcher(service.store, service.torchserve, listing_interval=0.05)
            return running.enter_context(serving(replace(service, **changes)))

        yield make


@pytest.fixture
def gateway(start: Start) -> Gateway:
    return start()


def png(width: int = 64, height: int = 48, kind: str = "PNG") -> bytes:
    """Makes an image file of noise."""
    pixels = np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()
