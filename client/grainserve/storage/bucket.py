"""Objects in a GCS bucket, with generation preconditions and typed errors.

Works the same against production and an emulator (`STORAGE_EMULATOR_HOST`, read by google-cloud-storage itself).
Only generation preconditions are used: the emulator does not enforce metageneration ones.
"""

from __future__ import annotations

import base64
import os
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import google_crc32c
import requests
from google.api_core import exceptions as api
from google.auth import exceptions as auth
from google.cloud import storage
from google.cloud.storage.exceptions import DataCorruption
from google.cloud.storage.retry import DEFAULT_RETRY

from grainserve.config import BUCKET, check_address
from grainserve.errors import BucketNotFound, StorageError, StorageFull, StorageRefused, StorageUnreachable
from grainserve.storage.clock import ServerClock, written_at

EMULATOR = "STORAGE_EMULATOR_HOST"
CONNECTIONS = 64
"""Kept open at once: each thread of a dispatcher or gateway has one."""
NO_ROOM = ("no space left", "disk quota", "enospc")
"""How a full disk reads in the emulator's answers."""
PROBES, PROBE_BYTES = "probes/", 2**20
PART = 2**20
"""Bytes of an object that is read in parts."""
READS = 3
"""How often an object is read that comes with the wrong checksum."""


class PreconditionFailed(StorageError):
    """The object is not at the generation it had to be at: another writer was first."""

    code = "precondition_failed"


def connect() -> storage.Client:
    """Makes a client from the environment; it reads STORAGE_EMULATOR_HOST and credentials itself."""
    # Else a thread of the library asks for the bucket's own metadata, for traces nobody reads: a call that object roles
    # do not allow, retried for two minutes behind the back of whoever was told that GCS does not answer.
    os.environ.setdefault("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")
    if emulator := os.environ.get(EMULATOR):
        check_address(emulator, EMULATOR)
    client = storage.Client()
    client._http.max_redirects = 0  # GCS never redirects; whoever does would have images and tokens sent elsewhere
    return client


def check_emulator() -> None:
    """Asks the emulator once, where there is to be one: one that does not run is known at once, without patience.

    Raises:
        StorageUnreachable: it does not answer.
        InvalidConfiguration: its address is none.
    """
    emulator = os.environ.get(EMULATOR)
    if emulator:
        with translated("asking for it", os.environ.get(BUCKET, "")):
            requests.get(check_address(emulator, EMULATOR), timeout=10, allow_redirects=False)


@dataclass(frozen=True)
class Found:
    """An object that is there.

    Attributes:
        name: its name.
        generation: what it is now, by GCS's number.
        written: when that was written, GCS's time.
    """

    name: str
    generation: int
    written: datetime


@dataclass(frozen=True)
class Stored:
    """An object's bytes and the generation they belong to.

    Attributes:
        data: the bytes.
        generation: theirs.
        written: when it was written, GCS's time, UTC, to a second; None where storage does not say.
    """

    data: bytes
    generation: int
    written: datetime | None = None


@dataclass(frozen=True)
class Opened:
    """An object to be read in parts, all of one generation.

    Attributes:
        size: bytes.
        parts: PART bytes each, but for the last one, which comes if the CRC32C of all is the object's. Each is asked
            for when it is taken, and may raise StorageError.
    """

    size: int
    parts: Iterator[bytes]


