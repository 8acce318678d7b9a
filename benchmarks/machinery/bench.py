"""The servers that all parts share, and those that each part starts for itself."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import requests
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage
from PIL import Image

from grainserve.gateway.keys import make_key
from grainserve.jobs.store import JobStore
from grainserve.storage.bucket import Bucket
from tests.faults.part import Part
from tools import ports
from tools.emulator import Emulator
from tools.problem import Problem

SECONDS, PLACES = 1.0, 4
"""Seconds that inference takes, and a dispatcher's number of places."""
LAB = "lab"
"""Submitter of the jobs."""
PATIENCE = 180.0
"""Seconds without any job ending after which the run counts as broken."""


class Gateway:
    """A gateway, or another server for uploads, that can be killed and started again."""

    def __init__(self, part: Part, port: int, key: str = "") -> None:
        self.part = part
        self.url = f"http://127.0.0.1:{port}"
        self.headers = {"Authorization": f"Bearer {key}"} if key else {}

    def start(self) -> None:
        """Starts the server and waits until it answers."""
        self.part.start()
        wait_until(self._answers, f"{self.part.name} does not answer", 30)

    @contextmanager
    def running(self) -> Iterator[requests.Session]:
        """The running server, with a session that sends the key."""
        self.start()
        try:
            with requests.Session() as session:
                session.headers.update(self.headers)
                adapter = requests.adapters.HTTPAdapter(pool_maxsize=64)
                session.mount("http://", adapter)
                yield session
        finally:
            self.part.kill()

    def upload(self, session: requests.Session, image: bytes) -> str:
        """Uploads an image; returns its id."""
        answer = session.post(f"{self.url}/upload", data=image, timeout=30)
        answer.raise_for_status()
        return str(answer.json()["imageId"])

    def poll(self, session: requests.Session, image_id: str) -> requests.Response:
        """Polls for a result."""
        return session.get(f"{self.url}/image-analysis", params={"imageId": image_id}, timeout=30)

    def _answers(self) -> bool:
        if not self.part.running:
            raise Problem(f"{self.part.name} ended: {self.part.printed()[-3:]}")
        try:
            return requests.get(f"{self.url}/healthz", timeout=2).status_code in (200, 404)
        except requests.RequestException:
            return False


class Bench:
    """The servers of all parts, and buckets for each.

    Args:
        folder: folder for logs and keys.
        emulator: running GCS emulator.
    """

    def __init__(self, folder: Path, emulator: Emulator) -> None:
        self.folder = folder
        self.emulator = emulator
        self._number = 0
        port = ports.choose_free(1)[0]
        self.inference = f"http://127.0.0.1:{port}"
        settings = ["--port", str(port), "--seconds", str(SECONDS), "--workers", "256", "--queue", "256"]
        self.stub = Part("stub", "tests.faults.stub", settings, {}, folder / "stub")

    def store(self) -> JobStore:
        """Returns a store on a fresh bucket."""
        self._number += 1
        name = f"jobs-{self._number}"
        self.emulator.create_bucket(name)
        return JobStore(Bucket(name, self.emulator.client()))

    def through(self, url: str, store: JobStore) -> JobStore:
        """Returns a store on the same bucket through a proxy."""
        client = storage.Client(
            project="grainserve", credentials=AnonymousCredentials(), client_options={"api_endpoint": url}
        )
        return JobStore(Bucket(store.bucket.name, client))

    def environment(self, store: JobStore, url: str | None = None) -> dict[str, str]:
        """Returns environment variables for processes that work on a store."""
        return {
            "STORAGE_EMULATOR_HOST": url or self.emulator.url,
            "GRAINSERVE_BUCKET": store.bucket.name,
            "GRAINSERVE_TORCHSERVE": self.inference,
            "GRAINSERVE_MANAGEMENT": self.inference,
        }

    def gateway(self, store: JobStore, *arguments: str) -> Gateway:
        """Starts a gateway with a key: without keys all callers share 600 requests a minute."""
        port = ports.choose_free(1)[0]
        key, entry = make_key(LAB)
        keys = self.folder / f"{store.bucket.name}-{port}.toml"
        keys.write_text(entry.replace("requests_per_minute = 600", "requests_per_minute = 1000000"))
        command = ["gateway", "--port", str(port), "--keys", str(keys), *arguments]
        log = self.folder / f"{store.bucket.name}-gateway-{port}"
        return Gateway(Part("gateway", "grainserve", command, self.environment(store), log), port, key)

    @contextmanager
    def dispatchers(self, count: int, store: JobStore, url: str | None = None) -> Iterator[list[Part]]:
        """Runs `count` dispatcher processes."""
        arguments, environment = ["dispatch", "--concurrency", str(PLACES)], self.environment(store, url)
        logs = [self.folder / f"{store.bucket.name}-{number}" for number in range(count)]
        parts = [Part(log.name, "grainserve", arguments, environment, log) for log in logs]
        for part in parts:
            part.start()
        try:
            yield parts
        finally:
            for part in parts:
                part.kill()


def submit(store: JobStore, count: int, *, keyed: bool = False) -> list[str]:
    """Submits jobs of tiny images, eight at a time."""

    def one(number: int) -> str:
        key = f"image {number}" if keyed else None
        return store.submit(b"image %d" % number, model="sam_tiny", version=None, options={}, submitter=LAB, key=key)

    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(one, range(count)))


def wait_for(ended: Callable[[], int], count: int, pause: float = 0.5) -> None:
    """Waits until `count` jobs have ended.

    Raises:
        Problem: no further job ends.
    """
    before, since = -1, time.monotonic()
    while (now := ended()) < count:
        if now > before:
            before, since = now, time.monotonic()
        if time.monotonic() - since > PATIENCE:
            raise Problem(f"{now} of {count} jobs ended, and none for {PATIENCE:.0f} s")
        time.sleep(pause)


def wait_until(true: Callable[[], bool], trouble: str, seconds: float = PATIENCE) -> None:
    """Waits until a condition holds.

    Raises:
        Problem: it does not hold in time.
    """
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            raise Problem(f"{trouble} (after {seconds:.0f} s)")
        time.sleep(0.1)


def png() -> bytes:
    """Returns a small image as PNG."""
    file = io.BytesIO()
    Image.new("RGB", (64, 64), (90, 120, 150)).save(file, "PNG")
    return file.getvalue()
