"""Makes a TorchServe serve what is declared, for example after a restart or after a swap at another TorchServe."""

from __future__ import annotations

from dataclasses import dataclass

from grainserve.errors import GrainserveError, InvalidConfiguration
from grainserve.rollout.archives import FOLDER
from grainserve.rollout.declared import Declaration, DeclaredModel
from grainserve.rollout.lock import ChangeUnderWay
from grainserve.rollout.swap import Rollout

DRAIN_SECONDS = 60.0
"""Seconds for an old version to answer its requests in an `apply` that does not wait; the next `apply` goes on."""


class ApplyFailed(GrainserveError):
    """Parts of the declaration could not be applied."""

    code = "apply_failed"


@dataclass
class Reconciliation:
    """Makes a TorchServe serve what is declared.

    Attributes:
        rollout: rollout at that TorchServe.
    """

    rollout: Rollout

    def declare(self, declaration: Declaration) -> None:
        """Replaces the declaration in the bucket.

        Args:
            declaration: new declaration.

        Raises:
            InvalidConfiguration: the bucket lacks an archive, or the declaration is not valid.
            ChangeUnderWay: a swap is under way.
        """
        bucket = self.rollout.declarations.bucket
        for model, declared in declaration.items():
            for version in declared.versions:
                file = FOLDER + declared.archive(model, version).file
                if not bucket.exists(file):
                    raise InvalidConfiguration(f"bucket {bucket.name!r} has no {file}: `grainserve models register` it")

        def declared_anew(before: Declaration) -> Declaration:
            for model, each in before.items():
                if each.candidate:
                    raise ChangeUnderWay(f"a swap of {model} to {each.candidate} is under way at {each.candidate_at}")
            return declaration

        self.rollout.declarations.change(declared_anew)

    def apply(self, *, wait: bool = True) -> None:
        """Makes TorchServe serve what is declared; leaves versions that nobody declared as they are.

        Args:
            wait: whether to wait until all versions are ready. Otherwise it does what can be done at once and skips a
                model that somebody else is changing here; this is for repeated calls.

        Raises:
            ApplyFailed: parts of the declaration could not be applied; the other parts were.
        """
        failed = []
        for model in self.rollout.declarations.read():
            try:
                with self.rollout.locked(model, wait=wait):
                    failed += [f"{model}: {problem}" for problem in self._apply(model, wait=wait)]
            except ChangeUnderWay as error:
                if wait:
                    failed.append(str(error))
            except GrainserveError as error:
                failed.append(f"{model}: {error}")
        if failed:
            raise ApplyFailed("; ".join(failed))

    def _apply(self, model: str, *, wait: bool) -> list[GrainserveError]:
        """Applies the declaration of one model; returns the errors of single versions."""
        rollout, versions = self.rollout, self.rollout.versions
        if rollout.declared(model).candidate_at == rollout.here:
            rollout.end_interrupted(model)
        declared = rollout.declared(model)
        problems: list[GrainserveError] = []
        # TorchServe makes the first registered version the default, so the declared default comes first.
        for version in sorted(_loaded(declared), key=lambda version: version != declared.default):
            try:
                versions.load(declared.archive(model, version), declared.versions[version].workers)
                if wait:
                    versions.wait_ready(model, version, rollout.ready_seconds)
            except GrainserveError as error:
                problems.append(error)
        # Loading may take long, and the declaration may have changed: read it again.
        declared, registered = rollout.declared(model), versions.management.versions(model)
        default = registered.get(declared.default or "")
        if default and default.complete and not default.default:
            versions.management.set_default(model, default.version)
            versions.say(f"{model} {default.version}: is the default")
        if default is None or (default.complete or wait):
            rollout.retire_unloaded(model, rollout.drain_seconds if wait else DRAIN_SECONDS)
        return problems


def _loaded(declared: DeclaredModel) -> list[str]:
    return [version for version, each in declared.versions.items() if each.loaded]