class Bucket:
    """One bucket.

    Args:
        name: the bucket's name.
        client: a google-cloud-storage client; made from the environment when not given.
        patience: seconds a call is retried before GCS counts as unreachable.

    Attributes:
        clock: GCS's, known from the first answer on.
    """

    def __init__(self, name: str, client: storage.Client | None = None, *, patience: float = 20.0) -> None:
        self.name = name
        self.clock = ServerClock()
        self._heard = threading.local()  # what this thread's last answer said beside its bytes
        with self._translated("reading credentials"):
            self.client = client or connect()
            # The library keeps the headers of its answers to itself; its requests session does not.
            self.client._http.hooks["response"].append(self._hear)
            for scheme in ("https://", "http://"):
                self.client._http.mount(scheme, requests.adapters.HTTPAdapter(pool_maxsize=CONNECTIONS))
        self._bucket = self.client.bucket(name)
        # The library's own default is two minutes of silence, too long for someone at a terminal.
        self._full = False
        retry = DEFAULT_RETRY.with_predicate(_is_worth_another).with_timeout(patience)
        self._call = {"retry": retry, "timeout": (5.0, 60.0)}

    def create(self, name: str, data: bytes, content_type: str) -> int:
        """Writes an object that must not exist yet; returns its generation.

        Raises:
            PreconditionFailed: it exists. A retried write whose first answer was lost ends here too.
        """
        return self._write(name, data, content_type, 0)

    def replace(self, name: str, data: bytes, content_type: str, generation: int) -> int:
        """Writes an object that must still be at `generation`; returns its new generation.

        Raises:
            PreconditionFailed: another writer was first, or a retried write's first answer was lost.
        """
        return self._write(name, data, content_type, generation)

    def read(self, name: str) -> Stored | None:
        """Returns the object, or None where GCS says that there is none.

        What anybody else says in GCS's place, a balancer's page for one, says nothing about the object.
        """
        blob = self._bucket.blob(name)
        with self._translated(f"reading {name}"):
            for left in reversed(range(READS)):
                try:
                    data = blob.download_as_bytes(checksum="crc32c", **self._call)
                except api.NotFound:
                    return None
                except DataCorruption:  # on its way, as a rule: the library notices, and leaves it to us to ask again
                    if not left:
                        raise
                else:
                    break
        # The download's own headers set the generation: bytes and generation belong together.
        return Stored(data, int(blob.generation), self._heard.written)

    def open(self, name: str) -> Opened | None:
        """Opens an object that may be too large to hold; None where there is none."""
        with self._translated(f"looking up {name}"):
            blob = self._bucket.get_blob(name, **self._call)
        if blob is None:
            return None
        size = int(blob.size)
        return Opened(size, self._parts(name, size, int(blob.generation), blob.crc32c))

    def _parts(self, name: str, size: int, generation: int, whole: str) -> Iterator[bytes]:
        blob = self._bucket.blob(name)  # anew: the one looked up would be read wherever its answer's link leads
        checksum = google_crc32c.Checksum()
        for start in range(0, size, PART):
            end = min(start + PART, size)
            with self._translated(f"reading {name}"):
                try:
                    data = blob.download_as_bytes(
                        start=start,
                        end=end - 1,
                        raw_download=True,
                        checksum=None,
                        if_generation_match=generation,
                        **self._call,
                    )
                except (api.NotFound, api.PreconditionFailed):
                    raise StorageError(f"{name} was deleted or replaced while it was read") from None
            checksum.update(data)
            if end == size and base64.b64encode(checksum.digest()).decode() != whole:
                raise StorageError(f"GCS: reading {name} in bucket {self.name!r} gave spoilt bytes")
            yield data

    def find(self, name: str) -> Found | None:
        """Looks an object up, without its bytes; None where GCS says that there is none."""
        blob = self._bucket.blob(name)
        with self._translated(f"looking up {name}"):
            try:
                blob.reload(**self._call)
            except api.NotFound:
                return None
        return _found(blob)

    def exists(self, name: str) -> bool:
        """Whether the object exists."""
        return self.find(name) is not None

    def delete(self, name: str, generation: int) -> None:
        """Deletes an object that is at this generation; one that is gone, or was written again, stays as it is."""
        with self._translated(f"deleting {name}"):
            try:
                self._bucket.blob(name).delete(if_generation_match=generation, **self._call)
            except (api.NotFound, api.PreconditionFailed):
                return

    def names(self, prefix: str, *, start: str = "", limit: int | None = None) -> Iterator[str]:
        """Yields the names of the objects under a prefix, as `entries` does."""
        return (found.name for found in self.entries(prefix, start=start, limit=limit))

    def entries(self, prefix: str, *, start: str = "", end: str = "", limit: int | None = None) -> Iterator[Found]:
        """Yields the objects under a prefix, in order of their names, 1000 a call.

        Args:
            prefix: what the names begin with.
            start: names before this one are left out; GCS does not look at them.
            end: so are this one and those after it.
            limit: how many at most; one call for up to 1000.
        """
        with self._translated(f"listing {prefix}"):
            found = self.client.list_blobs(
                self._bucket,
                prefix=prefix,
                start_offset=start or None,
                end_offset=end or None,
                max_results=limit,
                fields="items(name,generation,timeCreated),nextPageToken",
                **self._call,
            )
            for blob in found:
                yield _found(blob)

    def folders(self, prefix: str) -> list[str]:
        """Returns what follows the prefix up to the next slash, each once: one call for up to 1000 of them."""
        with self._translated(f"listing {prefix}"):
            found = self.client.list_blobs(
                self._bucket, prefix=prefix, delimiter="/", fields="prefixes,nextPageToken", **self._call
            )
            for _ in found.pages:
                pass
            return sorted(name.removeprefix(prefix).rstrip("/") for name in found.prefixes)

    def _hear(self, response: requests.Response, *_: Any, **__: Any) -> None:
        if response.ok and not _answers(response):
            response.close()
            # Tried again like one that was lost: the library would take it at its word, or stumble over it.
            raise requests.ConnectionError(f"what came was no answer to {response.request.method} {response.url}")
        self.clock.hear(response)
        self._heard.written = written_at(response)

    def _write(self, name: str, data: bytes, content_type: str, generation: int) -> int:
        blob = self._bucket.blob(name)
        with self._translated(f"writing {name}"):
            try:
                blob.upload_from_string(
                    data, content_type=content_type, if_generation_match=generation, checksum="crc32c", **self._call
                )
            except api.PreconditionFailed:
                raise PreconditionFailed(f"{name} is not at generation {generation}") from None
            except (api.RetryError, requests.RequestException, api.ServerError) as error:
                self._full = _no_room(error)
                raise
        self._full = False
        return int(blob.generation)

    def check_room(self) -> None:
        """Tries a small write where the last one found no room; reading goes on in a full storage.

        Raises:
            StorageFull: there is still none.
        """
        if self._full:
            name = f"{PROBES}{uuid.uuid4().hex}"
            self.delete(name, self.create(name, bytes(PROBE_BYTES), "text/plain"))

    @contextmanager
    def _translated(self, action: str) -> Iterator[None]:
        with translated(action, self.name):
            yield


