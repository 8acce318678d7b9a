"""Swaps against a TorchServe in memory: each failure, and a plug that is pulled at each call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from grainserve.errors import InvalidConfiguration
from grainserve.rollout import archives, versions
from grainserve.rollout.archives import ArchiveChanged
from grainserve.rollout.canary import CanaryFailed
from grainserve.rollout.declared import Declarations, DeclaredModel
from grainserve.rollout.swap import ApplyFailed, Rollout, Trial
from grainserve.rollout.versions import NotReady, Versions
from grainserve.storage import Bucket
from tests.unit.client.rollout.imitation import ImitatedManagement, Plug, Unplugged, make_mar


@dataclass
class Site:
    """A TorchServe, its model store, the bucket."""

    management: ImitatedManagement
    bucket_name: str
    folder: Path

    def rollout(self, *trials: Trial, plug: Plug | None = None) -> Rollout:
        """A fresh process that works on them."""
        bucket, management = Bucket(self.bucket_name), self.management
        if plug:
            plugged = ImitatedManagement(management.model_store)
            plugged.registered, plugged.deleted = management.registered, management.deleted
            for name in ("versions", "register", "set_default", "delete", "pass_through"):
                setattr(plugged, name, plug.through(getattr(management, name)))
            for name in ("read", "create", "replace"):
                setattr(bucket, name, plug.through(getattr(bucket, name)))
            management = plugged
        return Rollout(
            Versions(management, management.model_store, bucket, print), Declarations(bucket), 5.0, 5.0, trials
        )

    def mar(self, version: str, code: str = "pass") -> Path:
        """An archive."""
        return make_mar(self.folder, version, code=code)

    @property
    def declared(self) -> DeclaredModel:
        """What is declared of the model."""
        return Declarations(Bucket(self.bucket_name)).read()["sam_tiny"]

    def assert_serves(self, version: str, *, previous: str | None = None) -> None:
        """That version alone is there, is the default, and is declared so."""
        assert list(self.management.registered["sam_tiny"]) == [version]
        assert self.management.default("sam_tiny") == version
        declared = self.declared
        assert (declared.default, declared.candidate) == (version, None)
        assert [name for name, each in declared.versions.items() if each.loaded] == [version]
        if previous:
            assert declared.previous == previous


@pytest.fixture
def site(bucket_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.setattr(versions, "SETTLE", 0.0)
    monkeypatch.setattr(versions, "LOOK_EVERY", 0.001)
    return Site(ImitatedManagement(tmp_path / "store"), bucket_name, tmp_path)


def fails(*_: object) -> None:
    raise CanaryFailed("41 grains became 3")


def test_swap_there_and_back(site: Site) -> None:
    site.rollout().swap(site.mar("1.0"))
    site.assert_serves("1.0")
    tried = []
    site.rollout(lambda *given: tried.append(given)).swap(site.mar("2.0"))
    assert tried == [("sam_tiny", "2.0", "1.0")]
    site.assert_serves("2.0", previous="1.0")
    assert site.rollout().rollback("sam_tiny") == "1.0"
    site.assert_serves("1.0", previous="2.0")
    assert site.rollout().rollback("sam_tiny") == "2.0"


@pytest.mark.parametrize("first", [True, False])
def test_a_failed_canary_leaves_the_old_version_and_nothing_of_the_new_one(site: Site, first: bool) -> None:
    if not first:
        site.rollout().swap(site.mar("1.0"))
    with pytest.raises(CanaryFailed, match="41 grains"):
        site.rollout(fails).swap(site.mar("2.0"))
    if first:
        assert site.management.registered == {}
    else:
        site.assert_serves("1.0")
    assert "2.0" not in site.declared.versions


def test_a_version_that_does_not_load_is_taken_back(site: Site) -> None:
    site.rollout().swap(site.mar("1.0"))
    broken = site.mar("2.0")
    site.management.broken.add(archives.read(broken)[0].file)
    with pytest.raises(NotReady, match="keep ending"):
        site.rollout().swap(broken)
    site.assert_serves("1.0")


def test_the_same_swap_again_changes_nothing(site: Site) -> None:
    site.rollout().swap(site.mar("1.0"))
    site.rollout().swap(site.mar("2.0"))
    site.rollout().swap(site.mar("2.0"))
    site.assert_serves("2.0", previous="1.0")


def test_another_archive_under_a_version_that_was_served_is_refused(site: Site) -> None:
    site.rollout().swap(site.mar("1.0"))
    site.rollout().swap(site.mar("2.0"))
    for version in ("1.0", "2.0"):
        with pytest.raises(InvalidConfiguration, match="a version of its own"):
            site.rollout().swap(site.mar(version, code="something else"))
    site.assert_serves("2.0")


def test_what_somebody_registered_by_hand_can_be_gone_back_to(site: Site) -> None:
    by_hand = site.mar("1.0")
    site.management.model_store.mkdir()
    (site.management.model_store / "sam_tiny.mar").write_bytes(by_hand.read_bytes())
    site.management.register("sam_tiny.mar")
    site.rollout().swap(site.mar("2.0"))
    site.assert_serves("2.0", previous="1.0")
    site.rollout().rollback("sam_tiny")
    site.assert_serves("1.0")


def test_what_cannot_be_gone_back_to_is_not_swapped_away(site: Site) -> None:
    site.management.model_store.mkdir()
    store = site.management.model_store / "sam_tiny.mar"
    store.write_bytes(site.mar("1.0").read_bytes())
    site.management.register("sam_tiny.mar")
    store.write_bytes(site.mar("2.0").read_bytes())  # as `make mar` does
    with pytest.raises(InvalidConfiguration, match=r"make mar VERSION=1\.0"):
        site.rollout().swap(store)
    assert site.management.default("sam_tiny") == "1.0"


def unplug_at_each_call(site: Site, work: Callable[[Rollout], object], then: Callable[[int], None]) -> None:
    """Pulls the plug after 0, 1, 2, … calls, until the work gets done; `then` each time."""
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


def test_a_swap_that_is_cut_short_anywhere_is_finished_by_the_next(site: Site) -> None:
    site.rollout().swap(site.mar("0"))
    number = 1

    def work(rollout: Rollout) -> None:
        rollout.swap(site.mar(str(number)))

    def then(_: int) -> None:
        nonlocal number
        assert site.management.default("sam_tiny") in (str(number - 1), str(number)), "somebody answers"
        work(site.rollout())
        site.assert_serves(str(number), previous=str(number - 1))
        number += 1

    unplug_at_each_call(site, work, then)


def test_a_swap_that_is_cut_short_anywhere_is_ended_by_one_to_another_version(site: Site) -> None:
    site.rollout().swap(site.mar("0"))
    number = 1

    def then(_: int) -> None:
        nonlocal number
        site.rollout().swap(site.mar(f"{number}-other"))
        site.assert_serves(f"{number}-other")
        number += 1

    unplug_at_each_call(site, lambda rollout: rollout.swap(site.mar(str(number))), then)


def test_apply_brings_back_what_a_restart_forgot(site: Site) -> None:
    site.rollout().swap(site.mar("1.0"))
    site.rollout().swap(site.mar("2.0"))
    site.rollout().register(site.mar("3.0"), workers=2)
    site.management.registered.clear()
    for file in site.management.model_store.iterdir():
        file.unlink()
    site.rollout().apply()
    assert set(site.management.registered["sam_tiny"]) == {"2.0", "3.0"}
    assert site.management.default("sam_tiny") == "2.0"
    assert site.management.registered["sam_tiny"]["3.0"].wanted == 2


def test_apply_follows_a_swap_at_another_torchserve(site: Site, tmp_path: Path) -> None:
    other = Site(ImitatedManagement(tmp_path / "other"), site.bucket_name, tmp_path)
    site.rollout().swap(site.mar("1.0"))
    other.rollout().apply()
    other.assert_serves("1.0")
    site.rollout().swap(site.mar("2.0"))
    other.rollout().apply()
    other.assert_serves("2.0")
    site.rollout().swap(site.mar("3.0"))
    site.rollout().swap(site.mar("4.0"))  # and 2.0 is not even known any more
    other.rollout().apply()
    other.assert_serves("4.0")


def test_an_archive_with_another_sha256_is_refused(site: Site) -> None:
    site.rollout().swap(site.mar("1.0"))
    archive, _ = archives.read(site.mar("1.0"))
    site.management.registered.clear()
    (site.management.model_store / archive.file).write_bytes(b"changed")
    bucket = Bucket(site.bucket_name)
    stored = bucket.read(archives.FOLDER + archive.file)
    assert stored
    bucket.replace(archives.FOLDER + archive.file, b"changed", "application/zip", stored.generation)
    with pytest.raises(ApplyFailed, match="find out who changed it"):
        site.rollout().apply()
    assert site.management.registered == {}
    with pytest.raises(ArchiveChanged):
        archives.fetch(archive, bucket, site.management.model_store)


def test_the_default_version_is_not_removed_and_others_are_drained(site: Site) -> None:
    site.rollout().swap(site.mar("1.0"))
    site.rollout().register(site.mar("2.0"))
    with pytest.raises(InvalidConfiguration, match="swap to another one first"):
        site.rollout().remove("sam_tiny", "1.0")
    site.rollout().remove("sam_tiny", "2.0")
    site.assert_serves("1.0")
    assert "2.0" not in site.declared.versions
    with pytest.raises(InvalidConfiguration, match="to go back to"):
        site.rollout().rollback("sam_tiny")
