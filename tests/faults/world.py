"""All processes that may be killed (clients, dispatchers, gateways, inference server, emulator), and the storms."""

from __future__ import annotations

import json
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import requests

from grainserve.jobs.store import JobStore
from grainserve.jobs.sweep import Sweep
from grainserve.storage.bucket import Bucket
from tests.faults import crowd, impatient, submitter
from tests.faults.audit import Audit, audit, audit_idle, listed
from tests.faults.hands import RESTORED, Hands
from tests.faults.images import make_images
from tests.faults.part import Part
from tests.faults.proxy import ELSEWHERE, Mischief, Proxy
from tools import ports
from tools.emulator import Emulator

LEASE = 2
"""Seconds of a lease; whole seconds, since GCS's dates have no fractions."""
PATIENCE = 180.0
"""Seconds after a storm within which all jobs must have ended."""
STORM, LONGEST_STORM = 50, 20.0
"""Calls that a storm should disturb, and the seconds after which it ends in any case."""
IDLE = 5.0
"""Seconds in which calls of idle dispatchers are counted; each looks at least once."""
DROPPED = "Exception ignored in"
"""Beginning of Python's message that it dropped an exception."""
AGAIN = 3
"""Number of its images that the client deletes and submits again."""


@dataclass
class World:
    """The processes of one schedule, on a fresh bucket.

    Attributes:
        folder: folder for logs.
        emulator: emulator, shared by all schedules.
        name: name of the bucket.
        seed: seed of all random decisions.
        jobs: number of images of each of the two submitters; the crowd and the impatient client have a third of that.
        dispatchers: number of dispatchers.
        promised: image ids that the gateway returned.
        settled: whether all jobs ended.
        idle_calls: number of calls to storage in an idle minute.
    """

    folder: Path
    emulator: Emulator
    name: str
    seed: int
    jobs: int = 12
    dispatchers: int = 2
    promised: set[str] = field(default_factory=set)
    settled: bool = False
    idle_calls: int = 0
    injected: Counter[str] = field(default_factory=Counter)
    waking: list[threading.Timer] = field(default_factory=list)

    def __enter__(self) -> Self:
        self.chance = random.Random(self.seed)
        self._bucket = self.emulator.create_bucket(self.name)  # past the proxy
        self.hands = Hands(self._bucket, self.chance, self.injected)
        self.proxy = Proxy(self.emulator.url, random.Random(self.seed)).__enter__()
        stub, gateway = ports.choose_free(2)
        answers = ("--port", str(stub), "--seconds", "0.3", "--elsewhere", f"{self.proxy.url}{ELSEWHERE}")
        self.stub = self._part("torchserve", "tests.faults.stub", *answers)
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
        all_of_it = (str(self.jobs), str(self.seed), str(LEASE), str(AGAIN))
        self.client = self._part("client", "tests.faults.submitter", *all_of_it)
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
        """Uploads under keys, as a browser would, and repeats uploads without an answer."""
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
        """All events that may happen, by name."""
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
            "answer in GCS's place": self._answer_in_its_place,
            "answer wrongly in TorchServe's place": self._answer_wrongly,
            "copy a record": self.hands.copy,
            "damage a record": self.hands.damage,
            "move a marker": self.hands.move_marker,
        }

    def wreak(self, name: str) -> None:
        """Makes an event happen."""
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
        """Presses Ctrl-C; the audit reports a client that goes on after it.

        Python drops a Ctrl-C that comes while it destroys an object, and says so; a user presses it again.
        """
        presses, began = self._dropped(), time.monotonic()
        while self.impatient.running and time.monotonic() - began < PATIENCE:
            if self._dropped() >= presses:
                self.impatient.signal(signal.SIGINT)
                presses += 1
            time.sleep(0.05)

    def _dropped(self) -> int:
        return sum(line.startswith(DROPPED) for line in self.impatient.printed())

    def _restart_emulator(self) -> None:
        self.emulator.kill()
        time.sleep(self.chance.uniform(0, 0.5))
        self.emulator.start()
        # Repair a partial write, which GCS does not have: see tools/mend.py.
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
        """Sends requests of other clients to the same TorchServe."""
        url = f"{self._environment['GRAINSERVE_TORCHSERVE']}/predictions/sam_tiny"
        body = {"image": "", "imageId": "another's"}

        def ask() -> None:
            with suppress(requests.RequestException):
                requests.post(url, json=body, timeout=30, allow_redirects=False)

        others = [threading.Thread(target=ask) for _ in range(12)]
        for other in others:
            other.start()

    def _storm(self) -> None:
        kinds = ("delay", "lose_request", "lose_answer", "refuse", "spoil")
        self._make_mischief(kinds)

    def _answer_in_its_place(self) -> None:
        self._make_mischief(("page", "misdate", "redirect", "malform", "exchange"))

    def _make_mischief(self, kinds: tuple[str, ...]) -> None:
        self.proxy.mischief = Mischief(**{kind: self.chance.choice([0, 0.05, 0.2]) for kind in kinds})
        # A storm also lasts until a number of calls: processes that just start make none.
        heard, began = self.proxy.heard.total(), time.monotonic()
        time.sleep(self.chance.uniform(0.5, 1.5))
        while self.proxy.heard.total() < heard + STORM and time.monotonic() < began + LONGEST_STORM:
            time.sleep(0.05)
        self.proxy.mischief = Mischief()

    def _answer_wrongly(self) -> None:
        """Makes the stub's next results wrong."""
        url, began = self._environment["GRAINSERVE_TORCHSERVE"], time.monotonic()
        left = wrong = self.chance.randint(2, 6)
        told = False
        while left and time.monotonic() < began + LONGEST_STORM:
            with suppress(requests.RequestException):  # the stub is just starting
                told = told or requests.put(url, data=json.dumps(wrong), timeout=30).ok
                left = int(requests.get(f"{url}/wrong", timeout=30).json())
            time.sleep(0.05)
        with suppress(requests.RequestException):
            requests.put(url, data="0", timeout=30)
        self.injected["wrong answers"] += wrong - left

    # Afterwards -------------------------------------------------------------------------------------------------------

    def settle(self) -> float:
        """Ends the storm, waits until all is submitted and every job has ended, and returns the seconds that this took.

        It repairs orphans, which the design allows, as an operator would.
        """
        began = time.monotonic()
        self.proxy.mischief = Mischief()
        self._interrupt()
        for part in self.parts:
            if part is not self.impatient and not part.running:
                part.start()
        while time.monotonic() - began < PATIENCE:
            all_in = self.client.said(submitter.ALL_IN) and len(self.promised) == self.jobs
            ended = all_in and "all ended" in self.crowd.printed() and not self._marked()
            if ended and not self._reconcile():
                self.settled = True
                break
            time.sleep(0.1)
        took = time.monotonic() - began
        for timer in self.waking:
            timer.join()
        if self.waking:
            time.sleep(1)  # processes that were held up wake with late results: the audit must see what they do
        return took

    def _marked(self) -> bool:
        return any(blob.name not in self.hands.planted for blob in listed(self._bucket, "pending/"))

    def _reconcile(self) -> int:
        """Runs `grainserve reconcile` past the proxy; returns the number of repairs."""
        sweep = Sweep(JobStore(Bucket(self.name, self.emulator.client())))
        cleared = sweep.clear_markers()
        while not sweep.step():
            pass
        return cleared + sweep.marked + sweep.dropped

    def idle(self) -> list[str]:
        """Counts calls to storage while there is no work but damaged records; returns the fault, if any."""
        heard = self.proxy.heard.copy()
        time.sleep(IDLE)
        calls = self.proxy.heard - heard
        self.idle_calls = round(calls.total() / IDLE * 60)
        results = {blob.name.partition("/")[2]: blob.updated for blob in listed(self._bucket, "results/")}
        records = {blob.name.partition("/")[2]: blob.updated for blob in listed(self._bucket, "jobs/")}
        return audit_idle(
            calls,
            IDLE,
            dispatchers=self.dispatchers + len([self.gateway, self.client, self.crowd]),
            submitters=len({name.split("/")[1] for name in self.hands.planted if name.startswith("pending/")}),
            unsettled=sum(name not in results or results[name] >= when for name, when in records.items()),
        )

    def audit(self) -> Audit:
        """Audits the bucket after an operator's repairs: see `audit.py`."""
        self.injected.update(self.proxy.injected)
        changed = []
        for name, data in self.hands.planted.items():
            blob = self._bucket.get_blob(name)
            if blob is None or blob.download_as_bytes() != data:
                changed.append(f"{name}: nobody can make sense of it, and it was changed")
            if blob is not None:
                blob.delete()
        self._reconcile()
        promised = self.promised | self.hands.restored | _ids(self.client) | _ids(self.crowd)
        found = audit(self._bucket, promised, self.proxy.written)
        found.faults += changed
        # Cancelled clients have more jobs than ids they received; each has ended, withdrawn or done.
        jobs = found.jobs - sum(found.submitters[each] for each in (impatient.SUBMITTER, crowd.SUBMITTER, RESTORED))
        expected = 2 * self.jobs + self.jobs // 3 + len(self.hands.restored)
        if len(promised) != expected or jobs != 2 * self.jobs:
            found.faults.append(
                f"{len(promised)} ids and {jobs} jobs came of {expected} and {2 * self.jobs} submissions"
            )
        if self.impatient.running:
            found.faults.append("a client that was cancelled did not end")
        if not self.settled:
            found.faults.append(f"not all came to an end in {PATIENCE:.0f} s")
        found.faults += [f"{request}: a redirect was followed" for request in self.proxy.elsewhere]
        if found.failed["not_an_image"]:
            found.faults.append("a page in an image's place was taken for the image")
        found.faults += [line for line in self.crowd.printed() if line.startswith("fault")]
        return found


def _ids(part: Part) -> set[str]:
    return {line for line in part.printed() if len(line) == 32}
