"""The client: submit an image, poll for its result."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from datetime import timedelta
from os import PathLike
from types import TracebackType
from typing import Any, Self

from rich.progress import track

from grainserve import config
from grainserve.contract import validate_options
from grainserve.databar import with_databar
from grainserve.dispatcher import Dispatcher
from grainserve.errors import GrainserveError, InvalidConfiguration, WaitTimeout
from grainserve.images import ImageSource, frame_size, image_bytes
from grainserve.jobs import State
from grainserve.notifications import from_environment
from grainserve.pending import Ticket
from grainserve.protocol import JobStore, check_submitter
from grainserve.result import Result
from grainserve.scale import Mode, with_scale
from grainserve.storage import Bucket
from grainserve.tiles.jobs import fetched, submit
from grainserve.tiles.layout import LARGEST_GRAIN, SIDE
from grainserve.torchserve import TorchServe
from grainserve.work import Work

Progress = Callable[[State, GrainserveError | None], None]
JobsDone = Callable[[int, int], None]


class Client:
    """Sends images and brings results.

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
        self._dispatcher: Dispatcher | None = None
        self._closed = False

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
        **options: Any,
    ) -> str:
        """Stores an image and its job and returns the image id; the work goes on behind it.

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
            **options: `points_per_side`, `min_area`, `um_per_px`, …; see `schemas/options.schema.json`.

        Raises:
            InvalidOption: an option is unknown or out of range, or a scale or rows to leave out are given and are
                to be found as well.
            ScaleError: the scale is not found, or sources of it disagree.
            InvalidImage: no such file, or an array that is no image.
            IdempotencyConflict: another image, or other options, were submitted under this key.
            StorageError: GCS could not store it.
        """
        checked = validate_options(with_databar(image, with_scale(image, options, scale, bar_um), find_databar))
        data, content_type = image_bytes(image)
        image_id = self.store.submit(
            data,
            model=self.model,
            version=version or self.version,
            options=checked,
            submitter=self.submitter,
            content_type=content_type,
            key=idempotency_key,
            traceparent=traceparent,
        )
        dispatcher = self._running_dispatcher()
        if dispatcher:
            dispatcher.hand_in(Ticket(self.submitter, image_id))
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
        begun, pause = time.monotonic(), 0.05
        found = self.look(image_id)
        while found is None:
            left = float("inf") if timeout is None else timeout - (time.monotonic() - begun)
            if left <= 0:
                raise WaitTimeout(image_id, timeout or 0.0, self.state(image_id).value, self.problem)
            if progress:
                progress(self.state(image_id), self.problem)
            time.sleep(min(pause, left))
            pause = min(pause * 1.3, 1.0)
            found = self.poll(image_id)
        return found

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
        it goes on with the jobs that are there.

        Args:
            image: see `submit`.
            timeout: seconds for all of it; None waits for as long as it takes.
            progress: see `wait`.
            largest_grain: largest extent of a grain expected, px; tiles overlap by twice that.
            on_done: called after each job with how many are done, and of how many.
            **options: see `submit`.

        Raises:
            TorchServeUnreachable, ModelNotFound: as `check`, at once.
            TilesDisagree: the checkpoint was replaced while the tiles were measured.
            And as `submit` and `wait`.
        """
        return self.finish(self.begin(image, largest_grain=largest_grain, **options), timeout, progress, on_done)

    def begin(
        self,
        image: ImageSource,
        *,
        largest_grain: int = LARGEST_GRAIN,
        scale: Mode | None = None,
        bar_um: float | None = None,
        find_databar: bool = False,
        **options: Any,
    ) -> Work:
        """Submits an image that somebody will wait for, in tiles where it is large.

        Nothing is stored where the work could not be done.

        Raises:
            TorchServeUnreachable, ModelNotFound: as `check`.
            And as `submit`.
        """
        checked = validate_options(with_databar(image, with_scale(image, options, scale, bar_um), find_databar))
        self.check()
        if max(frame_size(image) or (0, 0)) > SIDE:
            return submit(self, image, largest_grain, checked)
        return Work((self.submit(image, **checked),), lambda results: results[0])

    def finish(
        self,
        work: Work,
        timeout: float | None = None,
        progress: Progress | None = None,
        on_done: JobsDone | None = None,
    ) -> Result:
        """Waits for the result of what `begin` began; arguments and errors as `analyze`."""
        begun, results = time.monotonic(), list[Result]()
        for image_id in work.image_ids:
            left = None if timeout is None else max(0.0, timeout - (time.monotonic() - begun))
            results.append(self.wait(image_id, left, progress))
            if on_done:
                on_done(len(results), len(work.image_ids))
        return work.result(results)

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

    def look(self, image_id: str) -> Result | None:
        """Polls once and, where the job goes on, sees to it that this client's dispatcher knows of it.

        Raises:
            As `poll`.
        """
        found = self.poll(image_id)  # an unknown id is told before any thread starts
        if found is None and (dispatcher := self._running_dispatcher()):
            dispatcher.hand_in(Ticket(self.store.job(image_id).submitter, image_id))
        return found

    @property
    def problem(self) -> GrainserveError | None:
        """What holds this client's dispatcher up at the moment, if anything."""
        return self._dispatcher.problem if self._dispatcher else None

    def close(self, timeout: float | None = None) -> None:
        """Ends the jobs TorchServe has in hand, claims no more.

        Args:
            timeout: seconds to wait for them; None waits for as long as they take. Those not done by then go back into
                the queue for another dispatcher.
        """
        self._closed = True
        if self._dispatcher:
            self._dispatcher.stop(timeout)
            self._dispatcher = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Ctrl-C means now: what is in hand goes back.
        self.close(0.0 if kind is not None and not issubclass(kind, Exception) else None)

    def result_from(self, path: str | PathLike[str]) -> Result:
        """Reads a result that `Result.to_json` wrote; `overlay` fetches its image from this client's bucket."""
        loaded = Result.from_json(path)
        return self._result(loaded.to_dict())

    def _result(self, data: dict[str, Any]) -> Result:
        return Result(data, fetch_image=lambda: fetched(self.store, data["metadata"]))

    def _running_dispatcher(self) -> Dispatcher | None:
        if self._closed:
            raise InvalidConfiguration("this client is closed: make another one")
        if self._dispatch and self._dispatcher is None:
            self._dispatcher = Dispatcher(self.store, self.torchserve, concurrency=self._concurrency).start()
        return self._dispatcher
