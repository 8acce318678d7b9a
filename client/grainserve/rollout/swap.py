"""Changes of what is served: swap, rollback, register, remove, apply.

A swap, step by step; a crash between two of them leaves something that the next call finishes or takes back:

1. the archive goes into the bucket, and the new version is declared as the candidate
2. it is registered, and its workers get ready
3. canary images are answered, and the answers compared with the old version's
4. it becomes the default: from here on the swap is only finished, never taken back
5. it is declared so, and the old version as not loaded
6. the old version is drained and deleted
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from grainserve.errors import GrainserveError, InvalidConfiguration
from grainserve.rollout import archives
from grainserve.rollout.archives import Archive
from grainserve.rollout.declared import Declarations, DeclaredModel, DeclaredVersion
from grainserve.rollout.versions import Versions

Trial = Callable[[str, str, str | None], None]
"""Tries a version: model, new version, old version or None. Raises when it is not to be switched to."""


class ApplyFailed(GrainserveError):
    """Some of what is declared could not be brought about."""

    code = "apply_failed"


@dataclass
class Rollout:
    """Changes what one TorchServe serves, and what is declared.

    Attributes:
        versions: at that TorchServe.
        declarations: what should be loaded.
        ready_seconds: until a version must be ready.
        drain_seconds: until an old version must have answered all.
    """

    versions: Versions
    declarations: Declarations
    ready_seconds: float = 900.0
    drain_seconds: float = 900.0
    trials: Sequence[Trial] = ()

    def swap(self, path: Path) -> str:
        """Switches a model to the version in an archive, without a lost request; returns the version.

        On any failure before the switch the old version stays the default and the new one is gone.

        Raises:
            NotReady, CanaryFailed, InvalidConfiguration, …: why nothing was switched.
            NotDrained: it was switched, and the old version is still there: the same call finishes.
        """
        archive, data = archives.read(path)
        archives.push(archive, data, self.declarations.bucket)
        self._switch(archive, None)
        return archive.version

    def rollback(self, model: str) -> str:
        """Switches a model back to the version before; returns it.

        Raises:
            InvalidConfiguration: there is none.
            And as `swap`.
        """
        declared = self.declarations.read().get(model, DeclaredModel())
        if declared.previous is None:
            raise InvalidConfiguration(f"{model} has no version before {declared.default} to go back to")
        known = declared.versions[declared.previous]
        self._switch(declared.archive(model, declared.previous), known.workers)
        return declared.previous

    def register(self, path: Path, workers: int | None = None) -> Archive:
        """Loads the version in an archive beside the others; the first one of a model is its default.

        Raises:
            As `swap`.
        """
        archive, data = archives.read(path)
        model, version = archive.model, archive.version
        archives.push(archive, data, self.declarations.bucket)
        self._check_unused(archive)
        known = self.versions.management.version(model, version) is not None
        with self._undone(model, version, undo=not known):
            self.versions.bring_up(archive, workers, self.ready_seconds)
        new = DeclaredVersion(archive.sha256, workers=workers)
        self.declarations.change_model(
            model, lambda each: replace(each.with_version(version, new), default=each.default or version)
        )
        return archive

    def scale(self, model: str, version: str | None, workers: int) -> str:
        """Sets the number of a version's workers (None: the default one's) and waits for them; returns the version."""
        registered = self.versions.management.versions(model)
        version = version or next((name for name, each in registered.items() if each.default), None)
        if version is None or version not in registered:
            raise InvalidConfiguration(f"TorchServe has no {model} {version or ''}: `grainserve models list`")
        self.versions.management.scale(model, version, workers)
        self.versions.wait_ready(model, version, self.ready_seconds)

        def scaled(each: DeclaredModel) -> DeclaredModel:
            known = each.versions.get(version)
            return each.with_version(version, replace(known, workers=workers)) if known else each

        self.declarations.change_model(model, scaled)
        return version

    def remove(self, model: str, version: str) -> None:
        """Drains a version that is not the default one, deletes it, and forgets it.

        Raises:
            InvalidConfiguration: it is the default one.
            NotDrained: it still has requests.
        """
        there = self.versions.management.version(model, version)
        declared = self.declarations.read().get(model, DeclaredModel())
        if version == declared.default or (there and there.default):
            raise InvalidConfiguration(f"{model} {version} is the default version: swap to another one first")
        self.versions.retire(model, version, self.drain_seconds)

        def without(each: DeclaredModel) -> DeclaredModel:
            return replace(
                each.without_version(version),
                previous=None if each.previous == version else each.previous,
                candidate=None if each.candidate == version else each.candidate,
            )

        self.declarations.change_model(model, without)

    def apply(self) -> None:
        """Makes TorchServe serve what is declared; what nobody declared is left as it is.

        Raises:
            ApplyFailed: some of it could not be done; the rest was.
        """
        failed = []
        for model, declared in self.declarations.read().items():
            try:
                self._apply(model, declared)
            except GrainserveError as error:
                failed.append(f"{model}: {error}")
        if failed:
            raise ApplyFailed("; ".join(failed))

    # Inside ---------------------------------------------------------------------------------------------------------

    def _apply(self, model: str, declared: DeclaredModel) -> None:
        for version, each in declared.versions.items():
            if each.loaded and version != declared.candidate:
                self.versions.bring_up(declared.archive(model, version), each.workers, self.ready_seconds)
        registered = self.versions.management.versions(model)
        if declared.default in registered and not registered[declared.default].default:
            self.versions.management.set_default(model, declared.default)
        self._retire_unloaded(model, declared)

    def _switch(self, archive: Archive, workers: int | None) -> None:
        model, version = archive.model, archive.version
        self._check_unused(archive)
        self._adopt_default(model)
        self._end_other_swap(model, version)
        old = self._default(model)
        if old != version:
            new = DeclaredVersion(archive.sha256, loaded=False, workers=workers)
            self.declarations.change_model(
                model, lambda each: replace(each.with_version(version, new), candidate=version)
            )
            with self._undone(model, version):
                self.versions.bring_up(archive, workers, self.ready_seconds)
                for attempt in self.trials:
                    attempt(model, version, old)
            self.versions.management.set_default(model, version)
            self.versions.say(f"{model} {version}: is the default")
        self._complete(model, version)

    def _complete(self, model: str, version: str) -> None:
        """The switch has been made: declares it, then takes away what is declared as not loaded."""

        def switched(each: DeclaredModel) -> DeclaredModel:
            after = each.with_version(version, replace(each.versions[version], loaded=True))
            if each.default not in (None, version):
                old = each.versions[each.default]
                after = replace(after.with_version(each.default, replace(old, loaded=False)), previous=each.default)
            return replace(after, default=version, candidate=None)

        declared = self.declarations.change_model(model, switched)
        self._retire_unloaded(model, declared)

        def pruned(each: DeclaredModel) -> DeclaredModel:
            kept = {name: one for name, one in each.versions.items() if one.loaded or name == each.previous}
            return replace(each, versions=kept)

        self.declarations.change_model(model, pruned)

    def _retire_unloaded(self, model: str, declared: DeclaredModel) -> None:
        """Takes away what is declared as not loaded, or was declared once; not what somebody registered by hand."""
        for name, registered in self.versions.management.versions(model).items():
            known = declared.versions.get(name)
            unloaded = not known.loaded if known else archives.is_named_here(registered.archive)
            if unloaded and name != declared.candidate:
                self.versions.retire(model, name, self.drain_seconds)

    @contextmanager
    def _undone(self, model: str, version: str, *, undo: bool = True) -> Iterator[None]:
        """Takes a version back, and its candidacy, when what is done with it fails."""
        try:
            yield
        except BaseException:  # Ctrl-C as well
            if undo:
                self.versions.discard(model, version)
                self._forget_candidate(model, version)
            raise

    def _end_other_swap(self, model: str, version: str) -> None:
        """Finishes or takes back a swap to another version that was interrupted."""
        candidate = self.declarations.read().get(model, DeclaredModel()).candidate
        if candidate is None or candidate == version:
            return
        if self._default(model) == candidate:
            self.versions.say(f"{model} {candidate}: the swap to it is finished first")
            self._complete(model, candidate)
        else:
            self.versions.say(f"{model} {candidate}: the interrupted swap to it is taken back")
            self.versions.discard(model, candidate)
            self._forget_candidate(model, candidate)

    def _forget_candidate(self, model: str, version: str) -> None:
        def forgotten(each: DeclaredModel) -> DeclaredModel:
            kept = each if version in (each.default, each.previous) else each.without_version(version)
            return replace(kept, candidate=None) if each.candidate == version else each

        self.declarations.change_model(model, forgotten)

    def _adopt_default(self, model: str) -> None:
        """Declares the default version where somebody registered it by hand, so that one can go back to it."""
        old = self._default(model)
        declared = self.declarations.read().get(model, DeclaredModel())
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
        declared = self.declarations.read().get(archive.model, DeclaredModel()).versions.get(archive.version)
        if declared and declared.sha256 != archive.sha256:
            raise InvalidConfiguration(
                f"{archive.model} {archive.version} is declared with another archive (SHA-256 {declared.sha256[:12]}…, "
                f"this one has {archive.sha256[:12]}…): give the new one a version of its own (`make mar VERSION=…`)"
            )

    def _default(self, model: str) -> str | None:
        """The version that TorchServe sends requests to."""
        registered = self.versions.management.versions(model)
        return next((name for name, each in registered.items() if each.default), None)