@contextmanager
def translated(action: str, bucket: str) -> Iterator[None]:
    """Turns the errors of google-cloud-storage into this package's, saying what to do."""
    try:
        yield
    except api.NotFound:
        raise BucketNotFound(
            f"bucket {bucket!r} does not exist ({action}): create it, or set GRAINSERVE_BUCKET or "
            "GRAINSERVE_WEIGHTS_BUCKET to one that does"
        ) from None
    except (api.Forbidden, api.Unauthorized, auth.DefaultCredentialsError, auth.RefreshError) as error:
        raise StorageRefused(
            f"GCS refused {action} in bucket {bucket!r} ({_first_line(error)}): run `gcloud auth application-default "
            "login`, or set STORAGE_EMULATOR_HOST for an emulator"
        ) from error
    except (api.RetryError, requests.RequestException, auth.TransportError, api.ServerError) as error:
        cause = _cause(error)
        if _no_room(error):
            raise StorageFull(
                f"there is no room left in storage ({action} in bucket {bucket!r}: {cause}): free disk where the "
                "emulator keeps its objects (.run/gcs with `make serve`)"
            ) from error
        where = os.environ.get(EMULATOR)
        remedy = (
            f"is the emulator at {where} (STORAGE_EMULATOR_HOST) running? `make serve` starts one"
            if where
            else "check the network; for an emulator, set STORAGE_EMULATOR_HOST"
        )
        raise StorageUnreachable(f"GCS does not answer ({action} in bucket {bucket!r}: {cause}): {remedy}") from error
    except DataCorruption as error:
        raise StorageError(f"GCS: {action} in bucket {bucket!r} gave spoilt bytes: {_first_line(error)}") from error
    except api.GoogleAPICallError as error:
        raise StorageError(f"GCS: {action} in bucket {bucket!r} failed: {_first_line(error)}") from error


