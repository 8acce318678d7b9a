"""Objects in a GCS bucket, with generation preconditions and typed errors.

It works the same against production and an emulator (`STORAGE_EMULATOR_HOST`, read by google-cloud-storage itself). It
uses generation preconditions only: the emulator does not enforce metageneration ones.
"""

from __future__ import annotations

import base64
import os
import threading
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
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
"""Connections kept open at once: each thread of a dispatcher or gateway has one."""
NO_ROOM = ("no space left", "disk quota", "enospc")
"""Words in the emulator's answers that tell of a full disk."""
PROBES, PROBE_BYTES = "probes/", 2**20
PART = 2**20
"""Size of the parts that an object is read in, bytes."""
READS = 3
"""Times an object is read if it arrives with the wrong checksum."""


class PreconditionFailed(StorageError):
    """The object is not at the expected generation: another writer was first."""

    code = "precondition_failed"


def connect() -> storage.Client:
    """Makes a google-cloud-storage client, which reads STORAGE_EMULATOR_HOST and credentials from the environment."""
    # Else a thread of the library asks for the bucket's metadata, for traces that nobody reads. Roles for objects do
    # not allow that call, and it is retried for two minutes, even after the caller was told that GCS does not answer.
    os.environ.setdefault("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")
    if emulator := os.environ.get(EMULATOR):
        check_address(emulator, EMULATOR)
    client = storage.Client()
    client._http.max_redirects = 0  # GCS never redirects; a redirect would send images and tokens elsewhere
    return client


def check_emulator() -> None:
    """Asks the emulator once, if there should be one, so that a missing one is known without retries.

    Raises:
        StorageUnreachable: the emulator does not answer.
        InvalidConfiguration: its address is no address.
    """
    emulator = os.environ.get(EMULATOR)
    if emulator:
        with translated("asking for it", os.environ.get(BUCKET, "")):
            requests.get(check_address(emulator, EMULATOR), timeout=10, allow_redirects=False)


@dataclass(frozen=True)
class Found:
    """An object that exists, without its bytes.

    Attributes:
        name: object name.
        generation: current generation of the object.
        written: when this generation was written, GCS's time.
        size: size of this generation, bytes.
        metadata: what the writer said of this generation, by name.
    """

    name: str
    generation: int
    written: datetime
    size: int
    metadata: Mapping[str, str] = field(default_factory=dict, compare=False)


@dataclass(frozen=True)
class Stored:
    """An object's bytes and their generation.

    Attributes:
        data: the bytes.
        generation: generation of these bytes.
        written: when they were written, GCS's time, UTC, to a second; None where storage does not say.
    """

    data: bytes
    generation: int
    written: datetime | None = None


@dataclass(frozen=True)
class Opened:
    """An object to be read in parts, all of one generation.

    Attributes:
        size: size of the object, bytes.
        parts: the object's bytes, PART at a time. Each part is fetched when it is taken, and may raise StorageError.
            The last part, which may be shorter, comes only if the CRC32C of all parts is the object's.
    """

    size: int
    parts: Iterator[bytes]


