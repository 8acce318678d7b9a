"""All that may be killed: clients, dispatchers, gateways, an inference server, the emulator; and the storms between."""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import requests
from google.cloud import storage

from tests.faults import crowd, impatient
from tests.faults.audit import Audit, audit, listed
from tests.faults.images import make_images
from tests.faults.proxy import Mischief, Proxy
from tools import ports
from tools.emulator import Emulator
from tools.process import Server

LEASE = 2
"""Seconds; whole ones count, for GCS tells its time in those."""
PATIENCE = 180.0
"""Seconds after a storm in which all must have come to an end."""


class Part:
    """A process that can be killed, held up and started again."""

    def __init__(self, name: str, module: str, arguments: list[str], environment: Mapping[str, str], log: Path) -> None:
        self.name = name
        self._command: list[str | Path] = [sys.executable, "-m", module, *arguments]
        self._environment = {**os.environ, **environment}
        self._log = log
        self._starts = 0
        self._server: Server | None = None
        self.logs: list[Path] = []

    def start(self) -> None:
        """Starts it; its output goes to a new file each time."""
        self._starts += 1
        self.logs.append(self._log.with_name(f"{self._log.name}-{self._starts}.log"))
        self._server = Server(self.name, self._command, self.logs[-1], self._environment)

    def signal(self, number: int) -> None:
        """Sends a signal, if it is there to get one."""
        if self._server is not None and self._server.running:
            os.kill(self._server.pid, number)

    def kill(self) -> None:
        """Pulls the plug."""
        self.signal(signal.SIGKILL)
        if self._server is not None:
            self._server.stop()

    @property
    def pid(self) -> int:
        """Of the process that runs."""
        assert self._server is not None
        return self._server.pid

    @property
    def running(self) -> bool:
        """Whether it is."""
        return self._server is not None and self._server.running

    def printed(self) -> list[str]:
        """The lines of all its lives so far, whole ones only."""
        return [line for log in self.logs for line in log.read_text().split("\n")[:-1]]


