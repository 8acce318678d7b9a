"""API keys: who may submit, how often, and how large the images may be."""

from __future__ import annotations

import hashlib
import hmac
import math
import secrets
import threading
import time
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grainserve.admission import MAX_MIB
from grainserve.errors import GrainserveError, InvalidConfiguration
from grainserve.jobs.store import check_submitter

MIB = 2**20


class Unauthorized(GrainserveError):
    """The request holds no key, or an unknown one."""

    code = "unauthorized"


class ReadOnly(GrainserveError):
    """The key only reads."""

    code = "read_only"

    def __init__(self, name: str) -> None:
        super().__init__(f"the key {name!r} only reads: it submits, changes and deletes nothing")


class TooManyRequests(GrainserveError):
    """The caller's requests are used up for now.

    Attributes:
        seconds: time until the next request is allowed, s.
    """

    code = "too_many_requests"

    def __init__(self, seconds: float) -> None:
        super().__init__(f"too many requests for this key: wait {seconds:.0f} s")
        self.seconds = seconds


@dataclass(frozen=True)
class Caller:
    """The owner of a key, with its limits.

    Attributes:
        name: name of the key, which holds its shares and signs its changes.
        requests_per_minute: average rate at one gateway, 1 or more; twice as many requests may come at once.
        max_bytes: size of the largest image, bytes.
        submitter: submitter of the caller's jobs; empty for the key's name.
        read_only: whether the key only reads the submitter's jobs.
    """

    name: str
    requests_per_minute: float = 600
    max_bytes: int = MAX_MIB * MIB
    submitter: str = ""
    read_only: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "submitter", self.submitter or self.name)
        if not 1 <= self.requests_per_minute < math.inf:  # below 0.5, the burst of twice the rate is less than one
            raise ValueError(f"{self.name}: requests_per_minute is {self.requests_per_minute:g}, it must be 1 or more")


class Keys:
    """Known keys, each stored as its SHA-256.

    Keys are 32 random bytes, too many to try, so a plain hash is enough. Keys are compared in constant time.

    Args:
        callers: callers by the digest of their key, 32 bytes each; when empty, no key is asked for.
        everybody: caller of every request while no key is asked for.
    """

    def __init__(self, callers: Mapping[bytes, Caller], everybody: Caller = Caller("web")) -> None:
        self._callers = dict(callers)
        self._everybody = everybody

    @classmethod
    def read(cls, path: Path) -> Keys:
        """Reads a TOML file of keys: a table for each caller, as `grainserve keygen` prints it.

        Raises:
            InvalidConfiguration: the file cannot be read, or holds no valid tables.
        """
        try:
            tables = tomllib.loads(path.read_text(encoding="utf-8"))
            callers = {bytes.fromhex(table["sha256"]): _caller(name, table) for name, table in tables.items()}
        except OSError as error:
            raise InvalidConfiguration(
                f"{path} cannot be read ({error.strerror or error}): `grainserve keygen NAME >> {path}` makes it"
            ) from None
        except (tomllib.TOMLDecodeError, KeyError, TypeError, ValueError) as error:
            raise InvalidConfiguration(
                f"{path} holds no API keys ({error!r}): see `grainserve keygen --help`"
            ) from None
        if not callers or any(len(digest) != 32 for digest in callers):
            raise InvalidConfiguration(f"{path} holds no API keys, or one whose sha256 is cut short")
        return cls(callers)

    @property
    def open(self) -> bool:
        """Whether no key is asked for."""
        return not self._callers

    def caller(self, key: str | None) -> Caller:
        """Returns the caller that owns this key.

        Args:
            key: key as the request holds it; None: the request holds none.

        Raises:
            Unauthorized: keys are asked for, and this one is missing or unknown.
        """
        if self.open:
            return self._everybody
        digest = hashlib.sha256((key or "").encode()).digest()
        matches = [caller for known, caller in self._callers.items() if hmac.compare_digest(known, digest)]
        if not matches:
            raise Unauthorized(
                "this is no valid API key here: check it, or have one made by `grainserve keygen`"
                if key
                else "no valid API key: this gateway wants one, as the header `Authorization: Bearer KEY`"
            )
        return matches[0]


def _caller(name: str, table: Mapping[str, Any]) -> Caller:
    unknown = set(table) - {"sha256", "requests_per_minute", "max_mib", "submitter", "read_only"}
    if unknown:
        raise ValueError(f"{name}: unknown setting {', '.join(sorted(unknown))}")
    rate, mib = float(table.get("requests_per_minute", 600)), float(table.get("max_mib", MAX_MIB))
    if not 0 < mib <= MAX_MIB:
        raise ValueError(f"{name}: max_mib is {mib:g}, it must be over 0 and up to {MAX_MIB}")
    read_only, submitter = table.get("read_only", False), table.get("submitter", name)
    if not isinstance(read_only, bool):
        raise TypeError(f"{name}: read_only is {read_only!r}, it must be true or false")
    if submitter != name and not read_only:
        raise ValueError(f"{name}: only a key with read_only = true is for another submitter's images")
    return Caller(check_submitter(name), rate, int(mib * MIB), check_submitter(submitter), read_only)


def make_key(name: str, *, read_only: bool = False, submitter: str | None = None) -> tuple[str, str]:
    """Makes a key.

    Args:
        name: name of the key, and submitter of the caller's jobs.
        read_only: whether the key only reads.
        submitter: whose jobs a key reads that only reads; None for those of `name`.

    Returns:
        The key, for the caller, and the TOML table for the file of keys.

    Raises:
        InvalidConfiguration: a name is not allowed, or `submitter` is given for a key that writes.
    """
    if submitter is not None and not read_only:
        raise InvalidConfiguration(
            "only a key that only reads is for another submitter's images: give --read-only, too"
        )
    key = secrets.token_urlsafe(32)
    digest = hashlib.sha256(key.encode()).hexdigest()
    rights = f'read_only = true\nsubmitter = "{check_submitter(submitter or name)}"\n' if read_only else ""
    table = f'[{check_submitter(name)}]\nsha256 = "{digest}"\nrequests_per_minute = 600\nmax_mib = {MAX_MIB}\n{rights}'
    return key, table


class Rates:
    """The number of requests that each caller has left. It begins at two minutes' worth, its maximum, and refills.

    Args:
        clock: returns the time, s; need not be the time of day.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._left: dict[str, tuple[float, float]] = {}  # by name: requests left, and when

    def take(self, caller: Caller) -> None:
        """Counts a request of this caller.

        Raises:
            TooManyRequests: the caller has no request left.
        """
        now, burst, rate = self._clock(), 2 * caller.requests_per_minute, caller.requests_per_minute / 60
        with self._lock:
            left, then = self._left.get(caller.name, (burst, now))
            left = min(burst, left + (now - then) * rate)
            if left < 1:
                self._left[caller.name] = (left, now)
                raise TooManyRequests((1 - left) / rate)
            self._left[caller.name] = (left - 1, now)