def _found(blob: storage.Blob) -> Found:
    return Found(str(blob.name), int(blob.generation), blob.time_created)


def _answers(success: requests.Response) -> bool:
    """Checks that a success answers what was asked, as far as GCS's answers tell.

    The bytes of an object come with its generation; what is known of an object, with its name and generation; a listing
    is of the names asked for. Redirects and the steps of a large upload say nothing.
    """
    url = urlsplit(success.url)
    asked = parse_qs(url.query)
    if success.status_code not in (200, 206) or asked.get("uploadType") == ["resumable"]:
        return True
    if asked.get("alt") == ["media"]:
        return "X-Goog-Generation" in success.headers
    if success.request.method == "DELETE":
        return True
    try:
        found = success.json()
        _, _, name = url.path.partition("/o/")
        if not name and success.request.method == "GET":
            prefix = asked.get("prefix", [""])[0]
            listed = [each["name"] for each in found.get("items", ())]
            return all(name.startswith(prefix) for name in [*listed, *found.get("prefixes", ())])
        return int(found["generation"]) > 0 and (not name or found["name"] == unquote(name))
    except (ValueError, LookupError, TypeError, AttributeError):
        return False


def _is_worth_another(error: Exception) -> bool:
    """Whether a call is tried again: GCS has too much to do, did not answer, or it was not GCS that answered."""
    answer = getattr(error, "response", None)
    if isinstance(answer, requests.Response) and answer.status_code == 404:
        return not _is_own_404(answer)
    return bool(DEFAULT_RETRY._predicate(error))


def _is_own_404(answer: requests.Response) -> bool:
    """Whether a 404 is GCS's, or its emulator's, word that there is no such object or bucket.

    It is JSON; to a question for an object's bytes it is a line of text, the emulator's being shorter than GCS's. GCS
    numbers its answers in a header.
    """
    real = (urlsplit(answer.url).hostname or "").endswith(".googleapis.com")
    if real and "X-GUploader-UploadID" not in answer.headers:
        return False
    try:
        return bool(answer.json()["error"]["code"] == 404)
    except (ValueError, LookupError, TypeError):
        said = answer.text.strip()
        words = ("No such object: ", "The specified bucket does not exist")
        return said.startswith(words) if real else said == "Not Found"


def _no_room(error: BaseException) -> bool:
    return any(words in _cause(error).lower() for words in NO_ROOM)


def _cause(error: BaseException) -> str:
    """The innermost reason that has words: google-cloud-storage and urllib3 wrap it, some of them in nothing."""
    reasons: list[BaseException] = []
    inner: BaseException | None = error
    while inner is not None and inner not in reasons:
        if said := _answered(inner):
            return said
        reasons.append(inner)
        given = getattr(inner, "cause", None) or getattr(inner, "reason", None) or next(iter(inner.args), None)
        inner = given if isinstance(given, BaseException) else inner.__cause__
    return next((said for each in reversed(reasons) if (said := _first_line(each)).strip()), type(error).__name__)


def _answered(error: BaseException) -> str | None:
    """Finds GCS's own words in the answer that the library turned into this error; None where there are none."""
    answer = getattr(error, "response", None)
    if not isinstance(answer, requests.Response):
        return None
    try:
        return str(answer.json()["error"]["message"])[:200] or None
    except (ValueError, LookupError, TypeError):  # a proxy's, say
        return None


def _first_line(error: BaseException) -> str:
    """Words an error: an answer's in GCS's own words, since the library's are about status codes."""
    answer = getattr(error, "response", None)
    said = str(error)
    if isinstance(answer, requests.Response) and answer.text:
        said = f"{answer.status_code} {_body(answer)}"
    return (said.splitlines() or [type(error).__name__])[0][:200]


def _body(answer: requests.Response) -> str:
    """The message of an error's body: JSON, from GCS and its emulator, or text, from what lies between."""
    try:
        return str(answer.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return answer.text.strip()
