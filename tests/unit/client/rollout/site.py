"""A TorchServe in memory with its model store and bucket, trials, and a plug to pull at each call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from grainserve.rollout.canary import CanaryFailed
from grainserve.rollout.declared import Declarations, DeclaredModel
from grainserve.rollout.reconcile import Reconciliation
from grainserve.rollout.swap import Rollout, Trial
from grainserve.rollout.versions import Versions
from grainserve.storage.bucket import Bucket
from tests.unit.client.rollout.imitation import ImitatedManagement, Plug, Unplugged, make_mar


@dataclass
class Site:
    """A TorchServe, its model store and the bucket."""

    management: ImitatedManagement
    bucket_name: str
    folder: Path

    def rollout(self, *trials: Trial, plug: Plug | None = None) -> Rollout:
        """Makes a rollout, as a fresh process would."""
        bucket, management = Bucket(self.bucket_name), self.management
        if plug:
            plugged = ImitatedManagement(management.model_store)
            for name in ("versions", "register", "set_default", "delete", "pass_through"):
                setattr(plugged, name, plug.through(getattr(management, name)))
            for name in ("read", "create", "replace"):
                setattr(bucket, name, plug.through(getattr(bucket, name)))
            management = plugged
        return Rollout(
            Versions(management, management.model_store, bucket, print), Declarations(bucket), 5.0, 5.0, trials
        )

    def apply(self, *, wait: bool = True) -> None:
        """Does what `grainserve models apply` does; without waiting, one look of its `--watch`."""
        Reconciliation(self.rollout()).apply(wait=wait)

    def mar(self, version: str, code: str = "pass") -> Path:
        """Makes an archive."""
        return make_mar(self.folder, version, code=code)

    @property
    def declared(self) -> DeclaredModel:
        """Returns the model's declaration."""
        return Declarations(Bucket(self.bucket_name)).read()["sam_tiny"]

    def assert_serves(self, version: str, *, previous: str | None = None) -> None:
        """Asserts that only this version exists, is the default, and is declared so."""
        assert list(self.management.registered["sam_tiny"]) == [version]
        assert self.management.default("sam_tiny") == version
        declared = self.declared
        assert (declared.default, declared.candidate) == (version, None)
        assert [name for name, each in declared.versions.items() if each.loaded] == [version]
        if previous:
            assert declared.previous == previous


class Tried:
    """A trial that records its calls, and runs an action at each."""

    def __init__(self, then: Callable[[], None] = lambda: None) -> None:
        self.asked: list[tuple[str, str | None]] = []
        self._then = then

    def prepare(self, model: str, old: str | None) -> None:
        self.asked.append(("prepare", old))

    def attempt(self, model: str, version: str) -> None:
        self.asked.append(("attempt", version))
        self._then()


def fail() -> None:
    raise CanaryFailed("41 grains became 3")


def unplug_at_each_call(site: Site, work: Callable[[Rollout], object], then: Callable[[int], None]) -> None:
    """Pulls the plug after 0, 1, 2, … calls, until the work gets done; runs `then` each time."""
    for last in range(200):
        plug = Plug()
        plug.last = last
        try:
            work(site.rollout(plug=plug))
        except Unplugged:
            then(last)
        else:
            assert last > 8
            return
    raise AssertionError("the work never got done")
