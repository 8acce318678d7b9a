"""Changes what TorchServe serves: swap, rollback, register, scale, remove.

A swap has six steps. After a crash between two steps, the next call finishes the swap or takes it back.

1. The archive goes into the bucket, and the new version is declared as the candidate.
2. The old version answers the canary images. The new version is registered, and its workers get ready.
3. The new version answers the canary images, close enough to the old version.
4. The new version becomes the default. From here on the swap can only be finished, not taken back.
5. The new version is declared as the default, and the old version as not loaded.
6. The old version is drained and deleted.

Every change of a model at a TorchServe, `apply` included, holds a lock in the model store. A candidate at another
TorchServe is left to the processes there.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from grainserve.errors import GrainserveError, InvalidConfiguration
from grainserve.rollout import archives
from grainserve.rollout.archives import Archive
from grainserve.rollout.declared import DeclarationContended, Declarations, DeclaredModel, DeclaredVersion
from grainserve.rollout.lock import ChangeUnderWay, change_lock
from grainserve.rollout.versions import NotReady, Versions


class Trial(Protocol):
    """A test that a new version must pass. Each method raises an error when the version fails."""

    def prepare(self, model: str, old: str | None) -> None:
        """Prepares the test before the new version is loaded.

        Args:
            model: name of the model.
            old: default version so far; None where there is none.
        """

    def attempt(self, model: str, version: str) -> None:
        """Tests the new version."""


@dataclass
class Rollout:
    """Changes what one TorchServe serves, and the declaration.

    Attributes:
        versions: versions at that TorchServe.
        declarations: access to the declaration.
        ready_seconds: seconds that a version may take to get ready.
        drain_seconds: seconds that an old version may take to answer its requests.
        trials: tests that a new version must pass.
        take_over: whether to give up a swap that was begun at another TorchServe.
    """

    versions: Versions
    declarations: Declarations
    ready_seconds: float = 900.0
    drain_seconds: float = 900.0
    trials: Sequence[Trial] = ()
    take_over: bool = False

    @property
    def here(self) -> str:
        """Name of this TorchServe: host and address."""
        return f"{socket.gethostname()} ({self.versions.management.url})"

    def locked(self, model: str, *, wait: bool = True) -> AbstractContextManager[None]:
        """Returns the lock that keeps others from changing the model here.

        Args:
            model: name of the model.
            wait: whether to wait up to `ready_seconds` for the lock.
        """
        seconds = self.ready_seconds if wait else 0
        return change_lock(self.versions.model_store, model, seconds=seconds, say=self.versions.say)

    def declared(self, model: str) -> DeclaredModel:
        """Reads the declaration of a model; an empty one where it is not declared."""
        return self.declarations.read().get(model, DeclaredModel())

    def default(self, model: str) -> str | None:
        """Returns the version that answers requests without a version; None where the model is not registered."""
        registered = self.versions.management.versions(model)
        return next((name for name, each in registered.items() if each.default), None)

    def swap(self, path: Path) -> str:
        """Switches a model to the version in an archive without losing a request; returns the version.

        After a failure before the switch, the old version is still the default and the new one is gone.

        Args:
            path: file of the archive.

        Raises:
            NotReady, CanaryFailed, InvalidConfiguration, …: nothing was switched; the error says why.
            NotDrained: the model was switched, but the old version still has requests; the same call again finishes.
            ChangeUnderWay: somebody else is changing the model.
        """
        archive, data = archives.read(path)
        archives.push(archive, data, self.declarations.bucket)
        with self.locked(archive.model):
            self._switch(archive)
        return archive.version

    def rollback(self, model: str) -> str:
        """Switches a model back to the previous version; returns the version.

        Raises:
            InvalidConfiguration: there is no previous version.
            And as `swap`.
        """
        with self.locked(model):
            declared = self.declared(model)
            if declared.candidate != declared.previous:  # otherwise a rollback was interrupted
                self.end_interrupted(model)
                declared = self.declared(model)
            if declared.previous is None:
                raise InvalidConfiguration(f"{model} has no version before {declared.default} to go back to")
            self._switch(declared.archive(model, declared.previous))
            return declared.previous

    def register(self, path: Path, workers: int | None = None) -> Archive:
        """Loads the version in an archive beside the others; the first version of a model becomes its default.

        Args:
            path: file of the archive.
            workers: number of workers; None takes the number in the model config.

        Raises:
            NotReady, InvalidConfiguration, …: the version was not loaded; the error says why.
            ChangeUnderWay: somebody else is changing the model.
        """
        archive, data = archives.read(path)
        model, version = archive.model, archive.version
        archives.push(archive, data, self.declarations.bucket)
        with self.locked(model):
            self._check_unused(archive)
            self._check_default_loaded(model)
            known = self.versions.management.version(model, version) is not None
            with self._undone(model, version, keep=known):
                self.versions.load(archive, workers)
                self.versions.wait_ready(model, version, self.ready_seconds)
            new = DeclaredVersion(archive.sha256, workers=workers)
            self.declarations.change_model(
                model, lambda each: replace(each.with_version(version, new), default=each.default or version)
            )
        return archive

    def scale(self, model: str, version: str | None, workers: int) -> str:
        """Sets the number of a version's workers and waits until they are ready; returns the version.

        Args:
            model: name of the model.
            version: version to scale; None takes the default version.
            workers: number of workers.

        Raises:
            InvalidConfiguration: TorchServe does not have the version.
            NotReady: the workers are not ready in time.
            ChangeUnderWay: somebody else is changing the model.
        """
        with self.locked(model):
            registered = self.versions.management.versions(model)
            version = version or self.default(model)
            if version is None or version not in registered:
                raise InvalidConfiguration(f"TorchServe has no {model} {version or ''}: `grainserve models list`")
            self.versions.management.scale(model, version, workers)
            self.versions.wait_ready(model, version, self.ready_seconds)

            def scaled(each: DeclaredModel) -> DeclaredModel:
                known = each.versions.get(version)
                return each.with_version(version, replace(known, workers=workers)) if known else each

            self.declarations.change_model(model, scaled)
        return version

    def remove(self, model: str, version: str, *, last: bool = False) -> None:
        """Removes a version from the declaration, drains it and deletes it.

        Args:
            model: name of the model.
            version: version to remove; the default version only if it is the last one.
            last: whether the last version may be removed, and the model with it.

        Raises:
            InvalidConfiguration: the version is the default, and others are left or `last` is not set.
            NotDrained: the version still has requests.
            ChangeUnderWay: somebody else is changing the model.
        """
        with self.locked(model):
            self.end_interrupted(model)
            declared = self.declared(model)
            others = (self.versions.management.versions(model).keys() | declared.versions.keys()) - {version}
            if version in (declared.default, self.default(model)) and (others or not last):
                raise InvalidConfiguration(
                    f"{model} {version} is the default version: swap to another one first; or, to serve {model} no "
                    "more, remove its other versions, then this one with --last"
                )

            def without(each: DeclaredModel) -> DeclaredModel:
                return replace(
                    each.without_version(version),
                    default=None if each.default == version else each.default,
                    previous=None if each.previous == version else each.previous,
                )

            self.declarations.change_model(model, without)
            self.versions.retire(model, version, self.drain_seconds)

    def retire_unloaded(self, model: str, drain_seconds: float) -> None:
        """Drains and deletes versions that are declared as not loaded, or are no longer declared.

        Versions that somebody registered by hand stay.

        Args:
            model: name of the model.
            drain_seconds: seconds that a version may take to answer its requests.

        Raises:
            NotReady: the declared default has no ready worker, so the other versions are kept.
            NotDrained: a version still has requests.
        """
        declared, registered = self.declared(model), self.versions.management.versions(model)
        leaving = []
        for name, each in registered.items():
            known = declared.versions.get(name)
            unloaded = not known.loaded if known else archives.is_named_here(each.archive)
            if unloaded and name != declared.candidate:
                leaving.append(each)
        if leaving and declared.default:
            served = registered.get(declared.default)
            if not (served and served.default and served.workers_ready):
                raise NotReady(
                    f"{model} {declared.default} has no worker that is ready, so {leaving[0].version} is kept: "
                    f"logs/model_log.log may have why; `grainserve models rollback {model}` goes back"
                )
        for each in sorted(leaving, key=lambda each: each.default):  # TorchServe deletes the default version last only
            self.versions.retire(model, each.version, drain_seconds)

    def end_interrupted(self, model: str, *, but: str | None = None) -> None:
        """Finishes or takes back an interrupted swap; one begun at another TorchServe only with `take_over`.

        Args:
            model: name of the model.
            but: candidate to leave alone, since the caller goes on with it.

        Raises:
            ChangeUnderWay: the swap was begun at another TorchServe, and `take_over` is not set.
        """
        declared = self.declared(model)
        candidate = declared.candidate
        if candidate is None:
            return
        if declared.candidate_at != self.here and not self.take_over:
            raise ChangeUnderWay(
                f"a swap of {model} to {candidate} was begun at {declared.candidate_at}: finish it there; or, if "
                "nobody is at it any more, say --take-over"
            )
        if candidate == but:
            return
        if self.default(model) == candidate and declared.default:
            self.versions.say(f"{model} {candidate}: the swap to it is finished first")
            self._complete(model, candidate)
        else:
            self.versions.say(f"{model} {candidate}: the interrupted swap to it is taken back")
            self._take_back(model, candidate, keep=declared.versions[candidate].loaded)

    # Inside ---------------------------------------------------------------------------------------------------------

    def _switch(self, archive: Archive) -> None:
        model, version = archive.model, archive.version
        self._check_unused(archive)
        self.end_interrupted(model, but=version)
        self._check_default_loaded(model)
        old = self.default(model)
        if old == version and version not in self.declared(model).versions:
            raise InvalidConfiguration(
                f"{model} {version} is served already, and nobody knows from which archive: give the new one a version "
                "of its own (`make mar VERSION=…`)"
            )
        self._adopt_default(model)
        if old != version or not self.declared(model).default:
            # The first version of a model is TorchServe's default while it loads.
            self._bring_in(archive, old if old != version else None)
        self._complete(model, version)

    def _bring_in(self, archive: Archive, old: str | None) -> None:
        """Declares the candidate, loads it, tests it and makes it the default: steps 1 to 4."""
        model, version = archive.model, archive.version
        known = self.declared(model).versions.get(version) or DeclaredVersion(archive.sha256, loaded=False)
        self.declarations.change_model(
            model,
            lambda each: replace(each.with_version(version, known), candidate=version, candidate_at=self.here),
        )
        with self._undone(model, version, keep=known.loaded, old=old):
            for trial in self.trials:
                trial.prepare(model, old)
            self.versions.load(archive, known.workers)
            self.versions.wait_ready(model, version, self.ready_seconds)
            for trial in self.trials:
                trial.attempt(model, version)
            if not self.versions.management.ready(model, version):
                raise NotReady(f"{model} {version} has lost its workers: logs/model_log.log may have why")
            self.versions.management.set_default(model, version)
        self.versions.say(f"{model} {version}: is the default")

    def _complete(self, model: str, version: str) -> None:
        """Finishes a swap after the switch: declares the new default, then drains the old version. Steps 5 and 6."""

        def switched(each: DeclaredModel) -> DeclaredModel:
            if version not in each.versions:
                raise DeclarationContended(
                    f"{model} {version} is served, but others took it out of what is declared: swap to it once more"
                )
            after = each.with_version(version, replace(each.versions[version], loaded=True))
            if each.default not in (None, version):
                old = each.versions[each.default]
                after = replace(after.with_version(each.default, replace(old, loaded=False)), previous=each.default)
            return replace(after, default=version, candidate=None, candidate_at=None)

        self.declarations.change_model(model, switched)
        self.retire_unloaded(model, self.drain_seconds)

        def pruned(each: DeclaredModel) -> DeclaredModel:
            named = (each.default, each.previous, each.candidate)
            kept = {name: one for name, one in each.versions.items() if one.loaded or name in named}
            return replace(each, versions=kept)

        self.declarations.change_model(model, pruned)

    @contextmanager
    def _undone(self, model: str, version: str, *, keep: bool, old: str | None = None) -> Iterator[None]:
        """Takes a version back when the block fails, unless the block already made it the default."""
        try:
            yield
        except BaseException:  # Ctrl-C as well
            try:
                if old is None or self.default(model) != version:
                    self._take_back(model, version, keep=keep)
            except GrainserveError as failed:
                self.versions.say(f"{model} {version} could not be taken back: {failed}. The same call again does")
            raise

    def _take_back(self, model: str, version: str, *, keep: bool) -> None:
        """Deletes a version, unless `keep` is set, and removes it as the candidate."""
        if not keep:
            self.versions.discard(model, version)
            self.versions.say(f"{model} {version}: taken back")

        def forgotten(each: DeclaredModel) -> DeclaredModel:
            kept = each if keep or version in (each.default, each.previous) else each.without_version(version)
            return replace(kept, candidate=None, candidate_at=None) if each.candidate == version else kept

        self.declarations.change_model(model, forgotten)

    def _adopt_default(self, model: str) -> None:
        """Declares a default version that somebody registered by hand, so that a rollback can return to it."""
        declared, old = self.declared(model), self.default(model)
        if old is None or old in declared.versions:
            return
        registered = self.versions.management.versions(model)[old]
        file = self.versions.model_store / registered.archive
        archive, data = archives.read(file)
        if archive.version != old:
            raise InvalidConfiguration(
                f"{model} {old} is not declared, and {file} now holds version {archive.version}: nobody could go back "
                f"to {old}. Pack it again (`make mar VERSION={old}`), then try again"
            )
        archives.push(archive, data, self.declarations.bucket)
        adopted = DeclaredVersion(archive.sha256)
        self.declarations.change_model(
            model, lambda each: replace(each.with_version(old, adopted), default=each.default or old)
        )

    def _check_unused(self, archive: Archive) -> None:
        known = self.declared(archive.model).versions.get(archive.version)
        if known and known.sha256 != archive.sha256:
            raise InvalidConfiguration(
                f"{archive.model} {archive.version} is declared with another archive (SHA-256 {known.sha256[:12]}…, "
                f"this one has {archive.sha256[:12]}…): give the new one a version of its own (`make mar VERSION=…`)"
            )

    def _check_default_loaded(self, model: str) -> None:
        """Refuses to load a version while the declared default is missing: it would answer before it was tested."""
        default = self.declared(model).default
        if default and self.versions.management.version(model, default) is None:
            raise InvalidConfiguration(
                f"{model} {default} is declared as the default version and is not loaded here, as after a restart: "
                "`grainserve models apply` first"
            )
