"""The client: submit an image, poll for its result."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from os import PathLike
from types import TracebackType
from typing import Any, Self

from rich.progress import track

from grainserve import config
from grainserve.contract import validate_options
from grainserve.deadline import Deadline
from grainserve.dispatch.dispatcher import Dispatcher
from grainserve.errors import GrainserveError, InvalidConfiguration, WaitTimeout
from grainserve.images import MAX_SIDE, ImageFile, ImageSource
from grainserve.jobs.job import State
from grainserve.jobs.markers import Ticket
from grainserve.jobs.pubsub import from_environment
from grainserve.jobs.store import JobStore, check_submitter
from grainserve.jobs.withdrawal import withdraw
from grainserve.large_images import fetched, submit_tiles
from grainserve.result import Result
from grainserve.scale import Mode, with_scale
from grainserve.scale.databar import with_databar
from grainserve.storage.bucket import Bucket
from grainserve.submission import Submission
from grainserve.tiles.layout import LARGEST_GRAIN
from grainserve.torchserve.inference import TorchServe

Progress = Callable[[State, GrainserveError | None], None]
JobsDone = Callable[[int, int], None]

SHORTEST_PAUSE, LONGEST_PAUSE, PAUSES_GROW = 0.05, 1.0, 1.3
"""Pauses between looks for a result, s, and the factor from each to the next."""


class Client:
    """Sends images and brings results. Any number of threads may use one.

    A dispatcher in background threads of this process does the work that is pending in the bucket, from the first
    `submit` or `wait` until `close`. Jobs unfinished then stay in the bucket for whichever dispatcher comes next.

    Args:
        torchserve: inference URL; default GRAINSERVE_TORCHSERVE.
        bucket: bucket of images, jobs and results; default GRAINSERVE_BUCKET.
        model: default GRAINSERVE_MODEL, else `sam_tiny`.
        version: model version; None for TorchServe's default one.
        management: management URL, or `none` where it cannot be reached; default GRAINSERVE_MANAGEMENT.
        submitter: whose jobs these are: dispatchers serve submitters in turn; default GRAINSERVE_SUBMITTER, else the
            user's name.
        dispatch: False leaves the work to dispatchers elsewhere.
        concurrency: jobs at once in this process, at most.
        lease: seconds after which others take over what this process had in hand when it died.

    Raises:
        InvalidConfiguration: a setting is missing.
    """

    def __init__(
        self,
        torchserve: str | None = None,
        bucket: str | None = None,
        model: str | None = None,
        version: str | None = None,
        *,
        management: str | None = None,
        submitter: str | None = None,
        dispatch: bool = True,
        concurrency: int = 2,
        lease: float = 60.0,
    ) -> None:
        if concurrency < 1:
            raise InvalidConfiguration(f"concurrency is {concurrency}; it must be 1 or more")
        self.model = config.setting(model, config.MODEL)
        self.version = version
        self.submitter = check_submitter(config.submitter(submitter))
        self.store = JobStore(
            Bucket(config.setting(bucket, config.BUCKET)),
            lease=timedelta(seconds=lease),
            notifications=from_environment(),
        )
        self.torchserve = TorchServe(config.setting(torchserve, config.TORCHSERVE), config.management(management))
        self._dispatch = dispatch
        self._concurrency = concurrency
        self._lock = threading.Lock()
        self._dispatcher: Dispatcher | None = None
        self._closed = False
        self._awaited: dict[str, None] = {}  # what `begin` submitted and nobody has fetched yet

    def submit(
        self,
        image: ImageSource,
        *,
        idempotency_key: str | None = None,
        traceparent: str | None = None,
        version: str | None = None,
        scale: Mode | None = None,
        bar_um: float | None = None,
        find_databar: bool = False,
        on_id: Callable[[str], None] | None = None,
        **options: Any,
    ) -> str:
        """Stores an image and its job and returns the image id; the work goes on behind it.

        A Ctrl-C before that withdraws the job, unless it has an idempotency key.

        Args:
            image: a path, the bytes of an image file, or an array (H × W or H × W × 3 or × 4 uint8, H × W uint16).
            idempotency_key: your own name for this submission, such as a sample number: submitted again under the same
                key, after a crash or a lost connection, the image has the same id and makes no second job.
            traceparent: the W3C trace it belongs to, where the caller traces; the result's metadata then names it.
            version: model version; None for the client's.
            scale: finds `um_per_px` and says its source: `file`: the file's metadata; `auto`: that, else a scale bar in
                the picture.
            bar_um: length of that bar, µm; None reads the number beside it where an OCR engine is installed.
            find_databar: finds an electron micrograph's databar and leaves it out (`ignore_bottom`), and says so.
            on_id: told of the image id before the job is stored, so that a caller who is interrupted can `cancel` it;
                what it raises ends the submission.
            **options: `points_per_side`, `min_area`, `um_per_px`, …; see `schemas/options.schema.json`.

        Raises:
            InvalidConfiguration: this client is closed.
            InvalidOption: an option is unknown or out of range, or a scale or rows to leave out are given and are
                to be found as well.
            ScaleError: the scale is not found, or sources of it disagree.
            InvalidImage: no such file, no image, or of a kind that is not read: told before anything is stored.
            IdempotencyConflict: another image, or other options, were submitted under this key.
            StorageError: GCS could not store it.
        """
        self._check_open()
        read = ImageFile.of(image)
        return self.submit_checked(
            read,
            _completed(read, options, scale, bar_um, find_databar),
            idempotency_key=idempotency_key,
            traceparent=traceparent,
            version=version,
            on_id=on_id,
        )

    def submit_checked(
        self,
        image: ImageFile,
        options: Mapping[str, Any],
        *,
        idempotency_key: str | None = None,
        traceparent: str | None = None,
        version: str | None = None,
        on_id: Callable[[str], None] | None = None,
    ) -> str:
        """Submits as `submit` does, with options that are complete and were checked.

        Raises:
            As `submit`, but for InvalidOption and ScaleError.
        """
        self._check_open()
        image.header  # noqa: B018 - what is no image is told before anything is stored
        ids: list[str] = []

        def noted(image_id: str) -> None:
            if on_id:
                on_id(image_id)
            if idempotency_key is None:  # under a key the next submission finds it
                ids.append(image_id)

        with self._withdrawing(ids):
            image_id = self.store.submit(
                image.data,
                model=self.model,
                version=version or self.version,
                options=dict(options),
                submitter=self.submitter,
                content_type=image.content_type,
                key=idempotency_key,
                traceparent=traceparent,
                on_id=noted,
            )
        # A client that was closed meanwhile leaves the job, which is stored, to the next dispatcher.
        self._hand_in(self.submitter, image_id)
        return image_id

    def submit_many(self, images: Iterable[ImageSource], *, progress: bool = True, **options: Any) -> list[str]:
        """Submits images with the same options and returns their ids in order.

        Args:
            images: see `submit`.
            progress: draw a progress bar.
            **options: see `submit`.

        Raises:
            As `submit`; images before the one at fault are submitted.
        """
        every = list(images)
        return [self.submit(image, **options) for image in track(every, "Submitting", disable=not progress)]

    def poll(self, image_id: str) -> Result | None:
        """Returns the result, or None while the job goes on. Does no work itself.

        Raises:
            ImageNotFound: unknown id.
            JobFailed: the job ended without a result; its `code` says why.
        """
        data = self.store.poll(image_id)
        return None if data is None else self._result(data)

    def state(self, image_id: str) -> State:
        """Where the job is.

        Raises:
            ImageNotFound: unknown id.
        """
        return self.store.job(image_id).state

    def wait(self, image_id: str, timeout: float | None = None, progress: Progress | None = None) -> Result:
        """Waits for the result.

        Args:
            image_id: from `submit`.
            timeout: seconds; None waits for as long as it takes.
            progress: called at each look with the job's state and what holds the dispatcher up, if anything.

        Raises:
            ImageNotFound: unknown id.
            JobFailed: the job ended without a result; its `code` says why.
            WaitTimeout: not in time; the job goes on.
        """
        return _awaited(self.looks(image_id, Deadline(timeout), progress))

    def looks(self, image_id: str, deadline: Deadline, progress: Progress | None = None) -> Iterator[float | Result]:
        """Looks for a job's result until it is there, for whoever waits in their own way.

        This client's dispatcher hears of the job where it goes on.

        Args:
            image_id: from `submit`.
            deadline: when to give up.
            progress: as `wait`.

        Yields:
            The seconds to pause before the next look, each time; in the end the result.

        Raises:
            As `wait`.
        """
        pause = SHORTEST_PAUSE
        found = self.poll(image_id)  # an unknown id is told before any thread starts
        if found is None:
            self._check_open()
            self._hand_in(self.store.job(image_id).submitter, image_id)
        while found is None:
            if deadline.left <= 0:
                raise self.too_late(image_id, deadline)
            if progress:
                progress(self.state(image_id), self.problem)
            yield min(pause, deadline.left)
            pause = min(pause * PAUSES_GROW, LONGEST_PAUSE)
            found = self.poll(image_id)
        yield found

    def too_late(self, image_id: str, deadline: Deadline) -> WaitTimeout:
        """Returns the error that says that a job was not done in time."""
        return WaitTimeout(image_id, deadline.seconds or 0.0, self.state(image_id).value, self.problem)

    def cancel(self, image_ids: Iterable[str]) -> list[str]:
        """Cancels jobs: those that have not ended fail as `cancelled`, whoever works on them; others stay as they are.

        Args:
            image_ids: from `submit`; ids under which nothing is stored are passed over.

        Returns:
            The ids of those that were cancelled.
        """
        every = list(image_ids)
        self._over(every)
        return withdraw(self.store, every)

    def analyze(
        self,
        image: ImageSource,
        *,
        timeout: float | None = None,
        progress: Progress | None = None,
        largest_grain: int = LARGEST_GRAIN,
        on_done: JobsDone | None = None,
        **options: Any,
    ) -> Result:
        """Submits an image and waits for its result.

        An image over 1024 px is cut into tiles, each of them a job, whose grains are merged; called again after a crash
        it goes on with the jobs that are there. Ctrl-C withdraws the jobs that have not ended.

        Args:
            image: see `submit`.
            timeout: seconds for all of it, the submission included; None waits for as long as it takes. What is late
                goes on.
            progress: see `wait`.
            largest_grain: largest extent of a grain expected, px; tiles overlap by twice that.
            on_done: called after each job with how many are done, and of how many.
            **options: see `submit`.

        Raises:
            TorchServeUnreachable, ModelNotFound: as `check`, at once.
            TilesDisagree: the checkpoint was replaced while the tiles were measured.
            And as `submit` and `wait`.
        """
        deadline, ids = Deadline(timeout), list[str]()
        with self._withdrawing(ids):
            begun = self.begin(image, timeout=deadline, largest_grain=largest_grain, on_id=ids.append, **options)
            return self.finish(begun, deadline, progress, on_done)

    def begin(
        self,
        image: ImageSource,
        *,
        timeout: float | Deadline | None = None,
        largest_grain: int = LARGEST_GRAIN,
        scale: Mode | None = None,
        bar_um: float | None = None,
        find_databar: bool = False,
        on_id: Callable[[str], None] | None = None,
        **options: Any,
    ) -> Submission:
        """Submits an image that somebody will wait for, in tiles where it is large.

        Nothing is stored where the work could not be done. Until `finish` has ended, a Ctrl-C that ends this client
        (`with Client() as client`) withdraws the jobs.

        Args:
            image: see `submit`.
            timeout: seconds in which the tiles must be submitted, or a limit that runs already.
            largest_grain: see `analyze`.
            scale: see `submit`.
            bar_um: see `submit`.
            find_databar: see `submit`.
            on_id: told of the image id of each job before it is stored; what it raises ends the submission.
            **options: see `submit`.

        Raises:
            TorchServeUnreachable, ModelNotFound: as `check`.
            WaitTimeout: not in time; the tiles submitted so far go on.
            And as `submit`.
        """

        def noted(image_id: str) -> None:
            if on_id:
                on_id(image_id)
            with self._lock:
                self._awaited[image_id] = None

        deadline, read = Deadline.of(timeout), ImageFile.of(image)
        large = max(read.size) > MAX_SIDE
        checked = _completed(read, options, scale, bar_um, find_databar)
        self.check()
        if large:
            return submit_tiles(self, read, largest_grain, checked, deadline=deadline, on_id=noted)
        return Submission.of_one(self.submit_checked(read, checked, on_id=noted))

    def finish(
        self,
        submission: Submission,
        timeout: float | Deadline | None = None,
        progress: Progress | None = None,
        on_done: JobsDone | None = None,
    ) -> Result:
        """Waits for the result of what `begin` began; arguments and errors as `analyze`, nothing is withdrawn."""
        return _awaited(self.finishing(submission, Deadline.of(timeout), progress, on_done))

    def finishing(
        self,
        submission: Submission,
        deadline: Deadline,
        progress: Progress | None = None,
        on_done: JobsDone | None = None,
    ) -> Iterator[float | Result]:
        """Looks for the results of a submission's jobs until all are there, as `looks` does for one job."""
        results: list[Result] = []
        try:
            for image_id in submission.image_ids:
                for seen in self.looks(image_id, deadline, progress):
                    if isinstance(seen, Result):
                        results.append(seen)
                    else:
                        yield seen
                if on_done:
                    on_done(len(results), len(submission.image_ids))
        except Exception:
            self._over(submission.image_ids)
            raise
        self._over(submission.image_ids)
        yield submission.result(results)

    @contextmanager
    def _withdrawing(self, image_ids: list[str]) -> Iterator[None]:
        """Cancels jobs when the block ends by Ctrl-C: nobody else knows of them."""
        try:
            yield
        except Exception:
            raise
        except BaseException:
            self.cancel(image_ids)
            raise

    def _over(self, image_ids: Iterable[str]) -> None:
        """Notes that nobody waits any longer for jobs of `begin`: a Ctrl-C leaves them as they are."""
        with self._lock:
            for image_id in image_ids:
                self._awaited.pop(image_id, None)

    def default_version(self) -> str | None:
        """The version that requests without one go to; None where TorchServe's management is not to be asked.

        Raises:
            TorchServeUnreachable: it does not answer.
            ModelNotFound: it does not have the model.
        """
        if not (self._dispatch and self.torchserve.management):
            return None
        return self.torchserve.management.default_version(self.model).version

    def check(self) -> None:
        """Checks, where this client does the work, that TorchServe answers and has the model.

        Whether it has the model is not asked where its management cannot be.

        Raises:
            TorchServeUnreachable: it does not answer.
            ModelNotFound: it has no such model or version.
        """
        if self._dispatch:
            self.torchserve.ping()
            if self.torchserve.management:
                self.torchserve.management.ready(self.model, self.version)

    @property
    def problem(self) -> GrainserveError | None:
        """What holds this client's dispatcher up at the moment, if anything."""
        dispatcher = self._dispatcher
        return dispatcher.problem if dispatcher else None

    def close(self, timeout: float | None = None) -> None:
        """Ends the jobs TorchServe has in hand, claims no more.

        Args:
            timeout: seconds to wait for them; None waits for as long as they take. Those not done by then go back into
                the queue for another dispatcher.
        """
        with self._lock:
            self._closed = True
            dispatcher, self._dispatcher = self._dispatcher, None
        if dispatcher:
            dispatcher.stop(timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        stopped = kind is not None and not issubclass(kind, Exception)
        self.close(0.0 if stopped else None)  # Ctrl-C means now: what is in hand goes back
        if stopped:
            self.cancel(self._awaited)  # by `begin`, and not fetched by `finish`

    def result_from(self, path: str | PathLike[str]) -> Result:
        """Reads a result that `Result.to_json` wrote; `overlay` fetches its image from this client's bucket."""
        loaded = Result.from_json(path)
        return self._result(loaded.to_dict())

    def _result(self, data: dict[str, Any]) -> Result:
        return Result(data, fetch_image=lambda: fetched(self.store, data["metadata"]))

    def _check_open(self) -> None:
        if self._closed:
            raise InvalidConfiguration("this client is closed: make another one")

    def _hand_in(self, submitter: str, image_id: str) -> None:
        """Tells this client's dispatcher of a job."""
        if dispatcher := self._running_dispatcher():
            dispatcher.hand_in(Ticket(submitter, image_id))

    def _running_dispatcher(self) -> Dispatcher | None:
        """The one dispatcher of this client, whichever thread asks first; None where it has none, or is closed."""
        with self._lock:
            if self._dispatch and self._dispatcher is None and not self._closed:
                self._dispatcher = Dispatcher(self.store, self.torchserve, concurrency=self._concurrency).start()
            return self._dispatcher


def _completed(
    image: ImageFile, options: Mapping[str, Any], scale: Mode | None, bar_um: float | None, find_databar: bool
) -> dict[str, Any]:
    """Adds to options what is to be found in the image, and checks them."""
    return validate_options(with_databar(image, with_scale(image, options, scale, bar_um), find_databar))


def _awaited(looks: Iterator[float | Result]) -> Result:
    """Waits in this thread for what looks bring."""
    for seen in looks:
        if isinstance(seen, Result):
            return seen
        time.sleep(seen)
    raise AssertionError("looks end with a result")
