"""`apply`: makes a TorchServe serve what is declared, as after a restart, or after a swap at another one."""

from __future__ import annotations

from dataclasses import dataclass

from grainserve.errors import GrainserveError, InvalidConfiguration
from grainserve.rollout.archives import FOLDER
from grainserve.rollout.declared import Declaration, DeclaredModel
from grainserve.rollout.lock import ChangeUnderWay
from grainserve.rollout.swap import Rollout

DRAIN_SECONDS = 60.0
"""For an old version in a look that does not wait: the next look goes on."""


class ApplyFailed(GrainserveError):
    """Some of what is declared could not be brought about."""

    code = "apply_failed"


@dataclass
class Reconciliation:
    """Brings a TorchServe to what is declared.

    Attributes:
        rollout: at that TorchServe.
    """

    rollout: Rollout

    def declare(self, declaration: Declaration) -> None:
        """Puts a declaration in place of the one in the bucket.

        Raises:
            InvalidConfiguration: an archive is not in the bucket.
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
        """Makes TorchServe serve what is declared; what nobody declared is left as it is.

        Args:
            wait: whether it ends when all is there. Else it does what can be done at once, and leaves out a model that
                somebody else is changing here: for calls again and again.

        Raises:
            ApplyFailed: some of it could not be done; the rest was.
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
        """Brings one model about; what went wrong with single versions."""
        rollout, versions = self.rollout, self.rollout.versions
        if rollout.declared(model).candidate_at == rollout.here:
            rollout.end_interrupted(model)
        declared = rollout.declared(model)
        problems: list[GrainserveError] = []
        # The first one that is registered answers until another is made the default.
        for version in sorted(_loaded(declared), key=lambda version: version != declared.default):
            try:
                versions.load(declared.archive(model, version), declared.versions[version].workers)
                if wait:
                    versions.wait_ready(model, version, rollout.ready_seconds)
            except GrainserveError as error:
                problems.append(error)
        # Loading may have taken long: what is declared now?
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