class Bucket:
    """One GCS bucket.

    Args:
        name: the bucket's name.
        client: google-cloud-storage client; None makes one from the environment.
        patience: seconds for which a call is retried before GCS counts as unreachable.

    Attributes:
        clock: GCS's clock, known from the first answer on.
    """

    def __init__(self, name: str, client: storage.Client | None = None, *, patience: float = 20.0) -> None:
        self.name = name
        self.clock = ServerClock()
        self._heard = threading.local()  # `written`, from this thread's last answer
        with self._translated("reading credentials"):
            self.client = client or connect()
            # The library does not pass on the headers of its answers; a hook of its requests session sees them.
            self.client._http.hooks["response"].append(self._hear)
            for scheme in ("https://", "http://"):
                self.client._http.mount(scheme, requests.adapters.HTTPAdapter(pool_maxsize=CONNECTIONS))
        self._bucket = self.client.bucket(name)
        # The library's own default is two minutes of silence, too long for someone at a terminal.
        self._full = False
        retry = DEFAULT_RETRY.with_predicate(_is_worth_another).with_timeout(patience)
        self._call = {"retry": retry, "timeout": (5.0, 60.0)}

    def create(self, name: str, data: bytes, content_type: str, metadata: Mapping[str, str] | None = None) -> int:
        """Writes an object that must not exist yet; returns its generation.

        Args:
            name: name of the object.
            data: its bytes.
            content_type: its MIME type.
            metadata: what listings say of it, by name, a few KB in all.

        Raises:
            PreconditionFailed: the object exists. A retried write whose first answer was lost ends here too.
        """
        return self._write(name, data, content_type, 0, metadata)

    def replace(
        self, name: str, data: bytes, content_type: str, generation: int, metadata: Mapping[str, str] | None = None
    ) -> int:
        """Writes an object that must still be at `generation`; returns its new generation. See `create`.

        Raises:
            PreconditionFailed: another writer was first, or a retried write's first answer was lost.
        """
        return self._write(name, data, content_type, generation, metadata)

    def read(self, name: str) -> Stored | None:
        """Returns the object, or None where GCS says that there is none.

        Only GCS's own answer counts: a page from a load balancer in its place says nothing about the object.
        """
        blob = self._bucket.blob(name)
        with self._translated(f"reading {name}"):
            for left in reversed(range(READS)):
                try:
                    data = blob.download_as_bytes(checksum="crc32c", **self._call)
                except api.NotFound:
                    return None
                except DataCorruption:  # damaged on its way, as a rule; the library notices, but does not ask again
                    if not left:
                        raise
                else:
                    break
        # The download's own headers set the generation: bytes and generation belong together.
        return Stored(data, int(blob.generation), self._heard.written)

    def open(self, name: str) -> Opened | None:
        """Opens an object that may be too large for memory; returns None where there is none."""
        with self._translated(f"looking up {name}"):
            blob = self._bucket.get_blob(name, **self._call)
        if blob is None:
            return None
        size = int(blob.size)
        return Opened(size, self._parts(name, size, int(blob.generation), blob.crc32c))

    def _parts(self, name: str, size: int, generation: int, whole: str) -> Iterator[bytes]:
        blob = self._bucket.blob(name)  # a new one: the one looked up would be read from the link in its answer
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

    def read_part(self, found: Found, start: int, end: int) -> bytes | None:
        """Returns some bytes of an object as they are stored; None where the object was deleted or replaced.

        Args:
            found: object to read, of this generation.
            start: first byte to read.
            end: first byte to leave out.
        """
        blob = self._bucket.blob(found.name, generation=found.generation)
        with self._translated(f"reading {found.name}"):
            try:
                data: bytes = blob.download_as_bytes(
                    start=start, end=end - 1, raw_download=True, checksum=None, **self._call
                )
            except api.NotFound:
                return None
        return data

    def copy(self, source: Bucket, found: Found, name: str, content_type: str) -> int | None:
        """Copies an object of another bucket within GCS, into an object that must not exist yet.

        Args:
            source: bucket of the object.
            found: object to copy, of this generation.
            name: name of the new object.
            content_type: MIME type of the new object; the source's other metadata are not copied.

        Returns:
            The new object's generation; None where the source was deleted or replaced.

        Raises:
            PreconditionFailed: the new object exists. A retried copy whose first answer was lost ends here too.
        """
        original = source._bucket.blob(found.name, generation=found.generation)
        blob, token = self._bucket.blob(name), None
        blob.content_type = content_type
        with self._translated(f"copying {found.name} of bucket {source.name!r}"):
            while True:
                try:
                    token, _, _ = blob.rewrite(original, token=token, if_generation_match=0, **self._call)
                except api.PreconditionFailed:
                    raise PreconditionFailed(f"{name} exists") from None
                except api.NotFound:
                    there = source.find(found.name)
                    if there is None or there.generation != found.generation:
                        return None
                    raise  # the other bucket is the one that is missing
                if token is None:  # a large object, or one of another region, takes several calls
                    return int(blob.generation)

    def find(self, name: str) -> Found | None:
        """Looks an object up without reading its bytes; returns None where GCS says that there is none."""
        blob = self._bucket.blob(name)
        with self._translated(f"looking up {name}"):
            try:
                blob.reload(**self._call)
            except api.NotFound:
                return None
        return _found(blob)

    def exists(self, name: str) -> bool:
        """Tells whether the object exists."""
        return self.find(name) is not None

    def delete(self, name: str, generation: int) -> None:
        """Deletes an object at this generation; an object that is gone, or was written again, stays as it is."""
        with self._translated(f"deleting {name}"):
            try:
                self._bucket.blob(name).delete(if_generation_match=generation, **self._call)
            except (api.NotFound, api.PreconditionFailed):
                return

    def names(self, prefix: str, *, start: str = "", limit: int | None = None) -> Iterator[str]:
        """Yields the names of the objects under a prefix; see `entries`."""
        return (found.name for found in self.entries(prefix, start=start, limit=limit))

    def entries(self, prefix: str, *, start: str = "", end: str = "", limit: int | None = None) -> Iterator[Found]:
        """Yields the objects under a prefix, in order of their names, 1000 per call.

        Args:
            prefix: what the names begin with.
            start: lowest name to yield; GCS skips the names before it.
            end: lowest name to leave out; all names after it are left out, too.
            limit: largest number of objects; up to 1000 need one call.
        """
        with self._translated(f"listing {prefix}"):
            found = self.client.list_blobs(
                self._bucket,
                prefix=prefix,
                start_offset=start or None,
                end_offset=end or None,
                max_results=limit,
                fields="items(name,generation,timeCreated,size,metadata),nextPageToken",
                **self._call,
            )
            for blob in found:
                yield _found(blob)

    def folders(self, prefix: str) -> list[str]:
        """Returns the folders under a prefix, sorted: the part of the names after it, up to the next slash.

        Each folder comes once. One call brings up to 1000 of them.
        """
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
            # Retried like a lost answer: the library would believe this one, or fail on it.
            raise requests.ConnectionError(f"what came was no answer to {response.request.method} {response.url}")
        self.clock.hear(response)
        self._heard.written = written_at(response)

    def _write(
        self, name: str, data: bytes, content_type: str, generation: int, metadata: Mapping[str, str] | None = None
    ) -> int:
        blob = self._bucket.blob(name)
        blob.metadata = dict(metadata) if metadata else None
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
        """Tries a small write if the last write found no room: reads go on when storage is full.

        Raises:
            StorageFull: there is still no room.
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
    """Turns the errors of google-cloud-storage into this package's, which say what to do.

    Args:
        action: what is being done, for the message.
        bucket: name of the bucket, for the message.
    """
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
    return Found(str(blob.name), int(blob.generation), blob.time_created, int(blob.size), blob.metadata or {})


def _answers(success: requests.Response) -> bool:
    """Tells whether a success answers what was asked, as far as GCS's answers show.

    The bytes of an object come with its generation. An object's metadata comes with its name and generation. A listing
    has only names under the prefix asked for. A copy has a token for its next step, or the new object's name and
    generation. Redirects and the steps of a large upload show nothing.
    """
    url = urlsplit(success.url)
    asked = parse_qs(url.query)
    silent = success.status_code not in (200, 206) or success.request.method == "DELETE"
    if silent or asked.get("uploadType") == ["resumable"]:
        return True
    if asked.get("alt") == ["media"]:
        return "X-Goog-Generation" in success.headers
    try:
        found = success.json()
        _, _, name = url.path.partition("/o/")
        if "/rewriteTo/" in name and not found["done"]:
            return bool(found["rewriteToken"])
        if "/rewriteTo/" in name:
            found, (_, _, name) = found["resource"], name.partition("/o/")
        elif not name and success.request.method == "GET":
            prefix = asked.get("prefix", [""])[0]
            listed = [each["name"] for each in found.get("items", ())]
            return all(name.startswith(prefix) for name in [*listed, *found.get("prefixes", ())])
        return int(found["generation"]) > 0 and (not name or found["name"] == unquote(name))
    except (ValueError, LookupError, TypeError, AttributeError):
        return False


def _is_worth_another(error: Exception) -> bool:
    """Tells whether to retry a call: GCS is overloaded, did not answer, or was not the one that answered."""
    answer = getattr(error, "response", None)
    if isinstance(answer, requests.Response) and answer.status_code == 404:
        return not _is_own_404(answer)
    return bool(DEFAULT_RETRY._predicate(error))


def _is_own_404(answer: requests.Response) -> bool:
    """Tells whether a 404 is the word of GCS, or of its emulator, that there is no such object or bucket.

    Such an answer is JSON. If an object's bytes were asked for, it is a line of text instead, and the emulator's line
    is shorter than GCS's. GCS also puts an id into a header of each answer.
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
    """Returns the innermost reason that has words: google-cloud-storage and urllib3 wrap it, some without words."""
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
    """Returns GCS's own words from the answer that the library turned into this error; None where there are none."""
    answer = getattr(error, "response", None)
    if not isinstance(answer, requests.Response):
        return None
    try:
        return str(answer.json()["error"]["message"])[:200] or None
    except (ValueError, LookupError, TypeError):  # a proxy's answer, say
        return None


def _first_line(error: BaseException) -> str:
    """Describes an error in one line, in GCS's own words where it answered: the library's are about status codes."""
    answer = getattr(error, "response", None)
    said = str(error)
    if isinstance(answer, requests.Response) and answer.text:
        said = f"{answer.status_code} {_body(answer)}"
    return (said.splitlines() or [type(error).__name__])[0][:200]


def _body(answer: requests.Response) -> str:
    """Returns the message in an error's body: JSON from GCS and its emulator, or text from a proxy."""
    try:
        return str(answer.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return answer.text.strip()
