"""The client: submits images and fetches their results."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from os import PathLike
from types import TracebackType
from typing import Any, Self

from numpy.typing import NDArray
from rich.progress import track

from grainserve import config
from grainserve.contract import validate_options
from grainserve.deadline import Deadline
from grainserve.dispatch.dispatcher import Dispatcher
from grainserve.errors import GrainserveError, InvalidConfiguration, InvalidOption, WaitTimeout
from grainserve.images import MAX_SIDE, ImageFile, ImageSource
from grainserve.jobs.job import State
from grainserve.jobs.markers import Ticket
from grainserve.jobs.pubsub import from_environment
from grainserve.jobs.references import Reference, References
from grainserve.jobs.store import JobStore, check_submitter
from grainserve.jobs.withdrawal import withdraw
from grainserve.large_images import fetched, submit_tiles
from grainserve.library.entries import name_of
from grainserve.library.scales import Asked, revision
from grainserve.prompts.image import PATIENCE, PromptedImage
from grainserve.prompts.prompt import MaskPrompt, Points, make_prompts
from grainserve.prompts.session import Session
from grainserve.result import Result
from grainserve.scale import Mode, with_scale
from grainserve.scale.databar import with_databar
from grainserve.storage.bucket import Bucket
from grainserve.storage.uris import Readable, is_uri
from grainserve.submission import Submission
from grainserve.tiles.layout import LARGEST_GRAIN
from grainserve.torchserve.inference import TorchServe

Progress = Callable[[State, GrainserveError | None], None]
JobsDone = Callable[[int, int], None]
AnyImage = ImageSource | Reference

SHORTEST_PAUSE, LONGEST_PAUSE, PAUSES_GROW = 0.05, 1.0, 1.3
"""Shortest and longest pause between looks for a result, s, and the factor from each pause to the next."""


class Client:
    """Submits images and fetches their results. Any number of threads may share one client.

    A dispatcher in background threads of this process does the work that is pending in the bucket, from the first
    `submit` or `wait` until `close`. Jobs that have not ended by then stay in the bucket for the next dispatcher.

    Args:
        torchserve: inference URL; default GRAINSERVE_TORCHSERVE.
        bucket: bucket of images, jobs and results; default GRAINSERVE_BUCKET.
        model: name of the model; default GRAINSERVE_MODEL, else `sam_tiny`.
        version: model version; None for TorchServe's default one.
        management: management URL, or `none` where it cannot be reached; default GRAINSERVE_MANAGEMENT.
        prompt_model: name of the model that `segment` and `open` ask, in its default version; default
            GRAINSERVE_PROMPT_MODEL, else `MODEL-prompt`.
        submitter: name that the jobs are submitted under, as dispatchers serve submitters in turn; default
            GRAINSERVE_SUBMITTER, else the user's name.
        dispatch: whether this process does the work; False leaves it to dispatchers elsewhere.
        concurrency: jobs at once in this process, at most.
        lease: seconds after which other dispatchers take over the jobs of this process if it has died.
        readable: buckets, and folders of buckets, whose images may be submitted by reference, such as
            `scans,archive/2026`; default GRAINSERVE_READABLE, else none.

    Attributes:
        references: images in these buckets: `references.matching("gs://scans/2026/*.tif")` lists them.

    Raises:
        InvalidConfiguration: a setting is missing or makes no sense.
    """

    def __init__(
        self,
        torchserve: str | None = None,
        bucket: str | None = None,
        model: str | None = None,
        version: str | None = None,
        *,
        management: str | None = None,
        prompt_model: str | None = None,
        submitter: str | None = None,
        dispatch: bool = True,
        concurrency: int = 2,
        lease: float = 60.0,
        readable: str | None = None,
    ) -> None:
        if concurrency < 1:
            raise InvalidConfiguration(f"concurrency is {concurrency}; it must be 1 or more")
        self.model = config.setting(model, config.MODEL)
        self.version = version
        self.prompt_model = config.prompt_model(prompt_model, self.model)
        self.submitter = check_submitter(config.submitter(submitter))
        self.store = JobStore(
            Bucket(config.setting(bucket, config.BUCKET)),
            lease=timedelta(seconds=lease),
            notifications=from_environment(),
        )
        self.references = References(Readable.parse(readable, self.store.bucket.name))
        self.torchserve = TorchServe(config.setting(torchserve, config.TORCHSERVE), config.management(management))
        self._dispatch = dispatch
        self._concurrency = concurrency
        self._lock = threading.Lock()
        self._dispatcher: Dispatcher | None = None
        self._closed = False
        self._awaited: dict[str, None] = {}  # ids that `begin` submitted and `finish` has not fetched

    def submit(
        self,
        image: AnyImage,
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
        """Stores an image and its job and returns the image id; the work is done in the background.

        Ctrl-C before the return withdraws the job, unless it has an idempotency key. The file's name becomes the
        image's name in the submitter's history.

        An image that lies in a readable bucket is submitted by reference (`gs://BUCKET/NAME`): only its header comes
        here, and GCS copies the object. Submitting the same object, generation, model and options again returns the
        same id. A job of it that failed or was cancelled begins anew, except where the image itself was refused.

        Args:
            image: path, bytes of an image file, array (H × W, H × W × 3 or H × W × 4 uint8, H × W uint16), the URI of
                an object, or an object from `references`.
            idempotency_key: your own name for this submission, such as a sample number. Submitting the image again
                under the same key, after a crash or a lost connection, returns the same id and makes no second job.
            traceparent: W3C trace that the submission belongs to, for callers that trace; the result's metadata names
                it.
            version: model version; None for the client's.
            scale: where to look for `um_per_px`: `file` reads the file's metadata; `auto` reads the metadata, else a
                scale bar in the picture. The result names the source.
            bar_um: length of the scale bar, µm; None reads the number beside the bar where an OCR engine is installed.
            find_databar: whether to find an electron micrograph's databar and leave its rows out (`ignore_bottom`); the
                result says so.
            on_id: called with the image id before the job is stored, so that an interrupted caller can `cancel` it; an
                error that it raises ends the submission.
            **options: `points_per_side`, `min_area`, `um_per_px`, …; see `schemas/options.schema.json`.

        Raises:
            InvalidConfiguration: this client is closed.
            InvalidOption: an option is unknown or out of range; or a scale, or rows to leave out, are both given and to
                be found.
            ScaleError: the scale is not found, or its sources disagree.
            InvalidImage: the file is missing, is no image, or is of a kind that is not read; nothing is stored.
            IdempotencyConflict: another image, or other options, were submitted under this key.
            StorageError: GCS could not store the image or its job.
            InvalidUri, NotReadable, ObjectNotFound, ImageRejected: an object cannot be submitted.
        """
        self._check_open()
        if isinstance(image, Reference) or is_uri(image):
            if scale is not None or bar_um is not None or find_databar:
                raise InvalidOption(
                    "scale, bar_um and find_databar look into an image, which stays in its bucket: give um_per_px and "
                    "ignore_bottom"
                )
            there = image if isinstance(image, Reference) else self.references.find(str(image))
            image_id = self.store.submit_reference(
                there,
                model=self.model,
                version=version or self.version,
                options=validate_options(options),
                submitter=self.submitter,
                key=idempotency_key,
                traceparent=traceparent,
                name=there.file_name,
                on_id=on_id,
            )
            self._hand_in(self.submitter, image_id)
            return image_id
        read = ImageFile.of(image)
        return self.submit_checked(
            read,
            _completed(read, options, scale, bar_um, find_databar),
            name=_name_of(read),
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
        name: str | None = None,
        on_id: Callable[[str], None] | None = None,
    ) -> str:
        """Submits an image as `submit` does, with options that are complete and checked.

        Args:
            image: image to submit.
            options: checked options, with the scale and the rows to leave out.
            idempotency_key: your own name for this submission; see `submit`.
            traceparent: W3C trace that the submission belongs to; None makes a new one.
            version: model version; None for the client's.
            name: name of the image in the submitter's history; None, as for tiles: it is not in the history.
            on_id: called with the image id before the job is stored; an error that it raises ends the submission.

        Raises:
            The errors of `submit`, except InvalidOption and ScaleError.
        """
        self._check_open()
        image.header  # noqa: B018 - refuses what is no image before anything is stored
        ids: list[str] = []

        def noted(image_id: str) -> None:
            if on_id:
                on_id(image_id)
            if idempotency_key is None:  # a job under a key stays, for the next submission
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
                name=name,
                on_id=noted,
            )
        # If the client was closed meanwhile, the stored job is left to the next dispatcher.
        self._hand_in(self.submitter, image_id)
        return image_id

    def submit_many(self, images: Iterable[AnyImage], *, progress: bool = True, **options: Any) -> list[str]:
        """Submits images with the same options and returns their ids, in order.

        Args:
            images: images, each as `submit` takes it; or URIs with wildcards, `gs://BUCKET/FOLDER/*.tif`, each for all
                objects that it matches.
            progress: whether to draw a progress bar.
            **options: options of `submit`.

        Raises:
            The errors of `submit`; the images before the one at fault stay submitted.
        """
        every: list[AnyImage] = []
        for image in images:
            every += self.references.matching(str(image)) if is_uri(image) else [image]
        return [self.submit(image, **options) for image in track(every, "Submitting", disable=not progress)]

    def poll(self, image_id: str) -> Result | None:
        """Returns the result, or None while the job goes on. Does no work itself.

        Raises:
            ImageNotFound: no job is known under this id.
            JobFailed: the job ended without a result; the error's `code` says why.
        """
        data = self.store.poll(image_id)
        return None if data is None else self._result(data)

    def set_scale(self, image_id: str, scale: str | float | None) -> float | None:
        """Sets the scale of an image, whether it is measured yet or not; returns it, µm per px.

        Results that are fetched from now on have it; nothing is measured again. The bucket keeps all scales that an
        image had, with who set them and when.

        Args:
            image_id: id from `submit`.
            scale: µm per px; or a text: `2.5 µm/px`, `2,5`, `0.4 px/µm`, `2500 nm/px`, `1 mm = 412 px`; None: the image
                has no scale.

        Raises:
            ImageNotFound: no job is known under this id.
            InvalidOption: the scale cannot be read, or is none.
        """
        asked = Asked(text=scale) if isinstance(scale, str) else Asked(um_per_px=scale, has_number=True)
        self.store.job(image_id)
        return self.store.scales.revise(image_id, revision(asked, self.submitter))[-1].um_per_px

    def state(self, image_id: str) -> State:
        """Returns the job's state.

        Raises:
            ImageNotFound: no job is known under this id.
        """
        return self.store.job(image_id).state

    def wait(self, image_id: str, timeout: float | None = None, progress: Progress | None = None) -> Result:
        """Waits for the result.

        Args:
            image_id: id from `submit`.
            timeout: seconds; None waits for as long as it takes.
            progress: called at each look with the job's state and the error that holds the dispatcher up, or None.

        Raises:
            ImageNotFound: no job is known under this id.
            JobFailed: the job ended without a result; the error's `code` says why.
            WaitTimeout: the result was not there in time; the job goes on.
        """
        return _awaited(self.looks(image_id, Deadline(timeout), progress))

    def looks(self, image_id: str, deadline: Deadline, progress: Progress | None = None) -> Iterator[float | Result]:
        """Yields pauses between looks for a job's result, then the result.

        The caller sleeps through each pause in its own way. A job that goes on is handed to this client's dispatcher.

        Args:
            image_id: id from `submit`.
            deadline: when to give up.
            progress: called at each look with the job's state and the error that holds the dispatcher up, or None.

        Yields:
            Seconds to pause before the next look, any number of times; at last the result.

        Raises:
            The errors of `wait`.
        """
        pause = SHORTEST_PAUSE
        found = self.poll(image_id)  # an unknown id fails before any thread starts
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
        """Returns the error for a job that was not done in time."""
        return WaitTimeout(image_id, deadline.seconds or 0.0, self.state(image_id).value, self.problem)

    def cancel(self, image_ids: Iterable[str]) -> list[str]:
        """Cancels jobs that have not ended: they fail as `cancelled`, whoever works on them.

        Jobs that have ended stay as they are.

        Args:
            image_ids: ids from `submit`; ids under which nothing is stored are passed over.

        Returns:
            The ids of the jobs that were cancelled.
        """
        every = list(image_ids)
        self._over(every)
        return withdraw(self.store, every)

    def analyze(
        self,
        image: AnyImage,
        *,
        timeout: float | None = None,
        progress: Progress | None = None,
        largest_grain: int = LARGEST_GRAIN,
        on_done: JobsDone | None = None,
        **options: Any,
    ) -> Result:
        """Submits an image and waits for its result.

        An image over 1024 px is cut into tiles. Each tile is a job, and the grains of all tiles are merged. After a
        crash the same call goes on with the jobs that are there. Ctrl-C withdraws the jobs that have not ended. An
        object over 1024 px that is given by its URI is refused: it is not fetched to be cut.

        Args:
            image: image, as `submit` takes it.
            timeout: seconds for all of it, the submission included; None waits for as long as it takes. Jobs that are
                not done in time go on.
            progress: called at each look with a job's state and the error that holds the dispatcher up, or None.
            largest_grain: largest extent of a grain expected, px; tiles overlap by twice as much.
            on_done: called after each job with the number of jobs done and the number of all jobs.
            **options: options of `submit`.

        Raises:
            TorchServeUnreachable, ModelNotFound: the work could not be done (see `check`); nothing is submitted.
            TilesDisagree: the checkpoint was replaced while the tiles were measured.
            And the errors of `submit` and `wait`.
        """
        deadline, ids = Deadline(timeout), list[str]()
        with self._withdrawing(ids):
            begun = self.begin(image, timeout=deadline, largest_grain=largest_grain, on_id=ids.append, **options)
            return self.finish(begun, deadline, progress, on_done)

    def segment(
        self,
        image: ImageSource,
        *,
        points: Points | None = None,
        labels: Sequence[int] | NDArray[Any] | None = None,
        box: Sequence[float] | NDArray[Any] | None = None,
        mask: MaskPrompt | None = None,
        multimask: bool | None = None,
        prompts: Sequence[Mapping[str, Any]] | None = None,
        patience: float = PATIENCE,
        scale: Mode | None = None,
        bar_um: float | None = None,
        find_databar: bool = False,
        **options: Any,
    ) -> Result:
        """Asks for single objects of an image by points, boxes or masks, and returns them measured.

        TorchServe is asked directly: there is no job, and nothing is stored. `Result.answers` has the masks of each
        prompt, the best first. To ask about one image again and again, `open` it.

        Args:
            image: image, as `submit` takes it, up to 1024 px on the longer side.
            points: n points (x, y), px of the image as submitted, upright.
            labels: n labels: 1 for a point in the object, 0 for one outside it; None: all are in it.
            box: (x0, y0, x1, y1), px, half-open.
            mask: mask to refine: its token (`Grain.mask_token`), run lengths (`Grain.mask`), or H × W, bool.
            multimask: whether to ask for three masks (whole, part, subpart); None: only for a single point.
            prompts: several prompts, each with the five arguments above by name, in their place.
            patience: seconds for which a TorchServe that is busy or away is asked again.
            scale: where to look for `um_per_px`; see `submit`.
            bar_um: length of the scale bar, µm; see `submit`.
            find_databar: whether to find a databar and leave its rows out; see `submit`.
            **options: `um_per_px`, `label`, `mask_format`, `crop`, …; those that choose among automatic masks do
                nothing.

        Raises:
            InvalidOption: an option is unknown or out of range, or a prompt cannot be sent.
            ScaleError: the scale is not found, or its sources disagree.
            InvalidImage: the image cannot be read, or is over 1024 px.
            ImageRejected: the image or a prompt is at fault; `code` and `status` say how.
            TorchServeBusy, TorchServeUnreachable: TorchServe had no time, or was away, for `patience` seconds.
            WorkerDied, HandlerFailed, AnswerLost: the attempt failed; it is safe to ask again.
            ModelNotFound: TorchServe does not have the prompt model.
        """
        asked = make_prompts(prompts, points=points, labels=labels, box=box, mask=mask, multimask=multimask)
        found = {"scale": scale, "bar_um": bar_um, "find_databar": find_databar}
        return self._prompted(image, options, patience, **found).ask(asked)

    def open(
        self,
        image: ImageSource,
        *,
        patience: float = PATIENCE,
        scale: Mode | None = None,
        bar_um: float | None = None,
        find_databar: bool = False,
        **options: Any,
    ) -> Session:
        """Opens a session: objects of one image, found by pointing at them one after another, with undo.

        The image goes to TorchServe with the first prompt; later ones name it by its digest.

        Args:
            image: image, as `submit` takes it, up to 1024 px on the longer side.
            patience: seconds for which a TorchServe that is busy or away is asked again.
            scale: where to look for `um_per_px`; see `submit`.
            bar_um: length of the scale bar, µm; see `submit`.
            find_databar: whether to find a databar and leave its rows out; see `submit`.
            **options: options of `segment`.

        Raises:
            InvalidOption: an option is unknown or out of range.
            ScaleError: the scale is not found, or its sources disagree.
            InvalidImage: the image cannot be read, or is over 1024 px.
        """
        found = {"scale": scale, "bar_um": bar_um, "find_databar": find_databar}
        return Session(self._prompted(image, options, patience, **found))

    def _prompted(self, image: ImageSource, options: Mapping[str, Any], patience: float, **found: Any) -> PromptedImage:
        read = ImageFile.of(image)
        checked = _completed(read, options, **found)
        return PromptedImage(self.torchserve, self.prompt_model, read, checked, patience=patience)

    def begin(
        self,
        image: AnyImage,
        *,
        timeout: float | Deadline | None = None,
        largest_grain: int = LARGEST_GRAIN,
        scale: Mode | None = None,
        bar_um: float | None = None,
        find_databar: bool = False,
        on_id: Callable[[str], None] | None = None,
        **options: Any,
    ) -> Submission:
        """Submits an image that somebody will wait for, in tiles if it is large.

        Nothing is stored if the work could not be done. Until `finish` has ended, a Ctrl-C that ends this client
        (`with Client() as client`) withdraws the jobs.

        Args:
            image: image, as `submit` takes it.
            timeout: seconds in which the tiles must be submitted, or a deadline that already runs.
            largest_grain: largest extent of a grain expected, px; tiles overlap by twice as much.
            scale: where to look for `um_per_px`; see `submit`.
            bar_um: length of the scale bar, µm; see `submit`.
            find_databar: whether to find a databar and leave its rows out; see `submit`.
            on_id: called with the image id of each job before the job is stored; an error that it raises ends the
                submission.
            **options: options of `submit`.

        Raises:
            TorchServeUnreachable, ModelNotFound: the work could not be done (see `check`).
            WaitTimeout: the tiles were not submitted in time; those submitted so far go on.
            And the errors of `submit`.
        """

        def noted(image_id: str) -> None:
            if on_id:
                on_id(image_id)
            with self._lock:
                self._awaited[image_id] = None

        deadline = Deadline.of(timeout)
        if isinstance(image, Reference) or is_uri(image):
            self.check()
            image_id = self.submit(image, scale=scale, bar_um=bar_um, find_databar=find_databar, on_id=noted, **options)
            return Submission.of_one(image_id)
        read = ImageFile.of(image)
        large = max(read.size) > MAX_SIDE
        checked = _completed(read, options, scale, bar_um, find_databar)
        self.check()
        if large:
            return submit_tiles(self, read, largest_grain, checked, deadline=deadline, on_id=noted)
        return Submission.of_one(self.submit_checked(read, checked, name=_name_of(read), on_id=noted))

    def finish(
        self,
        submission: Submission,
        timeout: float | Deadline | None = None,
        progress: Progress | None = None,
        on_done: JobsDone | None = None,
    ) -> Result:
        """Waits for the result of a submission; withdraws nothing.

        Args:
            submission: submission from `begin`.
            timeout: seconds, or a deadline that already runs; None waits for as long as it takes.
            progress: called at each look with a job's state and the error that holds the dispatcher up, or None.
            on_done: called after each job with the number of jobs done and the number of all jobs.

        Raises:
            TilesDisagree: the checkpoint was replaced while the tiles were measured.
            And the errors of `wait`.
        """
        return _awaited(self.finishing(submission, Deadline.of(timeout), progress, on_done))

    def finishing(
        self,
        submission: Submission,
        deadline: Deadline,
        progress: Progress | None = None,
        on_done: JobsDone | None = None,
    ) -> Iterator[float | Result]:
        """Yields pauses between looks for the results of a submission, then its result.

        It does for all jobs of a submission what `looks` does for one job. `on_done` is called as in `finish`.
        """
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
        """Cancels jobs when Ctrl-C ends the block: nobody else knows of them."""
        try:
            yield
        except Exception:
            raise
        except BaseException:
            self.cancel(image_ids)
            raise

    def _over(self, image_ids: Iterable[str]) -> None:
        """Forgets jobs of `begin` that nobody waits for any more, so that Ctrl-C leaves them as they are."""
        with self._lock:
            for image_id in image_ids:
                self._awaited.pop(image_id, None)

    def default_version(self) -> str | None:
        """Returns the version that requests without a version go to; None where management is not to be asked.

        Raises:
            TorchServeUnreachable: management does not answer.
            ModelNotFound: TorchServe does not have the model.
        """
        if not (self._dispatch and self.torchserve.management):
            return None
        return self.torchserve.management.default_version(self.model).version

    def check(self) -> None:
        """Checks that TorchServe answers and has the model, if this client does the work.

        Where management cannot be reached, the model is not checked.

        Raises:
            TorchServeUnreachable: TorchServe does not answer.
            ModelNotFound: TorchServe has no such model or version.
        """
        if self._dispatch:
            self.torchserve.ping()
            if self.torchserve.management:
                self.torchserve.management.ready(self.model, self.version)

    @property
    def problem(self) -> GrainserveError | None:
        """The error that holds this client's dispatcher up at the moment, or None."""
        dispatcher = self._dispatcher
        return dispatcher.problem if dispatcher else None

    def close(self, timeout: float | None = None) -> None:
        """Claims no more jobs and ends those that TorchServe has in hand.

        Args:
            timeout: seconds to wait for these jobs; None waits for as long as they take. Jobs that are not done by then
                go back into the queue for another dispatcher.
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
        self.close(0.0 if stopped else None)  # Ctrl-C means now: jobs in hand go back into the queue
        if stopped:
            self.cancel(self._awaited)  # submitted by `begin`, not fetched by `finish`

    def result_from(self, path: str | PathLike[str]) -> Result:
        """Reads a result that `Result.to_json` wrote; its `overlay` fetches the image from this client's bucket.

        Raises:
            InvalidResult: the file holds no result.
        """
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
        """Returns this client's dispatcher, started by the first thread that asks; None if it has none or is closed."""
        with self._lock:
            if self._dispatch and self._dispatcher is None and not self._closed:
                self._dispatcher = Dispatcher(self.store, self.torchserve, concurrency=self._concurrency).start()
            return self._dispatcher


def _completed(
    image: ImageFile, options: Mapping[str, Any], scale: Mode | None, bar_um: float | None, find_databar: bool
) -> dict[str, Any]:
    """Adds what is to be found in the image, scale and databar, to the options, and checks them all."""
    return validate_options(with_databar(image, with_scale(image, options, scale, bar_um), find_databar))


def _name_of(image: ImageFile) -> str:
    """Returns the name of an image in the history: its file's; empty for bytes and arrays."""
    return name_of(image.path.name) if image.path else ""


def _awaited(looks: Iterator[float | Result]) -> Result:
    """Waits in this thread for the result that `looks` yields."""
    for seen in looks:
        if isinstance(seen, Result):
            return seen
        time.sleep(seen)
    raise AssertionError("looks end with a result")