@dataclass
class World:
    """One schedule's world, on a bucket of its own.

    Attributes:
        folder: for logs.
        emulator: shared by all schedules.
        name: of the bucket.
        seed: of everything random.
        jobs: images that each of the two submitters submits; the crowd and the impatient client have a third of that.
        dispatchers: how many.
    """

    folder: Path
    emulator: Emulator
    name: str
    seed: int
    jobs: int = 12
    dispatchers: int = 2
    promised: set[str] = field(default_factory=set)
    injected: Counter[str] = field(default_factory=Counter)
    waking: list[threading.Timer] = field(default_factory=list)

    def __enter__(self) -> Self:
        self.chance = random.Random(self.seed)
        self.emulator.create_bucket(self.name)
        self.proxy = Proxy(self.emulator.url, random.Random(self.seed)).__enter__()
        stub, gateway = ports.choose_free(2)
        self.stub = self._part("torchserve", "tests.faults.stub", "--port", str(stub), "--seconds", "0.3")
        self._url = f"http://127.0.0.1:{gateway}"
        self._environment = {
            "STORAGE_EMULATOR_HOST": self.proxy.url,
            "GRAINSERVE_BUCKET": self.name,
            "GRAINSERVE_TORCHSERVE": f"http://127.0.0.1:{stub}",
            "GRAINSERVE_MANAGEMENT": f"http://127.0.0.1:{stub}",
            "GRAINSERVE_SUBMITTER": "lab",
            "GRAINSERVE_MODEL": "sam_tiny",
            "PYTHONUNBUFFERED": "1",
        }
        lease = ("--lease", str(LEASE), "--grace", "1")
        self.gateway = self._part("gateway", "grainserve", "gateway", "--port", str(gateway), "--dispatch", "1", *lease)
        self.workers = [
            self._part(f"dispatcher-{number}", "grainserve", "dispatch", "--concurrency", "2", *lease)
            for number in range(self.dispatchers)
        ]
        self.client = self._part("client", "tests.faults.submitter", str(self.jobs), str(self.seed), str(LEASE))
        few = (str(self.jobs // 3), str(self.seed + 2), str(LEASE))
        self.crowd = self._part("crowd", "tests.faults.crowd", *few)
        self.impatient = self._part("impatient", "tests.faults.impatient", *few)
        self.parts = [self.stub, self.gateway, *self.workers, self.client, self.crowd, self.impatient]
        for part in self.parts:
            part.start()
        self._calm = threading.Event()
        self._uploader = threading.Thread(target=self._upload)
        self._uploader.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for part in self.parts:
            part.signal(signal.SIGCONT)
            part.kill()
        self._calm.set()
        self._uploader.join()
        self.proxy.__exit__()

    def _part(self, name: str, module: str, *arguments: str) -> Part:
        environment = {} if name == "torchserve" else self._environment
        return Part(name, module, list(arguments), environment, self.folder / name)

    def _upload(self) -> None:
        """What a browser does: uploads under keys, and again while nobody answers."""
        for number, image in enumerate(make_images(self.jobs, self.seed + 1)):
            while not self._calm.is_set():
                try:
                    headers = {"Idempotency-Key": str(number), "Content-Type": "application/octet-stream"}
                    answer = requests.post(f"{self._url}/upload", data=image, headers=headers, timeout=30)
                except requests.RequestException:
                    time.sleep(0.1)
                    continue
                if answer.status_code == 202:
                    self.promised.add(answer.json()["imageId"])
                    break
                time.sleep(0.1)

    # What may happen --------------------------------------------------------------------------------------------------

    def happenings(self) -> dict[str, Callable[[], None]]:
        """Everything that may happen, by name."""
        return {
            "kill a dispatcher": lambda: self._restart(self.chance.choice(self.workers)),
            "kill the gateway": lambda: self._restart(self.gateway),
            "kill the client": lambda: self._restart(self.client),
            "kill the crowd": lambda: self._restart(self.crowd),
            "cancel the impatient client": self._cancel,
            "kill TorchServe": lambda: self._restart(self.stub),
            "kill the emulator": self._restart_emulator,
            "hold up a dispatcher past its lease": self._hold_up,
            "SIGTERM a dispatcher": self._ask_to_stop,
            "fill TorchServe's queue": self._fill_queue,
            "storm": self._storm,
        }

    def wreak(self, name: str) -> None:
        """Lets it happen."""
        self.injected[name] += 1
        self.happenings()[name]()

    def _restart(self, part: Part) -> None:
        part.kill()
        time.sleep(self.chance.uniform(0, 0.5))
        part.start()

    def _cancel(self) -> None:
        self._interrupt()
        self._restart(self.impatient)

    def _interrupt(self) -> None:
        """Ctrl-C; the audit tells of a client that goes on after it."""
        self.impatient.signal(signal.SIGINT)
        began = time.monotonic()
        while self.impatient.running and time.monotonic() - began < PATIENCE:
            time.sleep(0.05)

    def _restart_emulator(self) -> None:
        self.emulator.kill()
        time.sleep(self.chance.uniform(0, 0.5))
        self.emulator.start()
        # A write that it had done in part; GCS does no such thing. See tools/mend.py.
        self.injected["kill the emulator within a write"] += len(self.emulator.mended)

    def _hold_up(self) -> None:
        part = self.chance.choice(self.workers)
        part.signal(signal.SIGSTOP)
        self.waking.append(threading.Timer(LEASE + self.chance.uniform(0.5, 2), part.signal, (signal.SIGCONT,)))
        self.waking[-1].start()

    def _ask_to_stop(self) -> None:
        part = self.chance.choice(self.workers)
        part.signal(signal.SIGTERM)
        time.sleep(self.chance.uniform(0, 0.5))
        self._restart(part)

    def _fill_queue(self) -> None:
        """Others who ask the same TorchServe."""
        url = f"{self._environment['GRAINSERVE_TORCHSERVE']}/predictions/sam_tiny"
        body = {"image": "", "imageId": "another's"}

        def ask() -> None:
            with suppress(requests.RequestException):
                requests.post(url, json=body, timeout=30)

        others = [threading.Thread(target=ask) for _ in range(12)]
        for other in others:
            other.start()

    def _storm(self) -> None:
        kinds = ("delay", "lose_request", "lose_answer", "refuse", "spoil")
        self.proxy.mischief = Mischief(**{kind: self.chance.choice([0, 0.05, 0.2]) for kind in kinds})
        time.sleep(self.chance.uniform(0.5, 1.5))
        self.proxy.mischief = Mischief()

    # Afterwards -------------------------------------------------------------------------------------------------------

    def settle(self) -> float:
        """Ends the storm, and waits until every submission is in and every job has ended; seconds that took."""
        began = time.monotonic()
        self.proxy.mischief = Mischief()
        self._interrupt()
        for part in self.parts:
            if part is not self.impatient and not part.running:
                part.start()
        bucket = self.emulator.client().bucket(self.name)
        while time.monotonic() - began < PATIENCE:
            quiet = "all ended" in self.crowd.printed() and not _marked(bucket)
            if quiet and len(_ids(self.client)) == self.jobs and len(self.promised) == self.jobs:
                break
            time.sleep(0.1)
        took = time.monotonic() - began
        for timer in self.waking:
            timer.join()
        if self.waking:
            time.sleep(1)  # what was held up wakes with results that come too late: the audit must see what it does
        return took

    def audit(self) -> Audit:
        """What is in the bucket now."""
        self.injected.update(self.proxy.injected)
        promised = self.promised | _ids(self.client) | _ids(self.crowd)
        found = audit(self.emulator.client().bucket(self.name), promised, self.proxy.written)
        # Those who are cancelled have more jobs than they were promised, each of them ended, withdrawn or done.
        jobs = found.jobs - found.submitters[impatient.SUBMITTER] - found.submitters[crowd.SUBMITTER]
        expected = 2 * self.jobs + self.jobs // 3
        if len(promised) != expected or jobs != 2 * self.jobs:
            found.faults.append(
                f"{len(promised)} ids and {jobs} jobs came of {expected} and {2 * self.jobs} submissions"
            )
        if self.impatient.running:
            found.faults.append("a client that was cancelled did not end")
        found.faults += [line for line in self.crowd.printed() if line.startswith("fault")]
        return found


def _ids(part: Part) -> set[str]:
    return {line for line in part.printed() if len(line) == 32}


def _marked(bucket: storage.Bucket) -> bool:
    return bool(listed(bucket, "pending/"))
